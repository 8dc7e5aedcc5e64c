"""What no compiler checks: that manifests, pins, messages and sources agree with one another."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "h2w_ros").rglob("*.py"))
INTERFACES = sorted(path for folder in ("msg", "srv", "action") for path in (ROOT / "h2w_msgs" / folder).iterdir())
SYSTEM_PINS = ("constraints.txt", "constraints-numpy1.txt", "constraints-numpy2.txt", "ros-wheels.txt")

# Optional backends that users install by their own means, and say so where they are missing.
OPTIONAL = {"mediapipe", "pytorch3d"}
# What the manifest calls a package that pip calls otherwise.
IN_MANIFEST = {"aiohttp": "python3-aiohttp", "opencv-python-headless": "python3-opencv", "pyyaml": "python3-yaml", "torch": "python3-pytorch-pip"}
IMPORT_OF_PACKAGE = {"opencv-python-headless": "cv2", "pyyaml": "yaml", "backports.zstd": "backports"}


def imported_packages(path: Path) -> set[str]:
    """Top-level names of everything that a file imports absolutely."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {module.split(".")[0] for module in modules}


def required_packages() -> list[str]:
    """Lower-case names of what the installed package asks for, extras included."""
    requirements = distribution("h2w_ros").requires or []
    return [re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower() for requirement in requirements]


def manifest(folder: Path) -> ElementTree.Element:
    return ElementTree.parse(folder / "package.xml").getroot()


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_packages_have_one_version_licence_and_maintainer() -> None:
    for tag in ("version", "license", "maintainer"):
        assert manifest(ROOT).findtext(tag) == manifest(ROOT / "h2w_msgs").findtext(tag)


def test_the_installed_package_is_the_one_of_the_manifest() -> None:
    installed = distribution("h2w_ros").metadata
    assert (installed["Name"].replace("-", "_"), installed["Version"]) == (manifest(ROOT).findtext("name"), manifest(ROOT).findtext("version"))


def test_every_import_is_declared() -> None:
    ros = {depend.text for depend in manifest(ROOT).iter("exec_depend")}
    wheels = {IMPORT_OF_PACKAGE.get(name, name) for name in required_packages()}
    known = ros | wheels | OPTIONAL | set(sys.stdlib_module_names) | {"h2w_ros"}
    strangers = {path.relative_to(ROOT): imported_packages(path) - known for path in SOURCES if imported_packages(path) - known}
    assert not strangers


def test_the_manifest_names_every_requirement_and_the_readme_says_what_each_is_for() -> None:
    text = (ROOT / "package.xml").read_text().lower()
    required = [re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in distribution("h2w_ros").requires or [] if "extra ==" not in line]
    assert not [name for name in required if IN_MANIFEST.get(name, name) not in text]
    table = (ROOT / "README.md").read_text().split("## Dependencies")[1].lower()
    developers_tools = {name.lower() for name in script_requirements("dev")}
    assert not [name for name in set(required_packages()) - developers_tools if f"`{name}`" not in table and "opencv" not in name]


def script_requirements(extra: str) -> list[str]:
    """Names of what an extra asks for."""
    lines = [line for line in distribution("h2w_ros").requires or [] if f'extra == "{extra}"' in line]
    return [re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in lines]


def test_everything_set_up_installs_is_pinned() -> None:
    pins = {re.split(r"[=\[]", line)[0].lower() for name in SYSTEM_PINS for line in (ROOT / ".ci" / name).read_text().splitlines() if "==" in line}
    by_hand = {"diffusers", "onnxruntime-gpu", "pycolmap", "ray", "smplx"}  # extras that set-up leaves alone
    assert set(required_packages()) - pins <= by_hand


def test_every_executable_starts_somewhere() -> None:
    scripts = distribution("h2w_ros").entry_points.select(group="console_scripts")
    nodes = {"conditioner", "generator", "hand_tracker", "preview", "recorder", "replay", "scene", "tracker_bridge"}
    assert {entry.name for entry in scripts} == nodes | {"h2w"}
    pytest.importorskip("rclpy")
    assert all(callable(entry.load()) for entry in scripts)


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_of_every_message_is_explained(path: Path) -> None:
    text = path.read_text()
    assert path.name in {Path(name).name for name in re.findall(r'"([a-z]+/\w+\.\w+)"', (ROOT / "h2w_msgs" / "CMakeLists.txt").read_text())}
    paragraphs = [part for part in re.split(r"\n\s*\n|^---$", text, flags=re.MULTILINE) if part.strip()]
    assert all(paragraph.lstrip().startswith("#") for paragraph in paragraphs)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_holds_one_concept_and_functions_fit_on_a_screen(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len(text.splitlines()) < 400
    assert not [f"{node.name} at line {node.lineno}" for node in functions if (node.end_lineno or node.lineno) - node.lineno >= 45]


def test_foreign_header_folders_of_the_wheels_are_replaced() -> None:
    foreign = '"/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"'
    relocated = script(ROOT / ".ci" / "relocate_ros_wheels.py").relocated
    ours = relocated(foreign).strip('"').split(";")
    assert [(Path(folder) / header).is_file() for folder, header in zip(ours, ("Python.h", "numpy/arrayobject.h"), strict=True)] == [True, True]
    assert relocated(relocated(foreign)) == relocated(foreign)

"""Set-up on machines that lack something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMON_TOOLS = ("bash", "cat", "cut", "dirname", "env", "find", "flock", "mkdir", "rm", "sha256sum", "sort", "xargs")
BUILD_TOOLS = ("gcc", "g++", "cmake", "make")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout's set-up beside a bin/ that holds everything but Python and compilers."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    for tool in COMMON_TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not installed here"))
    return tmp_path


def add_python(machine: Path, lacks: str) -> None:
    """A python3 that answers set-up's question about what it lacks."""
    fake = machine / "bin" / "python3"
    fake.write_text(f"#!/usr/bin/env bash\necho '{lacks}'\n")
    fake.chmod(0o755)


def add_everything_but_ros(machine: Path, has_rclpy: bool) -> Path:
    """Compilers that do nothing, and a python3 that notes what it is asked to run as a module, and fails there; the place of its notes."""
    for tool in BUILD_TOOLS:
        (machine / "bin" / tool).symlink_to("/bin/true")
    fake, notes = machine / "bin" / "python3", machine / "notes"
    fake.write_text(
        "#!/usr/bin/env bash\n"
        "case $1 in\n"
        f'    -c) [[ $2 != *"import rclpy"* || {int(has_rclpy)} == 1 ]] ;;\n'
        f'    -m) echo "$@" >"{notes}"; exit 7 ;;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    return notes


def set_up(machine: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine / "bin"), "HOME": os.environ.get("HOME", "/"), **variables}
    command = [machine / "bin" / "bash", ".ci/setup"]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_without_a_fitting_python_set_up_says_what_to_install(bare: Path) -> None:
    result = set_up(bare)
    assert result.returncode == 1
    assert "apt install python3 python3-venv python3-dev" in result.stderr
    add_python(bare, "version")
    assert "no Python from 3.10 to 3.13" in set_up(bare).stderr


def test_everything_that_is_missing_stands_in_one_apt_command(bare: Path) -> None:
    add_python(bare, "python3.12-venv python3.12-dev")
    result = set_up(bare)
    assert result.returncode == 1
    assert "apt install python3.12-venv python3.12-dev gcc g++ cmake make" in result.stderr
    assert not (bare / ".venv").exists()


def test_only_what_is_missing_is_named(bare: Path) -> None:
    add_python(bare, "")
    for tool in BUILD_TOOLS[:-1]:
        (bare / "bin" / tool).symlink_to("/bin/true")
    assert set_up(bare).stderr.rstrip().endswith("apt install make")


@pytest.mark.parametrize(
    ("sourced", "has_rclpy", "source"),
    [
        ({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, True, "installation"),
        ({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, False, "wheels"),
        ({}, True, "wheels"),
    ],
)
def test_a_sourced_installation_is_used_where_its_python_has_rclpy(bare: Path, sourced: dict[str, str], has_rclpy: bool, source: str) -> None:
    notes = add_everything_but_ros(bare, has_rclpy)
    result = set_up(bare, **sourced)
    assert f"ROS 2 from {source}" in result.stdout
    assert ("--system-site-packages" in notes.read_text()) == (source == "installation")


def test_an_environment_made_from_wheels_is_not_mixed_with_an_installation(bare: Path) -> None:
    add_everything_but_ros(bare, True)
    stamps = bare / ".venv" / ".h2w"
    stamps.mkdir(parents=True)
    (stamps / "ros").write_text("wheels\n")
    (bare / ".venv" / "bin").mkdir()
    (bare / ".venv" / "bin" / "python").symlink_to(bare / "bin" / "python3")
    result = set_up(bare, AMENT_PREFIX_PATH="/opt/ros/jazzy")
    assert result.returncode == 1
    assert "took ROS 2 from 'wheels' and this shell offers 'installation'" in result.stderr
    assert "make distclean" in result.stderr


def test_libraries_of_generated_messages_are_loaded_and_broken_ones_are_left(tmp_path: Path) -> None:
    name = "lib{}__rosidl_typesupport_fastrtps_c.so"
    compiler = shutil.which("cc") or pytest.skip("no C compiler here")
    (tmp_path / "lib").mkdir()
    for source in ("whole", "unasked"):
        library = tmp_path / "lib" / (name.format(source) if source == "whole" else f"lib{source}.so")
        subprocess.run([compiler, "-shared", "-x", "c", "-", "-o", str(library)], input=f"int {source};", text=True, check=True)
    (tmp_path / "lib" / name.format("torn")).write_text("no library")
    code = f"import runpy, sys; sys.prefix = {str(tmp_path)!r}; runpy.run_path({str(ROOT / '.ci' / 'message_libraries.py')!r})"
    loaded = subprocess.run([sys.executable, "-c", f"{code}; print(open('/proc/self/maps').read())"], capture_output=True, text=True, check=True)
    assert name.format("whole") in loaded.stdout
    assert name.format("torn") not in loaded.stdout
    assert "libunasked" not in loaded.stdout

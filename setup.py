"""Packaging for pip and colcon. Name, version and licence live in package.xml; pins live in .ci/."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
NAME = MANIFEST.findtext("name")
MAINTAINER = MANIFEST.find("maintainer")

NODES = ("conditioner", "generator", "hand_tracker", "preview", "recorder", "replay", "scene", "tracker_bridge")
DATA_FOLDERS = ("config", "launch", "models")

EXTRAS = {
    "annotate": ["pycolmap>=4.0"],
    "world": ["mujoco>=3.2"],
    "train": ["accelerate>=1.0", "matplotlib>=3.7", "tensorboard>=2.14", "torchmetrics>=1.4"],
    "datasets": ["h5py>=3.8"],
    "wan": ["diffusers>=0.33"],
    "ray": ["ray>=2.9"],
    "scene": ["pillow>=10.0", "trimesh>=4.0"],  # pillow: trimesh reads textures with it
    "onnx": ["onnxruntime-gpu>=1.18"],
    "mano-check": ["smplx>=0.1.28"],
    "dev": [
        "beartype>=0.18",
        "colcon-defaults>=0.2.8",
        "colcon-package-information>=0.4",
        "colcon-ros>=0.5",
        "hypothesis>=6.100",
        "import-linter>=2.0",
        "mypy>=1.11",
        "playwright>=1.40",  # drives an installed Chromium; its own browsers are not needed
        "psutil>=5.9",
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.6",
        "types-PyYAML",
        "types-tqdm",
    ],
}


def data_files() -> list[tuple[str, list[str]]]:
    """The ament index marker, the manifest, and every file of the data folders, under share/."""
    share = Path("share") / NAME
    found = [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (str(share), ["package.xml"]),
    ]
    for folder in DATA_FOLDERS:
        files = sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        parents = sorted({path.parent for path in files})
        found += [(str(share / parent), [str(path) for path in files if path.parent == parent]) for parent in parents]
    return found


setup(
    name=NAME,
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    license=MANIFEST.findtext("license"),
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get("email"),
    python_requires=">=3.10",
    packages=find_packages(include=["h2w_ros", "h2w_ros.*"]),
    package_data={NAME: ["web/page/*"]},
    data_files=data_files(),
    zip_safe=False,
    install_requires=[
        "aiohttp>=3.9",
        "av>=12",
        "backports.zstd; python_version < '3.14'",  # rosbags decompresses with it; its errors are caught by name
        "jaxtyping>=0.2.28",
        "mcap>=1.1",
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "pyarrow>=15",
        "PyYAML>=6.0",
        "rosbags>=0.10",
        "safetensors>=0.4.3",
        "scipy>=1.11",
        "torch>=2.7",
        "tqdm>=4.65",
        "zstandard>=0.21",  # mcap decompresses with it; its errors are caught by name
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["h2w = h2w_ros.cli:main", *(f"{node} = h2w_ros.nodes.{node}:main" for node in NODES)],
    },
)

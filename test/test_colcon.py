"""`colcon build` in the checkout finds both packages, builds them, and what it installs runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

ROOT = Path(__file__).resolve().parent.parent
COLCON = shutil.which("colcon", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
NODES = {"conditioner", "generator", "preview", "recorder", "replay"}

pytestmark = pytest.mark.skipif(COLCON is None, reason="colcon is not installed")


def environment() -> dict[str, str]:
    """The interpreter's own environment as the ROS installation below the workspace, unless one is sourced."""
    below = os.pathsep.join([sys.prefix, *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "AMENT_PREFIX_PATH": below, "CMAKE_PREFIX_PATH": below}


def colcon(*words: str) -> str:
    done = subprocess.run([str(COLCON), *words], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_colcon_finds_both_packages(tmp_path: Path) -> None:
    found = {line.split()[0]: line.split()[2] for line in colcon("--log-base", str(tmp_path), "list").splitlines()}
    assert found == {"h2w_msgs": "(ros.ament_cmake)", "h2w_ros": "(ros.ament_python)"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_colcon_builds_both_packages_and_the_nodes_run_from_the_workspace(tmp_path: Path) -> None:
    install = tmp_path / "install"
    bases = ("--build-base", str(tmp_path / "build"), "--install-base", str(install))
    colcon("--log-base", str(tmp_path / "log"), "build", *bases, "--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF")
    package = install / "h2w_ros"
    assert (package / "share" / "ament_index" / "resource_index" / "packages" / "h2w_ros").is_file()
    assert (package / "share" / "h2w_ros" / "launch" / "preview.launch.py").is_file()
    assert {path.name for path in (package / "share" / "h2w_ros" / "config").iterdir()} >= {"h2w.rviz", "h2w.foxglove.json", "realsense.yaml"}
    assert {path.name for path in (package / "lib" / "h2w_ros").iterdir()} >= NODES
    assert list(package.rglob("h2w_ros/web/page/index.html"))
    assert list((package / "share" / "h2w_ros" / "models" / "scenes").glob("*.mcap"))
    places = "import h2w_ros.paths as p, h2w_msgs.msg._hands as m; print(p.__file__); print(m.__file__); print(p.models_dir())"
    script = f'. "{install}/local_setup.sh" && cd / && python -c "{places}" && exec "{package}/lib/h2w_ros/conditioner" --help'
    done = subprocess.run(["sh", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *found, usage = done.stdout.split("\n", 3)
    assert all(line.startswith(str(install)) for line in found)
    assert "usage: conditioner" in usage

"""The launch files, with the real launch system where a ROS installation brings it; the parameter files, with the real nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from ros_fixture import Ros, ros_graph
from rosbags.highlevel import AnyReader

from h2w_ros.nodes.conditioner import Conditioner, ConditionerConfig
from h2w_ros.nodes.generator import Generator, GeneratorConfig
from h2w_ros.nodes.params import read
from h2w_ros.nodes.tracker_bridge import TrackerBridge, TrackerBridgeConfig
from h2w_ros.nodes.worker import WorkerConfig
from h2w_ros.paths import models_dir
from h2w_ros.ros_messages import stamp_to_ns
from h2w_ros.timeline import TimelineConfig

ROOT = Path(__file__).resolve().parent.parent
NODES = {
    "/**/conditioner": (Conditioner, ConditionerConfig, TimelineConfig),
    "/**/generator": (Generator, GeneratorConfig, WorkerConfig),
    "/**/tracker_bridge": (TrackerBridge, TrackerBridgeConfig),
}


# What `ros2 launch` does with a file and its arguments.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
path, *words = sys.argv[1:]
service = LaunchService()
arguments = [tuple(word.split(":=", 1)) for word in words]
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(AnyLaunchDescriptionSource(path), launch_arguments=arguments)]))
sys.exit(service.run())
"""


def skip_without_an_installed_package() -> None:
    """Launch starts executables of packages that are installed in a ROS workspace; an editable installation is none."""
    pytest.importorskip("launch_ros", reason="launch_ros is not among the ROS wheels")
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        prefix = Path(get_package_prefix("h2w_ros"))
    except PackageNotFoundError:
        pytest.skip("h2w_ros is not in the ament index: source a workspace that holds it")
    if not (prefix / "lib" / "h2w_ros" / "generator").is_file():
        pytest.skip(f"{prefix} holds no executables of h2w_ros: build it with colcon")


def stamps_by_topic(bag: Path) -> dict[str, list[int]]:
    """Header stamps of every topic but the diagnostics [ns]."""
    stamps: dict[str, list[int]] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            msg = reader.deserialize(raw, connection.msgtype)
            stamps.setdefault(connection.topic, []).append(stamp_to_ns(msg.header.stamp))
    return stamps


@pytest.mark.slow
def test_a_launched_recording_is_answered_in_its_namespace_and_its_end_ends_everything(ros: Ros, tmp_path: Path) -> None:
    skip_without_an_installed_package()
    demo = models_dir() / "demo" / "tabletop.mcap"
    words = [f"path:={demo}", f"record:={tmp_path / 'bag'}", "namespace:=robot", "rate:=0.5", "page:=true", "page_port:=0"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(ros.domain)}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(ROOT / "launch" / "replay.launch.py"), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100.0,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert said.count("process has finished cleanly") == 5
    assert "the page is at http://localhost:" in said
    stamps = stamps_by_topic(tmp_path / "bag")
    inputs, answers = stamps["/robot/odometry"], stamps["/robot/predicted/prediction"]
    assert len(answers) > len(inputs) / 2
    assert set(answers) <= set(inputs)
    assert answers == sorted(answers)


@pytest.mark.parametrize("name", ["preview", "replay", "synthesize"])
def test_a_launch_file_describes_its_arguments(name: str) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros is not among the ROS wheels")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(ROOT / "launch" / f"{name}.launch.py"))
    assert all(argument.description for argument in description.get_launch_arguments())


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_a_parameter_file_reaches_its_node_and_differs_from_the_default(path: Path) -> None:
    for node_name, content in yaml.safe_load(path.read_text()).items():
        make, *configs = NODES[node_name]
        with ros_graph() as ros:
            node = make(context=ros.context, cli_args=["--ros-args", "--params-file", str(path)])
            chosen = {name: value for config in configs for name, value in vars(read(node, config)).items()}
            node.destroy_node()
        defaults = {name: value for config in configs for name, value in vars(config()).items()}
        differing = {name: value for name, value in chosen.items() if value != defaults[name]}
        assert differing == {name: tuple(value) if isinstance(value, list) else value for name, value in content["ros__parameters"].items()}

"""The launch files, with the real launch system where a ROS installation brings it; the parameter files, with the real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from ros_fixture import ros_graph

from h2w_ros.nodes.conditioner import Conditioner, ConditionerConfig
from h2w_ros.nodes.generator import Generator, GeneratorConfig
from h2w_ros.nodes.params import read
from h2w_ros.nodes.tracker_bridge import TrackerBridge, TrackerBridgeConfig
from h2w_ros.nodes.worker import WorkerConfig
from h2w_ros.timeline import TimelineConfig

ROOT = Path(__file__).resolve().parent.parent
NODES = {
    "/**/conditioner": (Conditioner, ConditionerConfig, TimelineConfig),
    "/**/generator": (Generator, GeneratorConfig, WorkerConfig),
    "/**/tracker_bridge": (TrackerBridge, TrackerBridgeConfig),
}


@pytest.mark.parametrize("name", ["preview", "replay"])
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

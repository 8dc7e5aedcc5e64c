"""The recipes of docs/ros.md name what exists: launch arguments, commands, files, parameters; their parameter files work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from rclpy.qos import ReliabilityPolicy
from ros_fixture import EchoSession, Ros

from h2w_ros import cli
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "ros.md").read_text()
OF_LAUNCH = {"preview": ("preview",), "replay": ("replay", "preview"), "synthesize": ("synthesize",)}


def arguments_of(name: str) -> set[str]:
    """Arguments that a launch file declares, read from its text: launch is not among the wheels."""
    text = (ROOT / "launch" / f"{name}.launch.py").read_text()
    declared = set(re.findall(r'DeclareLaunchArgument\("(\w+)"', text))
    return declared | set(re.findall(r'^    "(\w+)": ', text, re.MULTILINE))


def commands() -> list[str]:
    """Every command line of the page, continued lines joined."""
    blocks = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def parameter_file() -> str:
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0]


def test_every_launch_argument_is_declared_by_the_launch_file() -> None:
    launched = [re.match(r"ros2 launch h2w_ros (\w+)\.launch\.py(.*)", line) for line in commands()]
    used = [(match[1], name) for match in launched if match for name in re.findall(r"(\w+):=", match[2])]
    assert len(used) > 10
    for launch_file, name in used:
        assert any(name in arguments_of(source) for source in OF_LAUNCH[launch_file]), f"{launch_file}.launch.py has no {name}"


def test_every_command_and_file_is_there() -> None:
    assert set(re.findall(r"`h2w ([\w-]+)", TEXT)) <= set(cli.VERBS)
    files = re.findall(r"(?:SHARE/|`)((?:config|docs)/[\w.]+)", TEXT)
    assert files
    assert not [name for name in files if not (ROOT / name).is_file()]


def test_every_quoted_complaint_is_one_that_a_node_makes() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "h2w_ros").rglob("*.py"))
    quoted = ("pose_without_mount", "hands_in_other_frame", "the clock starts anew", "clock_restarts", "inbox_length", "restart_after_s")
    assert not [words for words in quoted if words not in TEXT or words not in sources]


def test_the_parameter_file_for_a_remote_gpu_reaches_both_nodes(ros: Ros, tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    path.write_text(parameter_file())
    told = ["--ros-args", "--params-file", str(path)]
    conditioner = ros.add(Conditioner(context=ros.context, cli_args=told))
    generator = Generator(lambda config: EchoSession(), context=ros.context, cli_args=told)
    hears = {subscription.topic_name: subscription.qos_profile for subscription in conditioner.subscriptions}
    assert f"/{topics.IMAGE}" not in hears
    assert hears[f"/{topics.IMAGE_COMPRESSED}"].reliability == ReliabilityPolicy.RELIABLE
    assert hears[f"/{topics.ODOMETRY}"].reliability == ReliabilityPolicy.BEST_EFFORT
    content = yaml.safe_load(parameter_file())
    for node, name in ((conditioner, "conditioner"), (generator, "generator")):
        wanted = {key: value for key, value in content[f"/**/{name}"]["ros__parameters"].items() if key != "qos_overrides"}
        assert {key: node.get_parameter(key).value for key in wanted} == wanted
    generator.destroy_node()

"""What `--help` of an executable prints: what its nodes do, and every parameter with its default, limits and meaning."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

WIDTH = 120
# Parameters that every ROS 2 node has.
OF_ROS = ("use_sim_time", "start_type_description_service", "qos_overrides.")
HINT = "Names of topics are relative; ROS remaps them and fills in parameters: --ros-args -r odometry:=/robot/odometry -p NAME:=VALUE"


def usage(program: str, nodes: Sequence[Node]) -> str:
    """The whole text."""
    paragraphs = [f"usage: {program} [--help] [--ros-args -p NAME:=VALUE -r FROM:=TO --params-file FILE ...]"]
    for node in nodes:
        paragraphs += [_filled(f"{node.get_name()}: {' '.join((type(node).__doc__ or '').split())}"), "parameters:", *_parameters(node)]
    return "\n\n".join([*paragraphs, _filled(HINT)])


def _parameters(node: Node) -> Iterable[str]:
    names = sorted(name for name in node.get_parameters_by_prefix("") if not name.startswith(OF_ROS))
    for name in names:
        yield _parameter(node.describe_parameter(name), node.get_parameter(name).value)


def _parameter(descriptor: ParameterDescriptor, value: object) -> str:
    ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
    limits = "".join(f", {limit.from_value:g} to {limit.to_value:g}" for limit in ranges)
    return f"  {descriptor.name} (default {value!r}{limits})\n{_filled(descriptor.description, '      ')}"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)

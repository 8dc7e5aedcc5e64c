"""`h2w run`: conditioner and generator in one process."""

from __future__ import annotations

import argparse

EPILOG = """\
Everything after --ros-args is ROS's own: remappings (-r odometry:=/robot/odom), parameters (-p model:=tiny),
parameter files (--params-file config/realsense.yaml).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and remappings."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default=None, help="name of a model in the models folder, or a checkpoint's path")
    parser.add_argument("--ready-made-hands", action="store_true", help="hands come as pictures on the topic ready_made_hands")
    parser.add_argument("--reliable", action="store_true", help="ask for lost inputs again: for recordings, and large pictures of reliable drivers")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="arguments for ROS")


def run(args: argparse.Namespace) -> int:
    """Spins until Ctrl-C."""
    from h2w_ros.nodes.compose import main

    return main(ros_arguments(args))


def ros_arguments(args: argparse.Namespace) -> list[str]:
    """The same as ROS arguments."""
    from h2w_ros.nodes.topics import reliable_inputs

    given = [f"model:={args.model}"] if args.model else []
    given += ["ready_made_hands:=true"] if args.ready_made_hands else []
    given += [f"{name}:={value}" for name, value in reliable_inputs().items()] if args.reliable else []
    parameters = [word for parameter in given for word in ("-p", parameter)]
    return ["h2w", "--ros-args", *parameters, *args.ros_args]

"""`h2w replay`: a recording into ROS topics."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to play and how."""
    parser.add_argument("path", help="an episode folder, a bag, or a Hand2World example folder")
    parser.add_argument("--rate", type=float, default=1.0, help="speed; 2 is twice as fast as recorded")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--as-recorded", action="store_true", help="all topics of a bag under their own names")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="arguments for ROS: remappings, parameters")


def run(args: argparse.Namespace) -> int:
    """Plays to the end, or until Ctrl-C."""
    from h2w_ros.nodes.replay import main

    given = {"path": args.path, "rate": args.rate, "loop": str(args.loop).lower(), "as_recorded": str(args.as_recorded).lower()}
    parameters = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    return main(["h2w", "--ros-args", *parameters, *args.ros_args])

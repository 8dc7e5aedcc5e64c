"""Arguments of all verbs that read a recording."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.episodes.bag_alignment import BagOptions
    from h2w_ros.episodes.recording import Recording

PARTS_HELP = "image, camera_info, odometry, hands, ready_made_hands, ready_made_scene"


def add_recording_arguments(parser: argparse.ArgumentParser, is_optional: bool = False) -> None:
    """RECORDING, and how to read it if it is a bag."""
    text = "an episode folder, a ROS 2 bag (MCAP file or folder) or a Hand2World example folder"
    parser.add_argument("recording", type=Path, nargs="?" if is_optional else None, help=text)
    add_bag_arguments(parser)


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """How to read a bag."""
    bags = parser.add_argument_group("reading bags")
    bags.add_argument("--topic", action="append", default=[], metavar="PART=TOPIC", help=f"the topic of a part: {PARTS_HELP}; repeatable")
    bags.add_argument("--optical", metavar="'X Y Z QX QY QZ QW'", help="optical frame in odometry's child frame, where the bag's /tf_static lacks it")
    bags.add_argument("--rectified", action="store_true", help="the pictures are rectified already: camera_info's P holds")


def recording_of(args: argparse.Namespace) -> Recording:
    """The recording that the arguments name."""
    from h2w_ros.episodes.recording import open_recording

    return open_recording(args.recording, bag_options(args))


def bag_options(args: argparse.Namespace) -> BagOptions:
    """How bags are read, as the arguments say."""
    from h2w_ros.episodes.bag_alignment import BagOptions
    from h2w_ros.ros_messages import transform_from_seven

    optical = None if args.optical is None else transform_from_seven([float(number) for number in args.optical.split()], "--optical")
    return BagOptions(topics=_topics(args.topic), T_child_optical=optical, is_rectified=args.rectified)


def _topics(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ValueError(f"--topic takes PART=TOPIC, for example image=/head/image_raw, got {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def intrinsics_of(text: str | None) -> tuple[float, float, float, float] | None:
    """fx, fy, cx, cy [px] as `--intrinsics` gives them; ValueError when these are not four numbers."""
    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"--intrinsics must be four numbers FX,FY,CX,CY, got {text!r}") from error
    return fx, fy, cx, cy

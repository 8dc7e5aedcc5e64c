"""`h2w bag RECORDING --out F`: any recording as the messages that a robot would have sent."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from h2w_ros.commands.recording_options import add_recording_arguments, recording_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w bag`."""
    add_recording_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="an .mcap file, or a name for a rosbag2 folder")
    parser.add_argument("--jpeg-quality", type=int, default=90, metavar="1..100", help="of camera pictures (default: %(default)s)")
    parser.add_argument("--raw", action="store_true", help="camera pictures as sensor_msgs/Image, not compressed")
    parser.add_argument("--without-scene", action="store_true", help="leave out the renders of the untouched scene, which a robot seldom has")


def run(args: argparse.Namespace) -> int:
    """Writes the bag and says what is in it."""
    from tqdm import tqdm

    from h2w_ros.episodes.bag_writer import BagFormat, write_bag

    recording = recording_of(args)
    conditions = iter(tqdm(recording.conditions(), total=recording.num_frames, unit="frame", desc="bag", disable=None))
    description = dict(recording.description)
    if args.without_scene:
        description.pop("static_render", None)
        conditions = (replace(condition, static_render=None) for condition in conditions)
    count = write_bag(
        args.out,
        conditions,
        domain=recording.domain,
        description=description,
        bag_format=BagFormat(None if args.raw else args.jpeg_quality),
    )
    print(f"{args.out}: {count} frames at {recording.rate_hz:g} Hz; dropped {dict(recording.dropped) or 'nothing'}")
    return 0

"""`h2w repair BAG`: the end of a bag whose recorder was killed, rebuilt from what it wrote."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w repair`."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="an .mcap file, or a rosbag2 folder; it is mended in place")


def run(args: argparse.Namespace) -> int:
    """Mends the bag and says what is in it."""
    from h2w_ros.episodes.bag_repair import TORN_SUFFIX, repair_bag

    if not args.bag.exists():
        raise FileNotFoundError(f"No bag at {args.bag}")
    done = repair_bag(args.bag)
    lost = f"{done.num_cut_bytes} bytes of a torn record put aside ({TORN_SUFFIX})"
    damaged = f", {done.num_damaged_chunks} damaged chunks left out" if done.num_damaged_chunks else ""
    print(f"{args.bag}: {done.num_messages} messages; {'it was whole' if done.was_whole else f'repaired, {lost}'}{damaged}")
    return 0

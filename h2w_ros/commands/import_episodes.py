"""`h2w import-episodes NAME SRC --out DIR`: public datasets and bags as our episodes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.commands.bulk_options import add_bulk_arguments, counted, labour_of, watched
from h2w_ros.commands.recording_options import add_bag_arguments, bag_options, intrinsics_of

if TYPE_CHECKING:
    from h2w_ros.camera import Resize
    from h2w_ros.imports.dataset import ImportOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w import-episodes`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the dataset; --list tells which there are")
    parser.add_argument("source", nargs="?", type=Path, metavar="SRC", help="where its files lie, as --list tells")
    parser.add_argument("--out", type=Path, metavar="DIR", help="gets one episode a sequence; what is done stays")
    parser.add_argument("--list", action="store_true", help="the datasets, what their folders must hold, and their licences")
    parser.add_argument("--mano", type=Path, metavar="DIR", help="folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl")
    parser.add_argument("--metres-per-unit", type=float, default=1.0, metavar="M", help="length of a unit of the joints; millimetres are 0.001")
    parser.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="the camera of plain videos in pixels, origin at the picture's corner")
    parser.add_argument("--rate", type=float, default=16.0, metavar="HZ", help="frames a second that are kept (default: %(default)g)")
    parser.add_argument("--size", metavar="WxH", help="size of the episodes' pictures [px] (default: as they come)")
    parser.add_argument("--resize", choices=("squash", "crop"), default="crop", help="how pictures get that size (default: %(default)s)")
    add_bag_arguments(parser)
    add_bulk_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Imports, and says what became of every sequence that failed; 1 when one did."""
    if args.list:
        _list()
        return 0
    if args.name is None or args.source is None or args.out is None:
        raise ValueError("NAME, SRC and --out are needed; `h2w import-episodes --list` tells the names")
    from h2w_ros.bulk.run import run_jobs
    from h2w_ros.imports.batch import Import

    task = Import(args.name, args.source, _options(args), _resize(args))
    jobs = task.jobs()
    outcomes = watched(run_jobs(task.make_work(), jobs, args.out, labour_of(args)), len(jobs), "sequence", args.name)
    frames = sum(outcome.result.get("frames", 0) for outcome in outcomes)
    print(f"{args.out}: {counted(outcomes)}; {frames} frames; episode.json tells what was dropped, jobs.jsonl what failed")
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _options(args: argparse.Namespace) -> ImportOptions:
    from h2w_ros.imports.dataset import ImportOptions

    return ImportOptions(args.rate, args.mano, args.metres_per_unit, intrinsics_of(args.intrinsics), bag_options(args))


def _resize(args: argparse.Namespace) -> Resize | None:
    from h2w_ros.camera import Resize

    if args.size is None:
        return None
    width, _, height = args.size.partition("x")
    if not width.isdecimal() or not height.isdecimal():
        raise ValueError(f"--size must be WxH in pixels, for example 640x480, got {args.size!r}")
    return Resize(int(width), int(height), args.resize)


def _list() -> None:
    from h2w_ros.imports.datasets import DATASETS, dataset

    for name in DATASETS:
        row = dataset(name)
        print(f"{name}\n  needs    {row.layout}\n  licence  {row.licence}")

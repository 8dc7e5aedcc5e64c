"""`h2w annotate VIDEO... --out DIR`: hands and cameras of ordinary video, as episodes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.annotate.backends import CAMERAS, HANDS, camera_of, hands_of
from h2w_ros.commands.bulk_options import add_bulk_arguments, counted, labour_of, watched
from h2w_ros.commands.recording_options import intrinsics_of

if TYPE_CHECKING:
    from h2w_ros.annotate.pipeline import AnnotateConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w annotate`."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets one episode a video and report.html; what is done stays")
    parser.add_argument("--hands", choices=tuple(HANDS), default="mediapipe", help="who finds hands (default: %(default)s)")
    parser.add_argument("--hands-from", metavar="PATH", help="a network's ONNX file, or results of others; {name} stands for the video's name")
    parser.add_argument("--camera", choices=tuple(CAMERAS), default="colmap", help="who tells the camera's path (default: %(default)s)")
    parser.add_argument("--camera-from", metavar="PATH", help="the file or folder of an imported path; {name} stands for the video's name")
    parser.add_argument("--camera-stride", type=int, default=1, metavar="N", help="its tool saw every Nth frame (default: %(default)s)")
    parser.add_argument("--view", type=float, metavar="DEG", help="what the camera sees across the picture's width [deg]")
    parser.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="the camera in pixels of the upright video, origin at its corner")
    parser.add_argument("--scale", type=float, metavar="METRES", help="of one unit of the camera's path (default: as the hands say)")
    parser.add_argument("--rate", type=float, default=16.0, metavar="HZ", help="frames a second that are kept (default: %(default)g)")
    parser.add_argument("--longest-side", type=int, default=960, metavar="PX", help="of the episodes' pictures (default: %(default)s)")
    parser.add_argument("--reach", type=float, default=1.2, metavar="M", help="hands further away are not the wearer's (default: %(default)g)")
    parser.add_argument("--coverage", type=float, default=0.3, metavar="SHARE", help="of frames that must show a hand (default: %(default)g)")
    parser.add_argument("--mano", type=Path, metavar="DIR", help="folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl")
    add_bulk_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Annotates, and says what became of every video; 1 when one failed."""
    from h2w_ros.annotate.report import write_report
    from h2w_ros.annotate.videos import Task, videos_in
    from h2w_ros.bulk.run import run_jobs

    task = Task(
        args.out, hands_of(args.hands, args.hands_from, args.mano), camera_of(args.camera, args.camera_from, args.camera_stride), _config(args)
    )
    jobs = task.jobs(videos_in(args.videos, args.out))
    outcomes = watched(run_jobs(task.make_work(), jobs, args.out, labour_of(args)), len(jobs), "video", "annotate")
    frames = sum(outcome.result.get("frames", 0) for outcome in outcomes if outcome.status in ("done", "there already"))
    print(f"{args.out}: {counted(outcomes)}; {frames} frames; look at {write_report(args.out)}")
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _config(args: argparse.Namespace) -> AnnotateConfig:
    from h2w_ros.annotate.clip import ClipConfig
    from h2w_ros.annotate.hand_stage import HandStageConfig
    from h2w_ros.annotate.intrinsics import IntrinsicsConfig
    from h2w_ros.annotate.pipeline import AnnotateConfig
    from h2w_ros.annotate.quality import GateConfig

    return AnnotateConfig(
        clip=ClipConfig(args.rate, args.longest_side),
        intrinsics=IntrinsicsConfig(intrinsics_of(args.intrinsics), args.view),
        hands=HandStageConfig(args.reach, mano=args.mano),
        gate=GateConfig(least_coverage=args.coverage),
        scale=args.scale,
    )

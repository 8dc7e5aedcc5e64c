"""`h2w annotate VIDEO... --out DIR`: hands and cameras of ordinary video, as episodes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.annotate.clip import Clip
    from h2w_ros.annotate.outcome import Outcome
    from h2w_ros.annotate.pipeline import AnnotateConfig
    from h2w_ros.annotate.sighting import Sightings
    from h2w_ros.annotate.videos import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w annotate`."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets one episode a video and report.html; what is done stays")
    parser.add_argument("--camera", choices=("fixed",), default="fixed", help="how the camera moved (default: %(default)s)")
    parser.add_argument("--view", type=float, metavar="DEG", help="what the camera sees across the picture's width [deg]")
    parser.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="the camera in pixels of the upright video, origin at its corner")
    parser.add_argument("--scale", type=float, metavar="METRES", help="of one unit of the camera's path (default: as the hands say)")
    parser.add_argument("--rate", type=float, default=16.0, metavar="HZ", help="frames a second that are kept (default: %(default)g)")
    parser.add_argument("--longest-side", type=int, default=960, metavar="PX", help="of the episodes' pictures (default: %(default)s)")
    parser.add_argument("--mano", type=Path, metavar="DIR", help="folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl")


def run(args: argparse.Namespace) -> int:
    """Annotates, and says what became of every video; 1 when one failed."""
    from tqdm import tqdm

    from h2w_ros.annotate.report import write_report
    from h2w_ros.annotate.videos import annotate_video, finished

    outcomes = []
    for job in (bar := tqdm(_jobs(args), unit="video", disable=None)):
        outcome = finished(job) or annotate_video(job, _watched)
        outcomes.append(outcome)
        write_report(args.out)
        if outcome.status != "annotated":
            bar.write(f"{outcome.name} {outcome.status}: {'; '.join(outcome.reasons)}", file=sys.stderr)
    return _told(outcomes, args.out)


def _jobs(args: argparse.Namespace) -> list[Job]:
    from h2w_ros.annotate.cameras.path import FixedCamera
    from h2w_ros.annotate.mediapipe_hands import MediaPipeHands
    from h2w_ros.annotate.videos import Job, names_of

    config = _config(args)
    names = names_of(args.videos)
    return [Job(video, name, args.out, MediaPipeHands(), FixedCamera(), config) for video, name in zip(args.videos, names, strict=True)]


def _config(args: argparse.Namespace) -> AnnotateConfig:
    from h2w_ros.annotate.clip import ClipConfig
    from h2w_ros.annotate.hand_stage import HandStageConfig
    from h2w_ros.annotate.intrinsics import IntrinsicsConfig
    from h2w_ros.annotate.pipeline import AnnotateConfig

    return AnnotateConfig(
        clip=ClipConfig(args.rate, args.longest_side),
        intrinsics=IntrinsicsConfig(_four_numbers(args.intrinsics), args.view),
        hands=HandStageConfig(mano=args.mano),
        scale=args.scale,
    )


def _four_numbers(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--intrinsics must be four numbers FX,FY,CX,CY, got {text!r}") from error
    return fx, fy, cx, cy


def _watched(frames: Iterator[Sightings], clip: Clip) -> Iterator[Sightings]:
    from tqdm import tqdm

    return iter(tqdm(frames, total=clip.num_frames, unit="frame", desc=clip.path.stem, leave=False, disable=None))


def _told(outcomes: list[Outcome], out: Path) -> int:
    counts = Counter(outcome.status for outcome in outcomes)
    print(f"{out}: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}; see {out / 'report.html'}")
    return 1 if counts["failed"] else 0

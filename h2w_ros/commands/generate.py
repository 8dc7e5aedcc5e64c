"""`h2w generate RECORDING --model M --out F.mp4`: the whole path from a recording to a predicted video, without ROS."""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from h2w_ros.commands.recording_options import add_recording_arguments
from h2w_ros.commands.scene_options import SceneRecording, add_scene_arguments, check_fit, source_of
from h2w_ros.domain import check_domain

if TYPE_CHECKING:
    from h2w_ros.camera import ResizePolicy
    from h2w_ros.condition import Condition, Image
    from h2w_ros.episodes.recording import Recording
    from h2w_ros.generator.config import GeneratorConfig
    from h2w_ros.session import PredictedFrame

ROW_HEIGHT_PX = 240


@runtime_checkable
class Predictor(Protocol):
    """What `generate` needs of a session."""

    def push(self, condition: Condition) -> list[PredictedFrame]:
        """The frames that this condition completes."""

    def settle(self) -> None:
        """Work between two answers."""


@dataclass
class Report:
    """What `generate` writes as JSON. `seconds` is the time from the first condition to the last frame; `static_scene_known` the share of
    the pictures that a given scene covers.
    """

    recording: str
    model: str
    seed: int
    rate_hz: float
    out_of_domain: bool
    out_of_domain_reason: str
    frames: int = 0
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    realtime_factor: float = 0.0
    dropped: Mapping[str, int] = field(default_factory=dict)
    static_scene_known: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w generate`."""
    add_recording_arguments(parser, is_optional=True)
    parser.add_argument("--model", default="tiny", help="a shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="F.mp4", help="where the predicted video goes")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same frames (default: %(default)s)")
    parser.add_argument("--side-by-side", type=Path, metavar="F.mp4", help="also a video of camera, hands and prediction")
    parser.add_argument("--json", type=Path, metavar="F.json", help="where the report goes")
    parser.add_argument(
        "--table-height", type=float, metavar="M", help="height of the table in a world whose z axis points up (default: what the recording says)"
    )
    parser.add_argument("--resize", choices=("squash", "crop"), default="squash", help="how pictures become the model's size (default: %(default)s)")
    add_scene_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Predicts the video of the whole recording."""
    from h2w_ros.generator.checkpoint import load_generator
    from h2w_ros.session import Session

    recording = source_of(args)
    height_m = table_height_m(args.table_height, recording)
    session = Session(load_generator(args.model), resize_policy=args.resize, table_height_m=height_m)
    check_fit(args, session.config, recording)
    domain = check_domain(session.config.domain, recording.domain)
    if domain.out_of_domain:
        print(f"Out of domain: {domain.reason}.")
    session.reset(recording.scene_image, args.seed)
    report = Report(str(recording.path), args.model, args.seed, recording.rate_hz, domain.out_of_domain, domain.reason)
    try:
        generate(session, recording, args.out, args.side_by_side, report, pixel_aspect(session.config, args.resize, recording.scene_image))
    except KeyboardInterrupt:
        print(f"\n{args.out}: only the {report.frames} frames until here, of {recording.num_frames}")
        raise
    if args.json is not None:
        write_report(args.json, report)
    speed = f"{report.realtime_factor:.2f} x real time"
    known = "" if report.static_scene_known is None else f"; the static scene covers {100 * report.static_scene_known:.0f} % of the pictures"
    print(f"{args.out}: {report.frames} frames at {report.rate_hz:g} Hz, {speed}; dropped {report.dropped or 'nothing'}{known}")
    return 0


def table_height_m(given: float | None, recording: Recording) -> float | None:
    """The table's height as the user gave it, else as the recording's maker noted it, else unknown."""
    noted = recording.description.get("table_height_m")
    if given is not None:
        return given
    return float(noted) if isinstance(noted, int | float) and not isinstance(noted, bool) else None


def pixel_aspect(config: GeneratorConfig, policy: ResizePolicy, source: Image) -> Fraction:
    """How much wider than high predicted pixels are to be shown, for pictures of this size."""
    from h2w_ros.camera import Resize

    return Resize(config.width_px, config.height_px, policy).pixel_aspect(source.shape[1], source.shape[0])


def generate(session: Predictor, recording: Recording, out: Path, side_by_side: Path | None, report: Report, aspect: Fraction = Fraction(1)) -> None:
    """Writes the videos, whose predicted pixels are shown with this aspect, and fills the report's numbers in."""
    from tqdm import tqdm

    from h2w_ros.video import VideoWriter

    dropped: dict[str, int] = {}
    began_s = time.perf_counter()
    with ExitStack() as stack:
        video = stack.enter_context(VideoWriter(out, recording.rate_hz, pixel_aspect=aspect))
        rows = stack.enter_context(VideoWriter(side_by_side, recording.rate_hz)) if side_by_side else None
        row = Row(recording.scene_image, aspect)
        conditions = iter(tqdm(recording.conditions(), total=recording.num_frames, unit="frame", desc="generate", disable=None))
        for condition, frame in predict(session, conditions, dropped):
            video.write(frame.image)
            report.frames, (report.height_px, report.width_px) = video.num_frames, frame.image.shape[:2]
            if rows is not None:
                rows.write(row.picture(condition, frame.image))
    report.seconds = time.perf_counter() - began_s
    report.fps = report.frames / report.seconds
    report.realtime_factor = report.fps / recording.rate_hz
    report.dropped = {**recording.dropped, **dropped}
    if isinstance(recording, SceneRecording):
        report.static_scene_known = recording.known_share


def predict(session: Predictor, conditions: Iterable[Condition], dropped: dict[str, int]) -> Iterator[tuple[Condition, PredictedFrame]]:
    """Every answered condition with its frame; conditions of a last block that never fills up are counted as dropped."""
    waiting: deque[Condition] = deque()
    for condition in conditions:
        waiting.append(condition)
        for frame in session.push(condition):
            yield waiting.popleft(), frame
        session.settle()
    if waiting:
        dropped["incomplete_last_block"] = len(waiting)


class Row:
    """Camera, hands and prediction side by side. A recording without camera pictures shows its first one, and says so."""

    def __init__(self, scene_image: Image, pixel_aspect: Fraction = Fraction(1)) -> None:
        from h2w_ros.hands.render import HandRenderer

        self._scene_image, self._pixel_aspect = scene_image, pixel_aspect
        self._renderer = HandRenderer()

    def picture(self, condition: Condition, predicted: Image) -> Image:
        """One frame of the side-by-side video."""
        from h2w_ros.pictures import labelled_row, widened

        camera, label = (condition.image, "camera") if condition.image is not None else (self._scene_image, "scene at the start")
        pictures, labels = [camera, self._hands(condition), widened(predicted, self._pixel_aspect)], [label, "hands", "predicted"]
        if condition.static_render is not None:
            pictures, labels = [*pictures, condition.static_render], [*labels, "static scene"]
        return labelled_row(pictures, labels, scale=ROW_HEIGHT_PX / max(len(picture) for picture in pictures))

    def _hands(self, condition: Condition) -> Image:
        if condition.hand_render is not None:
            return condition.hand_render
        return self._renderer.render(condition.hands, condition.camera, condition.T_world_camera)


def write_report(path: Path, report: Report) -> None:
    """Writes the report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(asdict(report), indent=1) + "\n")
    partial.replace(path)

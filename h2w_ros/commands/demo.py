"""`h2w demo`: the shipped recording through the real nodes, and a video of what they predict."""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.commands.generate import Row, pixel_aspect, table_height_m
from h2w_ros.domain import check_domain
from h2w_ros.paths import models_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h2w_ros.condition import Condition
    from h2w_ros.generator.config import GeneratorConfig
    from h2w_ros.nodes.rehearsal import Rehearsal

OUTPUTS = ("predicted.mp4", "side_by_side.mp4", "report.json", "bag", "logs")


@dataclass
class DemoReport:
    """What `report.json` holds. Latency runs from the publishing of the input that completes a moment to the arrival of its
    predicted picture in another process, nodes and DDS included; the reference's frame is left out. `realtime_factor` is
    frames per second of playing over the recording's rate: 1 means that every moment was answered in time.
    """

    recording: str
    model: str
    hardware: str
    frames: int
    dropped: dict[str, int]
    latency_ms_p50: float
    latency_ms_p95: float
    fps: float
    realtime_factor: float
    out_of_domain: bool
    out_of_domain_reason: str
    stages_ms: dict[str, float] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything has a default: `h2w demo` is enough."""
    parser.add_argument("--recording", type=Path, default=None, help="episode, bag or Hand2World example (default: the shipped recording)")
    parser.add_argument("--model", default="tiny", help="a shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="where videos, bag and report go (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1.0, help="playing speed; below 1 gives a slow machine time (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Rehearses, writes videos and report, says where to look."""
    from h2w_ros.episodes.recording import open_recording
    from h2w_ros.generator.model_folder import find_model, read_config

    path = args.recording or models_dir() / "demo" / "tabletop.mcap"
    recording = open_recording(path)
    config = read_config(find_model(args.model))
    domain = check_domain(config.domain, recording.domain)
    conditions = list(recording.conditions())
    if not conditions:
        raise ValueError(f"{path} holds no moment that could be predicted: {dict(recording.dropped)}")
    _clear(args.out)
    if domain.out_of_domain:
        print(f"Out of domain: {domain.reason}.")
    print(f"Playing {path} ({len(conditions)} frames at {recording.rate_hz:g} Hz) into the nodes; model {args.model}")
    rehearsal = _rehearse(args, path, conditions, table_height_m(None, recording))
    report = make_report(rehearsal, conditions, str(path), args.model, recording.rate_hz * args.rate)
    report.out_of_domain, report.out_of_domain_reason = domain.out_of_domain, domain.reason
    _write_videos(rehearsal, conditions, args.out, recording.rate_hz, config)
    (args.out / "report.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    print(summary(report, args.out))
    return 0 if report.frames else 1


def _rehearse(args: argparse.Namespace, path: Path, conditions: Sequence[Condition], table_m: float | None) -> Rehearsal:
    from tqdm import tqdm

    from h2w_ros.nodes.rehearsal import RehearsalConfig, rehearse

    ready_made = conditions[0].hand_render is not None and not conditions[0].hands
    config = RehearsalConfig(path, args.out, args.model, args.rate, ready_made, table_m)
    with tqdm(total=len(conditions), unit="frame", desc="demo") as bar:

        def show(count: int) -> None:
            bar.update(count - bar.n)

        return rehearse(config, show)


def make_report(rehearsal: Rehearsal, conditions: Sequence[Condition], recording: str, model: str, rate_hz: float) -> DemoReport:
    """The numbers; moments that no node accounts for were lost on the way between processes."""
    from h2w_ros import hardware

    frames, dropped = len(rehearsal.frames), Counter(rehearsal.dropped)
    lost = len(conditions) - frames - sum(dropped[reason] for reason in MOMENTS_DROPPED)
    if lost > 0:
        dropped["not_answered"] = lost
    fps = (frames - 1) / rehearsal.playing_s if rehearsal.playing_s else 0.0
    return DemoReport(
        recording=recording,
        model=model,
        hardware=hardware.describe(),
        frames=frames,
        dropped=dict(dropped),
        latency_ms_p50=rehearsal.latency_ms(50.0),
        latency_ms_p95=rehearsal.latency_ms(95.0),
        fps=fps,
        realtime_factor=fps / rate_hz,
        out_of_domain=False,
        out_of_domain_reason="",
        stages_ms=rehearsal.stages_ms,
    )


# Reasons that cost a whole moment, as the nodes name them.
MOMENTS_DROPPED = ("tick_without_pose", "tick_without_hand_render", "inbox_full", "no_reference_image", "condition_refused", "restart")


def _write_videos(rehearsal: Rehearsal, conditions: Sequence[Condition], out: Path, rate_hz: float, config: GeneratorConfig) -> None:
    """Only answered moments: a frame that did not come is not made up."""
    from h2w_ros.video import VideoWriter

    scene = next(condition.image for condition in conditions if condition.image is not None)
    aspect = pixel_aspect(config, "squash", scene)
    row = Row(scene, aspect)
    with VideoWriter(out / "predicted.mp4", rate_hz, pixel_aspect=aspect) as predicted, VideoWriter(out / "side_by_side.mp4", rate_hz) as rows:
        for condition in conditions:
            frame = rehearsal.frames.get(condition.stamp_ns)
            if frame is not None:
                predicted.write(frame)
                rows.write(row.picture(condition, frame))


def _clear(out: Path) -> None:
    """Removes what an earlier demo left; other files stay."""
    for name in OUTPUTS:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def summary(report: DemoReport, out: Path) -> str:
    """What happened and where to look."""
    return "\n".join(
        (
            f"{report.frames} frames, {report.realtime_factor:.2f} x real time; dropped: {report.dropped or 'nothing'}",
            f"input to pixel: {report.latency_ms_p50:.0f} ms median, {report.latency_ms_p95:.0f} ms p95 on {report.hardware}",
            f"Look at  {out / 'side_by_side.mp4'}   (camera, hands, prediction)",
            f"         {out / 'predicted.mp4'}",
            f"         {out / 'bag'}   (MCAP: open it in Foxglove)",
            f"         {out / 'report.json'}",
            "Then     h2w preview   (reach into a photo yourself, in the browser; with .venv/bin/ in front where that is not on the path)",
        )
    )

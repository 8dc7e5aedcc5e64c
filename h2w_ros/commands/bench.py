"""`h2w bench`: stages and end to end, young session against old one, with and without the nodes."""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.commands.generate import table_height_m

if TYPE_CHECKING:
    from h2w_ros.condition import Condition
    from h2w_ros.episodes.recording import Recording
    from h2w_ros.generator.checkpoint import Generator

EPILOG = """\
fps and realtime_factor: what this machine sustains without nodes. block_ms: from a block's last condition until the context is ready
for the next one; pixel_ms: until its pictures exist. input_to_pixel_ms: through the nodes, at the model's own rate, from the sending of the
last input that a frame needs to the arrival of its picture in another process; nodes_realtime_factor is 1 when no frame was missed there.
cached_speedup is of the transformer, computed even where a model's adds nothing and is left out when it runs.
Numbers of the nodes are null when the nodes were left out, and `nodes` says why.
With --ros: what ROS costs around a session that answers at once, pictures of 480x672: from a picture's message in the conditioner to its answer
handed to the middleware by the generator in the same process, and from its sending in one process to the arrival of its answer from another; then
the percent of a core that each node takes as a process that hears nothing.
With --candidates: one block of N futures, as one batch and one after the other; with_past counts the past that they share, which the batch
computes once and the others each for themselves.
With --live: the share of conditions that a live session answers, and its latencies, alone and while the same node predicts N futures of 3 s.
With --fit: the fitting of hands to noisy joints alone, beside SciPy on the same problems, in ms of one core; errors are mean distances of
21 points from the truth.
With --webcam: hands of a video that is sent to the node hand_tracker picture by picture at 30 a second, from a picture's sending to its answer.
With --annotation: how far `h2w annotate` is from the truth on N simulated episodes, whose hands are told to it with a network's errors and whose
camera it finds: millimetres and degrees, and what its gate does to paths that are right and wrong.
With --scene: pictures of a static scene at tiny's size and at the one in which conditions draw it, and a depth image fused; ms of one core.
With --clips: how many clips of 33 frames of 192x256 a minute come out of episodes in any order, pictures, poses and hands, on two processes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, recording, and how long to measure."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--recording", type=Path, help="episode or bag to stream (default: the shipped demo)")
    parser.add_argument("--old-block", type=int, default=2000, help="age of the old session in blocks (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=150, help="blocks that each session is timed for (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the network runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="PyTorch threads (default: $OMP_NUM_THREADS, else 1)")
    parser.add_argument("--no-nodes", action="store_true", help="leave the ROS nodes out: no input_to_pixel_ms")
    parser.add_argument("--ros", action="store_true", help="measure only what ROS costs, and nodes that have nothing to do")
    parser.add_argument("--candidates", type=int, metavar="N", help="measure only N futures of a session, as one batch against one after the other")
    parser.add_argument("--live", type=int, metavar="N", help="measure only a live session beside a prediction of N futures, through the nodes")
    parser.add_argument("--fit", action="store_true", help="measure only the fitting of hands to a tracker's joints")
    parser.add_argument("--clips", type=int, metavar="N", help="measure only random access to N clips of episodes")
    parser.add_argument("--webcam", type=Path, metavar="VIDEO", help="measure only hand_tracker, on this video in a webcam's place")
    parser.add_argument("--annotation", type=int, metavar="N", help="measure only annotation, on N simulated episodes (a minute each)")
    parser.add_argument("--scene", nargs="?", type=Path, const=Path(), metavar="FILE", help="measure only static scenes: ours, or the one of a file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")


def run(args: argparse.Namespace) -> int:
    """Measures, prints the numbers as JSON."""
    text = json.dumps(report_of(args), indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def report_of(args: argparse.Namespace) -> dict[str, object]:
    """The measurement that was asked for."""
    if args.fit:
        return fit_report()
    if args.clips is not None:
        return clips_report(args.clips)
    if args.scene is not None:
        return scene_report(args.scene)
    if args.webcam is not None:
        return webcam_report(args.webcam)
    if args.annotation is not None:
        return annotation_report(args.annotation)
    if args.ros:
        return ros_report(args.model)
    if args.live is not None:
        return live_report(args)
    return streaming_report(args) if args.candidates is None else branches_report(args)


def fit_report() -> dict[str, object]:
    """Hands fitted to joints, alone."""
    from tqdm import tqdm

    from h2w_ros.condition import SIDES
    from h2w_ros.evaluation.fit_speed import FitPlan, measure_fit

    plan = FitPlan()
    with tqdm(total=len(SIDES) * plan.num_frames, unit="frame", desc="fitting") as bar:
        return measure_fit(plan, bar.update)


def clips_report(num_clips: int) -> dict[str, object]:
    """Clips of episodes in any order."""
    from tempfile import TemporaryDirectory

    from tqdm import tqdm

    from h2w_ros.evaluation.clip_speed import ClipPlan, measure_clips
    from h2w_ros.hardware import describe

    with TemporaryDirectory() as folder, tqdm(total=num_clips, unit="clip", desc="reading", disable=None) as bar:
        return {"hardware": describe(), **measure_clips(ClipPlan(num_clips), Path(folder), bar.update)}


def webcam_report(video: Path) -> dict[str, object]:
    """Hands of a video, through the node."""
    from h2w_ros.hardware import describe
    from h2w_ros.nodes.webcam_speed import WebcamPlan, measure_webcam

    return {"hardware": describe(), **measure_webcam(WebcamPlan(video))}


def annotation_report(num_clips: int) -> dict[str, object]:
    """Annotation beside the truth."""
    from tempfile import TemporaryDirectory

    from tqdm import tqdm

    from h2w_ros.annotate.truth_check import TruthPlan, measure_truth

    with TemporaryDirectory() as folder, tqdm(total=num_clips, unit="clip", desc="annotating", disable=None) as bar:
        return measure_truth(TruthPlan(num_clips), Path(folder), bar.update)


def scene_report(path: Path) -> dict[str, object]:
    """Static scenes drawn and fused; the empty path means our own."""
    from tqdm import tqdm

    from h2w_ros.evaluation.scene_speed import ScenePlan, measure_scene
    from h2w_ros.hardware import describe
    from h2w_ros.scene.files import load_scene

    scene = load_scene(path) if path.name else None
    with tqdm(unit="picture", desc="drawing", disable=None) as bar:
        return {"hardware": describe(), **measure_scene(ScenePlan(), scene, bar.update)}


def ros_report(model: str) -> dict[str, object]:
    """What ROS costs, busy and idle."""
    from h2w_ros.hardware import describe
    from h2w_ros.nodes.idle import measure_idle
    from h2w_ros.nodes.overhead import measure_overhead

    return {"hardware": describe(), **measure_overhead(), "idle_percent_of_a_core": measure_idle(model)}


def live_report(args: argparse.Namespace) -> dict[str, object]:
    """A live session alone, and beside a prediction."""
    from h2w_ros.hardware import describe
    from h2w_ros.nodes.live_speed import LivePlan, measure_live

    if args.device != "cpu" or args.threads:
        raise ValueError("--live measures the node as it is started by default; leave out --device and --threads")
    source = recorded(args)
    report = measure_live(args.model, list(source.conditions()), source.rate_hz, LivePlan(args.live), table_height_m(None, source))
    return {"model": args.model, "hardware": describe()} | report


def branches_report(args: argparse.Namespace) -> dict[str, object]:
    """Futures as one batch, and one after the other."""
    from tqdm import tqdm

    from h2w_ros.evaluation.branch_speed import BranchPlan, measure_branches
    from h2w_ros.hardware import describe

    generator, conditions, table_m, _ = opened(args)
    plan = BranchPlan(num_candidates=args.candidates)
    with tqdm(total=plan.num_blocks, unit="block", desc="branching") as bar:
        report = measure_branches(generator, conditions, plan, bar.update, table_m)
    return {"model": generator.config.name, "hardware": describe()} | report.table(plan)


def streaming_report(args: argparse.Namespace) -> dict[str, object]:
    """The whole stream, with and without the nodes."""
    from tqdm import tqdm

    from h2w_ros.evaluation.speed import SpeedPlan, condition_times_ms, measure_speed, speed_table

    generator, conditions, table_m, recording = opened(args)
    plan = SpeedPlan(old_block=args.old_block, num_samples=args.samples)
    with tqdm(total=plan.num_blocks, unit="block", desc="streaming") as bar:
        speed = measure_speed(generator, conditions, plan, bar.update, table_m)
    report = speed_table(generator.config, plan, speed)
    report["conditions_ms_at_480x672"] = {name: round(value, 2) for name, value in condition_times_ms().items()}
    return report | nodes_table(recording, args.model, generator.config.rate_hz, table_m, reason_against_nodes(args.no_nodes))


def opened(args: argparse.Namespace) -> tuple[Generator, list[Condition], float | None, Path]:
    """The generator, what it is fed, the table's height in it where that is known, and where it comes from."""
    import torch

    from h2w_ros.generator.checkpoint import load_generator

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda needs a GPU that PyTorch can use, and there is none here; leave it out to measure the CPU")
    if args.threads:
        torch.set_num_threads(args.threads)
    source = recorded(args)
    return load_generator(args.model, device=args.device), list(source.conditions()), table_height_m(None, source), recording_path(args)


def recording_path(args: argparse.Namespace) -> Path:
    """What is streamed: the shipped demo, unless told."""
    from h2w_ros.paths import models_dir

    return args.recording or models_dir() / "demo" / "tabletop.mcap"


def recorded(args: argparse.Namespace) -> Recording:
    """What is streamed, opened."""
    from h2w_ros.episodes.recording import open_recording

    return open_recording(recording_path(args))


def reason_against_nodes(unwanted: bool) -> str | None:
    """Why the nodes stay out of the measurement, if they do."""
    if unwanted:
        return "left out: --no-nodes"
    missing = [package for package in ("rclpy", "h2w_msgs") if find_spec(package) is None]
    return f"left out: {' and '.join(missing)} cannot be imported here" if missing else None


def nodes_table(recording: Path, model: str, rate_hz: float, table_m: float | None, left_out: str | None) -> dict[str, object]:
    """What the nodes make of it: conditioner and generator in their process, inputs sent and pictures taken in another."""
    if left_out is not None:
        return {"input_to_pixel_ms_p50": None, "input_to_pixel_ms_p95": None, "nodes": left_out}
    from tempfile import TemporaryDirectory

    from h2w_ros.nodes.rehearsal import RehearsalConfig, rehearse

    with TemporaryDirectory() as folder:
        played = rehearse(RehearsalConfig(recording, Path(folder), model, table_height_m=table_m))
    if not played.latencies_ms:
        return {"input_to_pixel_ms_p50": None, "input_to_pixel_ms_p95": None, "nodes": f"no frame came back; dropped {dict(played.dropped)}"}
    fps = (len(played.frames) - 1) / played.playing_s
    return {
        "input_to_pixel_ms_p50": round(played.latency_ms(50.0), 1),
        "input_to_pixel_ms_p95": round(played.latency_ms(95.0), 1),
        "nodes": "conditioner and generator in one process, timed from another",
        "nodes_realtime_factor": round(fps / rate_hz, 3),
        "nodes_dropped": dict(played.dropped),
    }

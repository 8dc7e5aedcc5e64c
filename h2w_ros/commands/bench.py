"""`h2w bench`: stages and end to end, young session against old one, with and without the nodes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "block_ms: from a block's last condition until the context is ready for the next. input_to_pixel_ms: through the nodes, from the newest "
        "input's arrival to the published picture, at the model's own rate, other processes included. fps and realtime_factor: what the machine sustains without nodes; "
        "nodes_realtime_factor: 1 when no frame was missed through the nodes."
    )
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--recording", type=Path, help="episode or bag to stream (default: the shipped demo)")
    parser.add_argument("--old-block", type=int, default=2000, help="age of the old session in blocks (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=150, help="blocks that each session is timed for (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="PyTorch threads (default: PyTorch's choice)")
    parser.add_argument("--no-nodes", action="store_true", help="leave the ROS nodes out: no input_to_pixel_ms")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")


def run(args: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from h2w_ros.episodes.recording import open_recording
    from h2w_ros.evaluation.speed import SpeedPlan, condition_times_ms, measure_speed
    from h2w_ros.generator.checkpoint import load_generator
    from h2w_ros.paths import models_dir

    if args.threads:
        torch.set_num_threads(args.threads)
    generator = load_generator(args.model)
    recording = args.recording or models_dir() / "demo" / "tabletop.mcap"
    plan = SpeedPlan(old_block=args.old_block, num_samples=args.samples)
    conditions = list(open_recording(recording).conditions())
    with tqdm(total=plan.old_block + plan.young_block, unit="block", desc="streaming") as bar:
        speed = measure_speed(generator, conditions, plan, bar.update)
    report = speed_table(generator, speed, plan)
    report["conditions_ms_at_480x672"] = {name: round(value, 2) for name, value in condition_times_ms().items()}
    if not args.no_nodes:
        report |= through_nodes(recording, args.model, generator.config.rate_hz)
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def through_nodes(recording: Path, model: str, rate_hz: float) -> dict[str, float]:
    """What the nodes make of it: conditioner and generator in their process, inputs sent and pictures taken in another."""
    from tempfile import TemporaryDirectory

    from h2w_ros.nodes.rehearsal import RehearsalConfig, rehearse

    with TemporaryDirectory() as folder:
        played = rehearse(RehearsalConfig(recording, Path(folder), model))
    fps = (len(played.frames) - 1) / played.playing_s if played.playing_s else 0.0
    return {
        "input_to_pixel_ms_p50": round(played.latency_ms(50.0), 1),
        "input_to_pixel_ms_p95": round(played.latency_ms(95.0), 1),
        "nodes_realtime_factor": round(fps / rate_hz, 3),
    }


def speed_table(generator, speed, plan) -> dict[str, object]:  # noqa: ANN001 - torch stays unimported until run
    """The report's keys, in the order they are read."""
    import numpy as np

    from h2w_ros import hardware

    config = generator.config
    frames_per_block = config.rollout.latents_per_block * config.codec.temporal_stride
    blocks = [*speed.block_ms_young, *speed.block_ms_old]
    block_ms = float(np.median(blocks))
    fps = 1e3 * frames_per_block / block_ms
    return {
        "model": config.name,
        "hardware": hardware.describe(),
        "fps": round(fps, 2),
        "realtime_factor": round(fps / config.rate_hz, 3),
        "pixel_ms_p50": round(float(np.median(speed.pixel_ms)), 2),
        "block_ms_p50": round(block_ms, 2),
        "block_ms_p95": round(float(np.percentile(blocks, 95)), 2),
        f"block_ms_at_{plan.young_block}": round(float(np.median(speed.block_ms_young)), 2),
        f"block_ms_at_{plan.old_block}": round(float(np.median(speed.block_ms_old)), 2),
        f"rss_mb_at_{plan.young_block}": round(speed.rss_mb_young, 1),
        f"rss_mb_at_{plan.old_block}": round(speed.rss_mb_old, 1),
        "cached_speedup": round(speed.cached_speedup, 2),
        "stages_ms": {name: round(value, 2) for name, value in speed.stages_ms.items()},
    }

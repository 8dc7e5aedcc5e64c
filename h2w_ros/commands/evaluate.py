"""`h2w evaluate`: how close the stream comes to the truth on held-out simulated episodes, region by region."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from h2w_ros.condition import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, which episodes, where results go."""
    parser.epilog = (
        "PSNR in dB over all frames but the given first one: overall, on hands, on things that move, on the background. Beside the model: "
        "repeat (the first frame for ever), static_scene (the untouched scene from the true camera), codec_ceiling (the truth through the codec)."
    )
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=900_000, help="seed of the first episode; evaluation's begin at 900000 (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=16, help="how many episodes (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=49, help="frames an episode, at 16 a second (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--strips", type=Path, help="write a PNG of truth and predictions, side by side")
    parser.add_argument("--strip-episodes", type=int, default=4, help="episodes in the PNG (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Simulates, streams, measures."""
    from tqdm import tqdm

    from h2w_ros import hardware
    from h2w_ros.evaluation.protocol import Evaluation, contenders, evaluate
    from h2w_ros.generator.checkpoint import load_generator
    from h2w_ros.world.dataset import simulate_many
    from h2w_ros.world.spec import WorldSpec

    generator = load_generator(args.model)
    config = generator.config
    spec = WorldSpec(width_px=config.width_px, height_px=config.height_px, num_frames=args.frames, rate_hz=config.rate_hz)
    table, evaluation = contenders(generator, args.seed), Evaluation()
    seeds = range(args.seed, args.seed + args.episodes)
    for _, episode in tqdm(simulate_many(seeds, spec, args.workers), total=args.episodes, unit="episode", desc="evaluate"):
        evaluate(episode, table, evaluation, keep_frames=len(evaluation.strips) < args.strip_episodes)
    report = {"model": config.name, "seed": args.seed, "episodes": args.episodes, "frames": args.frames, "hardware": hardware.describe()}
    report["results"] = evaluation.as_json()
    print(_as_table(evaluation.as_json()))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    if args.strips:
        _write_strips(args.strips, evaluation.strips)
    return 0


def _as_table(results: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """PSNR, a line a contender."""
    regions = list(next(iter(results.values())))
    lines = [f"{'PSNR [dB]':26}" + "".join(f"{region:>12}" for region in regions)]
    for name, by_region in results.items():
        values = (by_region[region]["psnr"] for region in regions)
        lines.append(f"{name:26}" + "".join(f"{'-' if value is None else f'{value:.2f}':>12}" for value in values))
    return "\n".join(lines)


def _write_strips(path: Path, strips: list[dict[str, list[Image]]]) -> None:
    """For every kept episode, a row a contender and eight moments from first to last."""
    import cv2
    import numpy as np

    from h2w_ros.pictures import labelled_row

    def row(name: str, frames: list[Image]) -> np.ndarray:
        moments = np.linspace(0, len(frames) - 1, 8).round().astype(int)
        return labelled_row([frames[i] for i in moments], [f"{name} {i}" for i in moments], scale=1.5)

    rows = [row(name, frames) for strip in strips for name, frames in strip.items()]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])

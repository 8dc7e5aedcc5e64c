"""`h2w evaluate`: how close the stream comes to the truth on held-out episodes, region by region, beside baselines that know less."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.evaluation.episodes import HeldOutEpisode, Source
    from h2w_ros.evaluation.protocol import Evaluation
    from h2w_ros.generator.checkpoint import Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, which episodes, beside whom, where results go."""
    parser.epilog = (
        "Regions come from ground-truth masks: overall, hand, object (what moves in the episode), background. Beside the model stand repeat (the "
        "first frame for ever), warp (the first frame moved over the table plane as the camera moves, the hands' render pasted on) and "
        "codec_ceiling (the truth through the codec). Frame 0 is given to everybody and does not count. Hands, things, depth and camera motion "
        "in generated pictures are judged by shipped estimators, whose errors on real pictures stand beside. Needs OpenGL, as `h2w world` does."
    )
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=900_000, help="seed of the first episode; evaluation's begin at 900000 (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=16, help="how many episodes (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=49, help="frames an episode, at the model's rate (default: %(default)s)")
    parser.add_argument("--min-head-turn", type=float, default=0.0, metavar="DEG", help="only episodes whose head turns so far (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate; 0: this one (default: %(default)s)")
    parser.add_argument("--episodes-dir", type=Path, help="evaluate on the recordings of this folder instead of simulating")
    parser.add_argument("--table-height", type=float, help="the table's height in the recordings' world [m], for those that do not tell")
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="NAME",
        help="model_grounded (shown the camera's picture every 2 s), model_without_table, model_with_static_scene (the true untouched scene), "
        "model_with_fused_scene (what depth images make of it), static_scene and fused_scene (their renders alone)",
    )
    parser.add_argument(
        "--ablate",
        nargs="+",
        default=[],
        metavar="NAME=MODEL",
        help="other models beside this one; MODEL:without_table is not told the table's height, MODEL:camera_still neither that nor how the "
        "camera moves; NAME is held against NAME_reference, where given",
    )
    parser.add_argument("--teacher", metavar="MODEL", help="a teacher (`h2w train ship --teacher`), which answers whole clips, beside the model")
    parser.add_argument("--estimators", type=Path, help="folder of the estimators (default: the shipped ones)")
    for name, what in (("lpips", "LPIPS"), ("fvd", "FVD's video"), ("dino", "DINO")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"your own {what} network as TorchScript; its number joins the table")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--strips", type=Path, help="write a PNG of truth and predictions, side by side")
    parser.add_argument("--strip-episodes", type=int, default=4, help="episodes in the pictures (default: %(default)s)")
    parser.add_argument("--report", nargs="?", type=Path, const=Path("docs/results.md"), help="write the report, with its pictures beside it")
    parser.add_argument("--beside", nargs="+", type=Path, default=[], metavar="JSON", help="report: earlier evaluations, such as longer ones")


def run(args: argparse.Namespace) -> int:
    """Streams, measures, tells."""
    from h2w_ros.evaluation.episodes import Source
    from h2w_ros.evaluation.text_table import text_table
    from h2w_ros.generator.checkpoint import load_generator
    from h2w_ros.generator.model_folder import find_model, is_distilled

    beside = [_read(path) for path in args.beside]
    generator, distilled = load_generator(args.model), is_distilled(find_model(args.model))
    source = Source(generator.config, args.frames, args.min_head_turn)
    evaluation = _evaluation(args, generator, source)
    report = evaluation.report(generator.config.name, args.seed, args.frames) | {"distilled": distilled}
    print(text_table(report))
    for reason, count in source.skipped.items():
        print(f"left out {count}: {reason}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    if args.strips:
        _write_strips(args.strips, evaluation)
    if args.report:
        from h2w_ros.evaluation.report import write_report

        write_report(args.report, report, beside, evaluation.strips)
    return 0


def _evaluation(args: argparse.Namespace, generator: Generator, source: Source) -> Evaluation:
    """All episodes, with a progress bar."""
    from tqdm import tqdm

    from h2w_ros.evaluation.contenders import ablated, codec_ceiling, contenders, parse_ablation, taught_by
    from h2w_ros.evaluation.estimators import load_estimators
    from h2w_ros.evaluation.protocol import CEILING, Evaluation
    from h2w_ros.evaluation.user_networks import load_user_networks

    ablations = [parse_ablation(text) for text in args.ablate]
    table = contenders(generator, args.seed, args.also) | ablated(ablations, generator, args.seed)
    table |= taught_by(args.teacher, generator, args.seed) if args.teacher else {}
    table[CEILING] = codec_ceiling(generator)
    evaluation = Evaluation(load_estimators(args.estimators), load_user_networks(args.lpips, args.fvd, args.dino))
    for episode in tqdm(_episodes(args, source), total=args.episodes, unit="episode", desc="evaluate", disable=None):
        evaluation.add(episode, table, keep_frames=len(evaluation.strips) < args.strip_episodes)
    return evaluation


def _episodes(args: argparse.Namespace, source: Source) -> Iterator[HeldOutEpisode]:
    from h2w_ros.evaluation.episodes import recordings_in

    if args.episodes < 1:
        raise ValueError(f"--episodes must be at least 1, got {args.episodes}")
    if args.episodes_dir is None:
        return source.simulated(args.seed, args.episodes, args.workers)
    return source.recorded(recordings_in(args.episodes_dir)[: args.episodes], args.table_height)


def _read(path: Path) -> dict:
    try:
        report: dict = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be what `h2w evaluate --json` wrote, and is no JSON: {error}") from error
    return report


def _write_strips(path: Path, evaluation: Evaluation) -> None:
    """For every kept episode, a row a contender and eight moments from first to last."""
    import cv2
    import numpy as np

    from h2w_ros.evaluation.strips import strip

    cv2.imwrite(str(path), np.concatenate([strip(kept, 8, 1.5) for kept in evaluation.strips])[..., ::-1])

"""`h2w plan`: what the generator is worth to a planner, in the simulated world, where the truth about every candidate is known."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.evaluation.planning.closed_loop import ClosedLoop
    from h2w_ros.evaluation.planning.judgement import Planner
    from h2w_ros.evaluation.planning.scenes import SceneSource
    from h2w_ros.pictures import AnySize

EPILOG = """\
A hand is to bring a thing to where a picture, the goal, shows it. Candidate motions, pushes and carries drawn at random, are predicted by the
model as one batch from one picture, and the last predicted picture of each is scored against the goal's. rank_correlation: Spearman's, of score
and true distance to the goal, over the candidates of a scene, averaged over scenes. top1_regret_m: how much farther from the goal the thing ends
by the best-scored candidate than by the best one; `random` is what a random choice expects. success: the share of scenes in which the thing ends
within 5 cm of the goal; `simulator` chooses by the truth. true_pictures is what the score makes of the simulator's own pictures: no model does better
by it but by luck. Closed-loop runs choose, act and look again; their films show imagined beside executed.
"""
SHOWN_SCENES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, how many scenes, where results go."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=50, help="how many scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=900_000, help="seed of the first scene; evaluation's begin at 900000 (default: %(default)s)")
    parser.add_argument("--candidates", type=int, default=8, help="motions to choose from (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="futures of every candidate (default: %(default)s)")
    parser.add_argument("--scorer", default="goal_remaining", help="how futures are scored; needs to know the goal (default: %(default)s)")
    parser.add_argument("--duration", type=float, default=3.0, metavar="S", help="of every motion (default: %(default)s s)")
    parser.add_argument("--closed-loop", type=int, default=0, metavar="RUNS", help="closed-loop runs, on the first scenes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="choices of a closed-loop run, at most (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for pictures of the first scenes and films of the closed-loop runs")


def run(args: argparse.Namespace) -> int:
    """Predicts, tries, compares, tells."""
    from h2w_ros.evaluation.planning.judgement import Planner
    from h2w_ros.evaluation.planning.scenes import PlanSpec, SceneSource
    from h2w_ros.generator.checkpoint import load_generator
    from h2w_ros.planning.scores import scorers

    os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe's threads spin; set before OpenGL starts
    if args.scenes < 1:
        raise ValueError(f"--scenes must be at least 1, got {args.scenes}")
    generator = load_generator(args.model)
    spec = PlanSpec(args.candidates, args.duration)
    planner = Planner.of(generator, scorers([args.scorer])[0], range(args.seeds))
    source = SceneSource(generator.config, spec)
    report: dict[str, object] = {"model": args.model, "seed": args.seed, "scenes": args.scenes, "candidates": args.candidates, "scorer": args.scorer}
    report |= open_loop(args, planner, source) | {"skipped": source.skipped}
    if args.closed_loop:
        report["closed_loop"] = closed_loops(args, planner, SceneSource(generator.config, spec))
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def open_loop(args: argparse.Namespace, planner: Planner, source: SceneSource) -> dict[str, object]:
    """One choice a scene."""
    from tqdm import tqdm

    from h2w_ros.evaluation.planning.judgement import Tally, judge

    tally = Tally()
    for scene in tqdm(source.scenes(args.seed, args.scenes), total=args.scenes, unit="scene", desc="plan", disable=None):
        judged, trials, futures = judge(planner, scene)
        tally.scenes.append(judged)
        if args.out and len(tally.scenes) <= SHOWN_SCENES:
            from h2w_ros.evaluation.planning.sheet import candidates_sheet

            _write_picture(args.out / f"candidates_{scene.seed}.png", candidates_sheet(judged, futures[0].start, scene.goal.picture, trials, futures))
    return tally.report()


def closed_loops(args: argparse.Namespace, planner: Planner, source: SceneSource) -> list[dict[str, object]]:
    """Runs that choose again after what they have done."""
    from tqdm import tqdm

    from h2w_ros.evaluation.planning.closed_loop import run_closed_loop
    from h2w_ros.evaluation.planning.scenes import SUCCESS_M

    runs: list[dict[str, object]] = []
    for scene in tqdm(source.scenes(args.seed, args.closed_loop), total=args.closed_loop, unit="run", desc="closed loop", disable=None):
        loop = run_closed_loop(planner, scene, args.rounds)
        distances_m = [round(distance_m, 4) for distance_m in loop.distances_m]
        runs.append({"seed": scene.seed, "distance_m": distances_m, "success": distances_m[-1] < SUCCESS_M})
        if args.out and loop.rounds:
            _write_film(args.out / f"closed_loop_{scene.seed}.mp4", loop, scene.stage.spec.rate_hz)
    return runs


def _write_picture(path: Path, picture: AnySize) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _write_film(path: Path, loop: ClosedLoop, rate_hz: float) -> None:
    from h2w_ros.video import write_video

    write_video(path, loop.film(), rate_hz)

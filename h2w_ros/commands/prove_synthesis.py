"""`h2w prove-synthesis --out DIR`: what synthesized episodes are worth to somebody who trains on them."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from h2w_ros.commands.bulk_options import add_bulk_arguments, labour_of, watched

EPILOG = """\
Small networks learn to find wrists in pictures: from N simulated episodes ("real"), from the first half of them ("half"), from N that the generator
made from that half ("synthesized"), and from that half together with these ("half_and_synthesized"). mean_error_px: how far the wrists that they find
in pictures of other simulated seeds are from the true ones, in pixels of 128x96. What is in DIR already is not made again.
"""
VARIATIONS = ("perturbed", "retimed", "camera", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much of everything."""
    parser.epilog = EPILOG
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for episodes")
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=64, help="N; half as many more are for scoring (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=33, help="of every episode (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="of every network's training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    add_bulk_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Simulates, synthesizes, teaches, scores, tells."""
    from tqdm import tqdm

    from h2w_ros.training.usefulness import compare, pictures_of, real_episodes

    os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe's threads spin; set before OpenGL starts
    if args.episodes < 2 or args.steps < 2 or args.seeds < 1:
        raise ValueError(f"there must be at least 2 episodes, 2 steps and 1 seed, got {args.episodes}, {args.steps} and {args.seeds}")
    taught, held_out = real_episodes(args.out / "real", args.episodes, args.frames, args.workers or 1)
    half = taught[: len(taught) // 2]
    made = synthesized(args, half)[: len(taught)]
    lessons = {"real": taught, "half": half, "synthesized": made, "half_and_synthesized": [*half, *made]}
    pictures = {name: pictures_of(paths) for name, paths in lessons.items()}
    with tqdm(total=len(lessons) * args.seeds * args.steps, unit="step", desc="teach", disable=None) as bar:
        table = compare(pictures, pictures_of(held_out), args.steps, range(args.seeds), bar.update)
    report = {"model": args.model, "steps": args.steps, "episodes": {name: len(paths) for name, paths in lessons.items()}, **table}
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def synthesized(args: argparse.Namespace, sources: list[Path]) -> list[Path]:
    """Episodes made from these: one after another of every kind of variation until there are twice as many, as far as the gate lets them."""
    from h2w_ros.bulk.run import run_jobs
    from h2w_ros.generator.model_folder import find_model
    from h2w_ros.provenance import code_version
    from h2w_ros.synthesis.source import content_hash
    from h2w_ros.synthesis.take import SynthesisConfig, jobs_of, parsed_kinds, takes_of
    from h2w_ros.synthesis.work import work_maker

    config = SynthesisConfig(args.model, content_hash(find_model(args.model)), code_version(), seeds_compared=1, mcap=False)
    takes = takes_of(sources, parsed_kinds(VARIATIONS), config)
    takes.sort(key=lambda take: VARIATIONS.index(take.kind))
    found, out = list[Path](), args.out / "synthesized"
    for first in range(0, len(takes), len(sources)):
        jobs = jobs_of(takes[first : first + len(sources)], config)
        outcomes = watched(run_jobs(work_maker(config), jobs, out, labour_of(args)), len(jobs), "episode", takes[first].kind)
        found += [out / outcome.name for outcome in outcomes if outcome.status in ("done", "there already")]
        if len(found) >= 2 * len(sources):
            break
    return found

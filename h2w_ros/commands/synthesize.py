"""`h2w synthesize RECORDING... --out DATASET`: recordings, varied and predicted, as a LeRobotDataset and as bags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from h2w_ros.commands.bulk_options import add_bulk_arguments, counted, labour_of, watched
from h2w_ros.commands.recording_options import add_bag_arguments, bag_options

if TYPE_CHECKING:
    from h2w_ros.bulk.job import Job
    from h2w_ros.synthesis.take import SynthesisConfig

EPILOG = """\
Variations: seed (the generator's alone), retimed, perturbed (hands stray smoothly), mirrored (the scene, flipped), swapped (the hands of every other
recording that starts alike), camera (its path strays smoothly). Every episode is measured: whether hands are where they were asked for, how far
colours drift, how far two seeds differ; what is not worth keeping is told with its reason and stands in episodes/jobs.jsonl. DATASET is a
LeRobotDataset v3; its bags lie in mcap/. The same command again goes on where it was stopped; other recordings are added.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `h2w synthesize`."""
    parser.epilog = EPILOG
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="bags, episodes, LeRobotDatasets, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder of the dataset; what is done stays")
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument(
        "--vary", nargs="+", default=["seed"], metavar="KIND[=COUNT]", help="seed, retimed, perturbed, mirrored, swapped, camera (default: seed)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="of every episode, at most (default: as many as the recording has)")
    parser.add_argument("--no-mcap", action="store_true", help="write no bags")
    _add_gate_arguments(parser)
    add_bulk_arguments(parser)
    add_bag_arguments(parser)


def _add_gate_arguments(parser: argparse.ArgumentParser) -> None:
    from h2w_ros.synthesis.gate import GateConfig

    gate, limits = parser.add_argument_group("what is kept"), GateConfig()
    gate.add_argument(
        "--min-hand-agreement", type=float, default=limits.min_hand_agreement, metavar="SHARE", help="0.5 is chance (default: %(default)s)"
    )
    gate.add_argument("--max-drift", type=float, default=limits.max_drift, metavar="LEVELS", help="of colours and contrast (default: %(default)s)")
    gate.add_argument("--max-spread", type=float, default=limits.max_spread, metavar="LEVELS", help="between two seeds (default: %(default)s)")
    gate.add_argument("--keep-unjudged", action="store_true", help="keep episodes of recordings whose own hands are never seen")
    gate.add_argument("--seeds-compared", type=int, default=2, metavar="N", help="1 is faster and tells no spread (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Makes what is missing, puts the dataset together, and tells; 1 when a job failed, 2 when the disk is full."""
    from h2w_ros.bulk.run import run_jobs
    from h2w_ros.synthesis.dataset import EPISODES, SHEET, put_together
    from h2w_ros.synthesis.work import work_maker

    config = _config(args)
    jobs = _jobs(args, config)
    outcomes = watched(run_jobs(work_maker(config), jobs, args.out / EPISODES, labour_of(args)), len(jobs), "episode", "synthesize")
    total = put_together(args.out)
    print(f"{args.out}: {counted(outcomes)}; {total} episodes in all; look at {args.out / SHEET}" if total else f"{args.out}: {counted(outcomes)}")
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _config(args: argparse.Namespace) -> SynthesisConfig:
    from h2w_ros.generator.model_folder import find_model
    from h2w_ros.provenance import code_version
    from h2w_ros.synthesis.gate import GateConfig
    from h2w_ros.synthesis.source import content_hash
    from h2w_ros.synthesis.take import SynthesisConfig

    gate = GateConfig(args.min_hand_agreement, args.max_drift, args.max_spread, args.keep_unjudged)
    model_hash = content_hash(find_model(args.model))
    return SynthesisConfig(args.model, model_hash, code_version(), gate, args.seeds_compared, args.frames, not args.no_mcap, bag_options(args))


def _jobs(args: argparse.Namespace, config: SynthesisConfig) -> list[Job]:
    """Every recording is opened before the first job runs: what is missing in one is said at once."""
    from h2w_ros.episodes.recording import open_recording
    from h2w_ros.synthesis.source import sources_at
    from h2w_ros.synthesis.take import jobs_of, parsed_kinds, takes_of

    kinds = parsed_kinds(args.vary)
    sources = list(dict.fromkeys(found for path in args.recordings for found in sources_at(path)))
    for source in sources:
        open_recording(source, config.bag)
    takes = takes_of(sources, kinds, config)
    if not takes:
        raise ValueError("nothing to do: no two of these recordings start alike, so that hands could be swapped")
    return jobs_of(takes, config)

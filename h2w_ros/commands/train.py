"""`h2w train STAGE`: recipe for all in one, or simulate, codec, encode, refiner, causal, stream, ship; apart from these, recorded and estimators."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.training.run import Budget

STAGES = {
    "recipe": "simulate, codec, encode, refiner, stream and ship, all within --minutes",
    "simulate": "fill the data folder with simulated episodes (needs GL, see README)",
    "recorded": "by itself: add clips of recorded episodes (h2w import-episodes, h2w annotate), mixed with the world's by --weight",
    "codec": "train the codec's enlarging decoder on them",
    "encode": "write every episode's latents with the trained codec",
    "refiner": "train the generator's refiner alone, in the stream",
    "teacher": "train the bidirectional teacher on whole clips of the latents",
    "causal": "train the causal generator on clips of the latents",
    "stream": "train it on in its own stream",
    "distill": "to the rollout's few steps, by --phase: consistency, then matching (DMD) on its own streams",
    "ship": "write the averaged weights as a model folder",
    "estimators": "by itself: simulate ground truth and train the networks that `h2w evaluate` measures with",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Stage, folder and budget."""
    parser.epilog = "stages, in order: " + "; ".join(f"{name}: {text}" for name, text in STAGES.items()) + ". Each goes on where it stopped."
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("name", nargs="?", help="recipe: its name, as --recipe")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/tiny, runs/estimators)")
    parser.add_argument("--recipe", default="tiny", help="named training configuration: tiny, debug (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="recipe and trained stages: time budget of this session (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="trained stages: end at this step of the whole run, if that comes first")
    parser.add_argument("--episodes", type=int, default=1000, help="simulate, estimators: how many (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="simulate, estimators: processes (default: %(default)s)")
    parser.add_argument("--from", type=Path, dest="source", metavar="DIR", help="recorded: folder of episodes; its name is the source's name")
    parser.add_argument("--weight", type=float, default=1.0, help="recorded: how many of its clips for each of the world's (default: %(default)g)")
    parser.add_argument(
        "--start-from",
        type=Path,
        help="trained networks: safetensors weights to start a new run from (default: those of the stage before)",
    )
    parser.add_argument("--phase", choices=("consistency", "matching", "both"), default="both", help="distill: which (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="trained stages: where to train, cpu or cuda (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="PyTorch threads (default: $OMP_NUM_THREADS, else 1)")
    parser.add_argument("--out", type=Path, help="ship, estimators: where the weights go (default: models/tiny, models/estimators)")


def run(args: argparse.Namespace) -> int:
    """Runs one stage."""
    import torch

    from h2w_ros.training.run import Budget
    from h2w_ros.training.stages import Stages
    from h2w_ros.training.whole import train_all

    if args.threads:
        torch.set_num_threads(args.threads)
    budget = Budget(args.minutes, args.steps)
    if args.stage == "estimators":
        return _estimators(args, budget)
    if args.stage == "recorded":
        return _recorded(args)
    stages = Stages(args.run or Path("runs/tiny"), args.name or args.recipe, args.seed, args.device)
    out = args.out or Path("models/tiny")
    {
        "recipe": lambda: train_all(stages, args.minutes, args.workers, out),
        "simulate": lambda: stages.simulate(args.episodes, args.workers),
        "codec": lambda: stages.codec(budget),
        "encode": stages.encode,
        "refiner": lambda: stages.refiner(budget, args.start_from),
        "teacher": lambda: stages.teacher(budget, args.start_from),
        "causal": lambda: stages.causal(budget, args.start_from),
        "stream": lambda: stages.stream(budget, args.start_from),
        "distill": lambda: stages.distill(budget, args.phase, args.start_from),
        "ship": lambda: stages.ship(out),
    }[args.stage]()
    return 0


def _recorded(args: argparse.Namespace) -> int:
    from h2w_ros.generator.presets import preset
    from h2w_ros.training.config import RECIPES
    from h2w_ros.training.recorded import add_recorded

    if args.source is None:
        raise ValueError("the stage recorded needs --from DIR, a folder of episodes")
    added = add_recorded(args.run or Path("runs/tiny"), preset(RECIPES[args.name or args.recipe].preset), args.source, args.weight)
    print(f"{added.num_clips} clips added; left out {dict(added.left_out) or 'nothing'}. Run `h2w train encode` next")
    return 0


def _estimators(args: argparse.Namespace, budget: Budget) -> int:
    from h2w_ros.training.estimators import train_estimators

    folder, out = args.run or Path("runs/estimators"), args.out or Path("models/estimators")
    print(train_estimators(folder, args.episodes, args.workers, budget, out, args.seed, args.device))
    return 0

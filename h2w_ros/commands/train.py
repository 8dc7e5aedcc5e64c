"""`h2w train STAGE`: recipe for all in one, or stage by stage; apart from these, recorded, things, choices and estimators."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.training.run import Budget

STAGES = {
    "recipe": "all the stages of --recipe, from simulate to ship, within --minutes; stopped and started again, it goes on with what is left of them",
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
    "things": "by itself: simulate ground truth and train the networks that lift a picture's things and move them as hands do",
    "choices": "by itself: what tiny is made of, settled by runs of --minutes each on the latents of --run, which `encode` has filled",
    "estimators": "by itself: simulate ground truth and train the networks that `h2w evaluate` measures with",
}

SHARED_STAGES = ("codec", "refiner", "teacher", "causal", "stream", "distill")
"""What `accelerate launch -m h2w_ros.cli train STAGE` may run in several processes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Stage, folder and budget."""
    parser.epilog = "stages, in order: " + "; ".join(f"{name}: {text}" for name, text in STAGES.items()) + ". Each goes on where it stopped."
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("name", nargs="?", help="recipe: its name, as --recipe")
    parser.add_argument(
        "--run", type=Path, help="folder of the run (default: runs/RECIPE or runs/RECIPE-ABLATION, runs/estimators, runs/things; choices: runs/tiny)"
    )
    parser.add_argument("--recipe", default="tiny", help="named training configuration: tiny, tiny-gpu, debug (default: %(default)s)")
    parser.add_argument(
        "--ablate",
        metavar="NAME",
        help="train an arm of an ablation: no_rays, cut_masks, each also as NAME_reference to hold it against; static_scene",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="recipe and trained stages: time budget of this session (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="trained stages: end at this step of the whole run, if that comes first")
    parser.add_argument("--episodes", type=int, default=1000, help="simulate, things, estimators: how many (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="simulate, encode: processes (default: %(default)s)")
    parser.add_argument("--from", type=Path, dest="source", metavar="DIR", help="recorded: folder of episodes; its name is the source's name")
    parser.add_argument("--weight", type=float, default=1.0, help="recorded: how many of its clips for each of the world's (default: %(default)g)")
    parser.add_argument(
        "--start-from",
        type=Path,
        help="trained networks: weights to start a new run from, a file or a model folder (default: those of the stage before)",
    )
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="choices: these (default: all, which takes hours)")
    parser.add_argument("--phase", choices=("consistency", "matching", "both"), default="both", help="distill: which (default: %(default)s)")
    parser.add_argument("--teacher", action="store_true", help="ship: the teacher instead, for `h2w evaluate --teacher`")
    parser.add_argument("--device", default="cpu", help="trained stages: where to train, cpu or cuda (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="PyTorch threads (default: $OMP_NUM_THREADS, else 1)")
    parser.add_argument("--out", type=Path, help="ship, things, estimators: where the weights go (default: models/ and the name of the run)")


def run(args: argparse.Namespace) -> int:
    """Runs one stage."""
    import torch

    from h2w_ros.training.processes import check_device, launched
    from h2w_ros.training.run import Budget
    from h2w_ros.training.stages import Stages
    from h2w_ros.training.whole import train_all

    if args.threads:
        torch.set_num_threads(args.threads)
    budget = Budget(args.minutes, args.steps)
    if args.teacher and args.stage != "ship":
        raise ValueError(f"--teacher is for the stage ship, got {args.stage}; leave it out here")
    check_device(args.device)
    recipe, processes = args.name or args.recipe, launched(args.device)
    if processes.count > 1 and args.stage not in SHARED_STAGES:
        raise ValueError(f"several processes share the stages {', '.join(SHARED_STAGES)}; run {args.stage} in one")
    if args.only and args.stage != "choices":
        raise ValueError(f"--only is for the stage choices, got {args.stage}; leave it out here")
    if args.stage == "estimators":
        return _estimators(args, budget)
    if args.stage == "things":
        return _things(args, budget)
    if args.stage == "recorded":
        return _recorded(args)
    if args.stage == "choices":
        return _choices(args, budget)
    name = recipe if args.ablate is None else f"{recipe}-{args.ablate}"
    stages = Stages(args.run or Path("runs") / name, recipe, args.seed, args.device, processes, args.ablate)
    out = args.out or Path("models") / (name + ("-teacher" if args.teacher else ""))
    {
        "recipe": lambda: train_all(stages, args.minutes, args.workers, out),
        "simulate": lambda: stages.simulate(args.episodes, args.workers),
        "codec": lambda: stages.codec(budget),
        "encode": lambda: stages.encode(args.workers),
        "refiner": lambda: stages.refiner(budget, args.start_from),
        "teacher": lambda: stages.teacher(budget, args.start_from),
        "causal": lambda: stages.causal(budget, args.start_from),
        "stream": lambda: stages.stream(budget, args.start_from),
        "distill": lambda: stages.distill(budget, args.phase, args.start_from),
        "ship": lambda: stages.ship_teacher(out) if args.teacher else stages.ship(out),
    }[args.stage]()
    return 0


def _recorded(args: argparse.Namespace) -> int:
    from h2w_ros.generator.presets import preset
    from h2w_ros.training.config import RECIPES
    from h2w_ros.training.recorded import add_recorded

    if args.source is None:
        raise ValueError("the stage recorded needs --from DIR, a folder of episodes")
    recipe = args.name or args.recipe
    added = add_recorded(args.run or Path("runs") / recipe, preset(RECIPES[recipe].preset), args.source, args.weight)
    print(f"{added.num_clips} clips added; left out {dict(added.left_out) or 'nothing'}. Run `h2w train encode` next")
    return 0


def _estimators(args: argparse.Namespace, budget: Budget) -> int:
    from h2w_ros.training.estimators import train_estimators

    folder, out = args.run or Path("runs/estimators"), args.out or Path("models/estimators")
    print(train_estimators(folder, args.episodes, args.workers, budget, out, args.seed, args.device))
    return 0


def _choices(args: argparse.Namespace, budget: Budget) -> int:
    from h2w_ros.training.choices import try_choices

    for question, answers in try_choices(args.run or Path("runs") / "tiny", args.only, budget, args.seed, args.device).items():
        print(question)
        for name, shown in answers.items():
            print(f"  {name:16s} {shown['psnr_db']:6.2f} dB after {shown['steps']} steps, {shown['minutes']:g} minutes: {shown['text']}")
    return 0


def _things(args: argparse.Namespace, budget: Budget) -> int:
    from h2w_ros.training.things import train_things

    folder, out = args.run or Path("runs/things"), args.out or Path("models/things")
    for path in train_things(folder, args.episodes, args.workers, budget, out, args.seed):
        print(path)
    return 0

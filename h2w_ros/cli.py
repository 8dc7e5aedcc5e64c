"""`h2w <verb>`: every job of the package from one command line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

from h2w_ros.hardware import share_cores

VERBS = {
    "annotate": "hands and cameras of ordinary video, as episodes",
    "bag": "write an episode or a Hand2World example as a ROS 2 bag",
    "bench": "measure speed and memory, stage by stage",
    "demo": "replay the shipped recording through the real nodes and show what they predict",
    "evaluate": "measure a model on held-out simulated episodes, region by region",
    "generate": "predict a video from an episode, a bag or a Hand2World example (no ROS)",
    "import-episodes": "public datasets and bags as our episodes",
    "parity": "compare our network with the released one's numbers",
    "preview": "a page in the browser: reach into a photo, watch a live session",
    "plan": "measure what a model is worth to a planner, in the simulated world",
    "prove-synthesis": "measure what synthesized episodes are worth to somebody who trains on them",
    "repair": "recover a bag whose recorder was killed",
    "replay": "play an episode, a bag or an example into ROS topics",
    "run": "conditioner and generator in one process",
    "soak": "run the whole graph under injected faults and check what must hold",
    "synthesize": "recordings, varied and predicted, as a LeRobotDataset and as bags",
    "train": "train a model, in one go or stage by stage",
    "world": "sample the simulated world",
}

VERBOSE_HELP = "debug log and full tracebacks"

OUTPUTS = ("out", "json", "side_by_side", "strips")
"""Options that name where results go."""

# Wrong arguments, missing or unreadable files, optional packages that are not installed, numbers that ran away.
MENDABLE = (ValueError, OSError, ImportError, FloatingPointError)


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; exit code 2 for mistakes that the user can mend, said in one line."""
    share_cores()
    arguments = sys.argv[1:] if argv is None else argv
    verb = next((word for word in arguments if not word.startswith("-")), None)
    args = _parser(verb).parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        check_outputs(args)
        return int(command_module(args.verb).run(args))
    except MENDABLE as error:
        if args.verbose:
            raise
        print(f"h2w {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nh2w {args.verb}: stopped", file=sys.stderr)
        return 130


def command_module(verb: str) -> ModuleType:
    """The module that does a verb's work."""
    return importlib.import_module(f"h2w_ros.commands.{verb.replace('-', '_')}")


def check_outputs(args: argparse.Namespace) -> None:
    """Says before any work is done that a result could not be written; OSError names the option."""
    for name in OUTPUTS:
        path = getattr(args, name, None)
        if not isinstance(path, Path):
            continue
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            option = name.replace("_", "-")
            raise OSError(f"--{option} {path} can't be written: {folder} is {'read-only for you' if folder.is_dir() else 'no folder'}")


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole command line; only the chosen verb's module is imported."""
    parser = argparse.ArgumentParser(prog="h2w", description="What will happen if these hands do this?")
    parser.add_argument("--verbose", action="store_true", help=VERBOSE_HELP)
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, help_text in VERBS.items():
        subparser = subparsers.add_parser(verb, help=help_text, description=help_text)
        subparser.add_argument("--verbose", action="store_true", default=argparse.SUPPRESS, help=VERBOSE_HELP)
        if verb == chosen:
            command_module(verb).add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

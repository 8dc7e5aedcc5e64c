"""`h2w <verb>`: every job of the package from one command line."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from h2w_ros.hardware import share_cores

VERBS = {
    "bag": "write an episode or a Hand2World example as a ROS 2 bag",
    "bench": "measure speed and memory, stage by stage",
    "demo": "replay the shipped recording through the real nodes and show what they predict",
    "evaluate": "measure a model on held-out simulated episodes, region by region",
    "generate": "predict a video from an episode, a bag or a Hand2World example (no ROS)",
    "parity": "compare our network with the released one's numbers",
    "plan": "measure what a model is worth to a planner, in the simulated world",
    "repair": "give a bag whose recorder was killed its end back",
    "replay": "play an episode, a bag or an example into ROS topics",
    "run": "conditioner and generator in one process",
    "soak": "run the whole graph under injected faults and check what must hold",
    "train": "train the codec and the generator",
    "world": "sample the simulated world",
}

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
        return int(importlib.import_module(f"h2w_ros.commands.{args.verb}").run(args))
    except MENDABLE as error:
        if args.verbose:
            raise
        print(f"h2w {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nh2w {args.verb}: stopped", file=sys.stderr)
        return 130


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole command line; only the chosen verb's module is imported."""
    parser = argparse.ArgumentParser(prog="h2w", description="What will happen if these hands do this?")
    parser.add_argument("--verbose", action="store_true", help="debug log and full tracebacks")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, help_text in VERBS.items():
        subparser = subparsers.add_parser(verb, help=help_text, description=help_text)
        if verb == chosen:
            importlib.import_module(f"h2w_ros.commands.{verb}").add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

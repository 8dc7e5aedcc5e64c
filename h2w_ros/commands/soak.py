"""`h2w soak`: the full graph as real processes under injected faults, and whether what must hold held."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

EPILOG = """\
A robot lives in this process; tracker_bridge, conditioner, generator and recorder run as processes of their own. One fault follows the other,
in an order that the seed gives: messages lost, shuffled, four times as many, nonsense in them, a clock that jumps; in the first half also nodes
killed with -9 and a full disk. OUT gets report.md, report.json, logs, and the bags in which something is missing (others are removed once they
were checked; until then a minute of recording takes 40 MB). Exit code 1 when a rule did not hold.
"""
LEFTOVERS = ("report.md", "report.json", "logs", "bags", "failures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long, what with, which faults."""
    parser.epilog = EPILOG
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults are injected (default: %(default)s)")
    parser.add_argument("--model", default="tiny", help="a shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (default: %(default)s)")
    parser.add_argument("--faults", nargs="+", metavar="FAULT", help="only these; a wrong name lists them all")
    parser.add_argument("--domain", type=int, help="ROS domain; one of its own by default")
    parser.add_argument("--max-latency", type=float, metavar="S", help="the latest answer after its moment; more for a machine that is busy [s]")
    parser.add_argument("--max-recovery", type=float, metavar="S", help="the longest way back after a fault; more for a machine that is busy [s]")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="where report, logs and bags go (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Soaks, writes the report, prints it."""
    from h2w_ros.nodes.soak.plan import FAULTS, SoakConfig
    from h2w_ros.nodes.soak.report import markdown
    from h2w_ros.nodes.soak.run import soak

    limits = {f"{name}_s": value for name in ("max_latency", "max_recovery") if (value := getattr(args, name)) is not None}
    config = SoakConfig(args.out, args.minutes, args.model, args.seed, args.domain, tuple(args.faults or FAULTS), **limits)
    _clear(args.out)
    report = soak(config, print)
    report.write(args.out)
    print(markdown(report))
    return 0 if report.holds else 1


def _clear(out: Path) -> None:
    """Removes what an earlier run left; other files stay."""
    out.mkdir(parents=True, exist_ok=True)
    for path in (out / name for name in LEFTOVERS):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

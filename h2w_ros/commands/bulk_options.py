"""Arguments, progress bar and closing words of all verbs that do many jobs."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.bulk.job import Outcome
    from h2w_ros.bulk.run import Labour


def add_bulk_arguments(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    group = parser.add_argument_group("many jobs")
    group.add_argument("--workers", type=int, metavar="N", help="worker processes, or cores of the Ray cluster (default: this process; all of Ray's)")
    group.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="do the jobs on Ray: on the cluster at this address, or one started here"
    )


def labour_of(args: argparse.Namespace) -> Labour:
    """Who does the work, as the arguments say."""
    from h2w_ros.bulk.run import Labour

    return Labour(args.workers, args.ray)


def watched(outcomes: Iterable[Outcome], total: int, unit: str, description: str) -> list[Outcome]:
    """All outcomes, behind a progress bar; what was not done is told as it comes, and on Ctrl-C how to go on."""
    from tqdm import tqdm

    seen: list[Outcome] = []
    try:
        for outcome in (bar := tqdm(outcomes, total=total, unit=unit, desc=description, disable=None)):
            seen.append(outcome)
            if outcome.reason:
                bar.write(f"{outcome.name} {outcome.status}: {outcome.reason}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\nstopped after {len(seen)} of {total}: {counted(seen)}; the same command goes on from there", file=sys.stderr)
        raise
    return seen


def counted(outcomes: Iterable[Outcome]) -> str:
    """How many of each kind, in words."""
    counts = Counter(outcome.status for outcome in outcomes)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to do"

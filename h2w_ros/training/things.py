"""Trains both networks of `h2w_ros.things`: the one that lifts what stands on a table, and the one that moves it as hands do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from h2w_ros.training.handling import train_handling
from h2w_ros.training.lifting import train_lifting
from h2w_ros.training.run import Budget
from h2w_ros.training.things_data import MOST_EPISODES, simulate_handled, simulate_things

LIFTING_SHARE = 0.7
"""Of the minutes; to see takes longer to learn than to handle."""
HANDLED_TIMES = 5
"""So many episodes of hands for each with pictures: they cost a tenth."""


def train_things(folder: Path, episodes: int, workers: int, budget: Budget, out: Path, seed: int = 0) -> Iterator[Path]:
    """Simulates what is missing of `folder/truth` and `folder/handling/handled`, goes on with both runs in `folder`, and ships their averaged
    weights; the files' paths. ValueError, before any work, for more episodes than there are seeds."""
    if HANDLED_TIMES * episodes > MOST_EPISODES:
        raise ValueError(f"episodes must be in 1..{MOST_EPISODES // HANDLED_TIMES} (hands take {HANDLED_TIMES} seeds for each), got {episodes}")
    files = simulate_things(folder / "truth", episodes, workers)
    yield train_lifting(folder / "lifting", files, replace(budget, minutes=LIFTING_SHARE * budget.minutes), out, seed)
    simulate_handled(folder / "handling" / "handled", HANDLED_TIMES * episodes, workers)
    yield train_handling(folder / "handling", replace(budget, minutes=(1.0 - LIFTING_SHARE) * budget.minutes), out, seed)

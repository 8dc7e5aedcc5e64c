"""Trains both networks of `h2w_ros.things`: the one that lifts what stands on a table, and the one that moves it as hands do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from h2w_ros.training.handling import train_handling
from h2w_ros.training.lifting import train_lifting
from h2w_ros.training.run import Budget
from h2w_ros.training.things_data import handled_episode, simulate_things

LIFTING_SHARE = 0.7
"""Of the minutes; to see takes longer to learn than to handle."""


def train_things(folder: Path, episodes: int, workers: int, budget: Budget, out: Path, seed: int = 0) -> Iterator[Path]:
    """Simulates what is missing of `folder/truth`, goes on with both runs in `folder`, and ships their averaged weights; the files' paths."""
    files = simulate_things(folder / "truth", episodes, workers)
    yield train_lifting(folder / "lifting", files, replace(budget, minutes=LIFTING_SHARE * budget.minutes), out, seed)
    handled = folder / "handling" / "handled"
    handled.mkdir(parents=True, exist_ok=True)
    for path in files:
        if not (handled / path.name).exists():
            handled_episode(path, np.random.default_rng(int(path.stem))).save(handled / path.name)
    yield train_handling(folder / "handling", replace(budget, minutes=(1.0 - LIFTING_SHARE) * budget.minutes), out, seed)

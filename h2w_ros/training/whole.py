"""All stages of a recipe in one time budget: from nothing to a model folder."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from h2w_ros.training.run import Budget
from h2w_ros.training.stages import Stages

logger = logging.getLogger(__name__)

MOST_EPISODES = 20_000
SIMULATE, CODEC = 0.25, 0.08
"""Shares of the budget. What encoding leaves of the rest belongs to the network."""
REFINER = 0.55
"""The refiner's share of the network's time; the stream stage has the other."""
LEAST_SHARE = 0.05
"""What a stage gets at least, of the whole budget, when those before it took too long."""


def train_all(stages: Stages, minutes: float, workers: int, out: Path) -> None:
    """Simulates, trains and ships, within about so many minutes; a run that was stopped goes on, with this budget anew."""
    ends_s = time.monotonic() + 60.0 * minutes
    stages.simulate(MOST_EPISODES, workers, SIMULATE * minutes)
    stages.codec(Budget(CODEC * minutes))
    stages.encode()
    left_min = (ends_s - time.monotonic()) / 60.0
    logger.info("%.1f of %.1f minutes are left for the network", left_min, minutes)
    stages.refiner(Budget(max(LEAST_SHARE * minutes, REFINER * left_min)))
    stages.stream(Budget(max(LEAST_SHARE * minutes, (ends_s - time.monotonic()) / 60.0)))
    stages.ship(out)

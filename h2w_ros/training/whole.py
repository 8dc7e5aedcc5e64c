"""All stages of a recipe in one time budget: from nothing to a model folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from h2w_ros.training.run import Budget, RunFolder, write_json
from h2w_ros.training.stages import Stages

logger = logging.getLogger(__name__)

LEAST_SHARE = 0.03
"""What a trained stage gets at least, of the whole budget, when those before it took too long."""
LEAST_MINUTES = 1e-3
"""Of a stage that has had its time already, so much is not worth beginning again."""


class Spent:
    """How long a recipe's stages have worked so far, over all its sessions [min]: `whole.json`, and what trained stages say themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "whole.json"

    def minutes(self, stage: str) -> float:
        """Of one stage."""
        noted = json.loads(self._file.read_text()) if self._file.exists() else {}
        trained = self._folder / stage / "progress.json"
        return RunFolder(trained.parent).progress().seconds / 60.0 if trained.exists() else float(noted.get(stage, 0.0))

    @contextmanager
    def counted(self, stage: str) -> Iterator[None]:
        """Notes the time that passes, for a stage that does not say so itself; also when it is interrupted."""
        began_s, earlier_min = time.monotonic(), self.minutes(stage)
        try:
            yield
        finally:
            noted = json.loads(self._file.read_text()) if self._file.exists() else {}
            write_json(self._file, {**noted, stage: earlier_min + (time.monotonic() - began_s) / 60.0})


def train_all(stages: Stages, minutes: float, workers: int, out: Path) -> None:
    """Simulates, trains and ships, within about so many minutes; a run that was stopped goes on with what is left of them.

    Started again with more minutes, every stage goes on for its share of those.
    """
    plan, spent = stages.recipe.plan, Spent(stages.folder)
    stages.folder.mkdir(parents=True, exist_ok=True)
    if (left_min := plan.simulate * minutes - spent.minutes("simulate")) > LEAST_MINUTES:
        with spent.counted("simulate"):
            stages.simulate(plan.most_episodes, workers, left_min)
    _go_on(stages, "codec", plan.codec * minutes - spent.minutes("codec"))
    with spent.counted("encode"):
        stages.encode(workers, plan.pixels_kept)
    for_networks = minutes - sum(spent.minutes(stage) for stage in ("simulate", "codec", "encode"))
    logger.info("%.1f of %.1f minutes are for the network", for_networks, minutes)
    for stage, share in plan.networks:
        _go_on(stages, stage, max(LEAST_SHARE * minutes, share * for_networks) - spent.minutes(stage))
    stages.ship(out)


def _go_on(stages: Stages, stage: str, minutes: float) -> None:
    if minutes > LEAST_MINUTES:
        getattr(stages, stage)(Budget(minutes))

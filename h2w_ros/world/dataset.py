"""Many episodes at once, for those who train: one process a core, each with its own GL context."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from h2w_ros.world.simulate import WorldEpisode, simulate
from h2w_ros.world.spec import WorldSpec

EPISODES_AHEAD_PER_WORKER = 2
"""Finished or running episodes that may wait for the reader; bounds memory."""

_log = logging.getLogger(__name__)


def simulate_many(
    seeds: Iterable[int], spec: WorldSpec | None = None, workers: int = 1, failed: dict[int, str] | None = None
) -> Iterator[tuple[int, WorldEpisode]]:
    """(seed, episode) in the order of the seeds, made by this many spawned processes (0: in this process).

    A seed that fails is left out and logged with its reason, which `failed`, when given, collects. OSError (no OpenGL)
    is no matter of the seed and is raised.
    """
    spec = spec or WorldSpec()
    failed = {} if failed is None else failed
    for seed, result in _results(seeds, spec, workers):
        if isinstance(result, WorldEpisode):
            yield seed, result
        else:
            failed[seed] = result
            _log.warning("seed %d gives no episode and is left out (%d so far): %s", seed, len(failed), result)


def _results(seeds: Iterable[int], spec: WorldSpec, workers: int) -> Iterator[tuple[int, WorldEpisode | str]]:
    if workers == 0:
        yield from ((seed, _attempt(seed, spec)) for seed in seeds)
        return
    remaining = iter(seeds)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_one_thread_each) as pool:
        pending: deque[tuple[int, Future[WorldEpisode | str]]] = deque()
        while True:
            free = workers * EPISODES_AHEAD_PER_WORKER - len(pending)
            pending.extend((seed, pool.submit(_attempt, seed, spec)) for seed in islice(remaining, free))
            if not pending:
                return
            seed, future = pending.popleft()
            yield seed, future.result()


def _attempt(seed: int, spec: WorldSpec) -> WorldEpisode | str:
    """The episode, or why there is none."""
    try:
        return simulate(seed, spec)
    except (RuntimeError, ArithmeticError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _one_thread_each() -> None:
    """Keeps the software rasteriser of each process on its own core; must come before the GL context."""
    os.environ["LP_NUM_THREADS"] = "0"

"""Many episodes at once, for those who train: one process a core, each with its own GL context."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from h2w_ros.world.simulate import WorldEpisode, simulate
from h2w_ros.world.spec import WorldSpec

Made = TypeVar("Made")

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
    yield from make_many(seeds, partial(simulate, spec=spec), workers, failed)


def make_many(
    seeds: Iterable[int], make: Callable[[int], Made], workers: int = 1, failed: dict[int, str] | None = None
) -> Iterator[tuple[int, Made]]:
    """What `make` makes of these seeds, as `simulate_many` has it; `make` and what it makes go from process to process."""
    failed = {} if failed is None else failed
    for seed, (result, reason) in _results(seeds, make, workers):
        if result is not None:
            yield seed, result
        else:
            failed[seed] = reason
            _log.warning("seed %d gives no episode and is left out (%d so far): %s", seed, len(failed), reason)


def _results(seeds: Iterable[int], make: Callable[[int], Made], workers: int) -> Iterator[tuple[int, tuple[Made | None, str]]]:
    if workers == 0:
        yield from ((seed, _attempt(seed, make)) for seed in seeds)
        return
    remaining = iter(seeds)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_one_thread_each) as pool:
        pending: deque[tuple[int, Future[tuple[Made | None, str]]]] = deque()
        while True:
            free = workers * EPISODES_AHEAD_PER_WORKER - len(pending)
            pending.extend((seed, pool.submit(_attempt, seed, make)) for seed in islice(remaining, free))
            if not pending:
                return
            seed, future = pending.popleft()
            yield seed, future.result()


def _attempt(seed: int, make: Callable[[int], Made]) -> tuple[Made | None, str]:
    """What is made, or why it is not."""
    try:
        return make(seed), ""
    except (RuntimeError, ArithmeticError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"


def _one_thread_each() -> None:
    """Keeps the software rasteriser of each process on its own core; must come before the GL context."""
    os.environ["LP_NUM_THREADS"] = "0"

"""A second thread for what does not need the first one's result: a CPU's other core is idle while one works alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")


class SideThread:
    """One thread, made by the first who needs it, with that one's priority; where it would not help, work is done at once."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    @contextmanager
    def doing(self, work: Callable[[], Result], is_worth_it: bool) -> Iterator[Callable[[], Result]]:
        """Does this work meanwhile; what comes gives its result. It is over when the context ends, however that ends.

        Only in plain inference mode, since gradients and autocasting belong to the thread that asks for them; and only where there are
        cores for the threads of both.
        """
        is_plain = torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
        if not is_worth_it or not is_plain or available_cores() < 2 * torch.get_num_threads():
            result = work()
            yield lambda: result
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "network")
        future = self._thread.submit(torch.inference_mode()(work))
        try:
            yield future.result
        finally:
            wait([future])


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

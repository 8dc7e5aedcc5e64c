"""Hands jobs to workers, one at a time each. A worker that dies loses the job it had, and another takes its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from h2w_ros.bulk.execute import discard
from h2w_ros.bulk.job import Job, Outcome


class WorkerLostError(Exception):
    """A worker died; the words say how."""


@runtime_checkable
class Worker(Protocol):
    """Does jobs one after another, somewhere else."""

    def submit(self, job: Job) -> None:
        """Begins a job and returns at once."""

    def outcome(self) -> Outcome:
        """What became of the job, waiting for it if need be; WorkerLostError when the worker died."""

    def dismiss(self) -> None:
        """Ends the worker, whatever it does."""


Hire = Callable[[], Worker]
FirstReady = Callable[[Sequence[Worker]], Worker]
"""Of these workers the first one whose outcome can be had, waiting for it."""


def share_out(jobs: Iterable[Job], hire: Hire, first_ready: FirstReady, num_workers: int, out: Path) -> Iterator[Outcome]:
    """Outcomes in the order in which jobs end. Leaving the iteration ends all workers."""
    waiting, idle, busy = deque(jobs), list[Worker](), list[tuple[Worker, Job]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < num_workers:
                worker = idle.pop() if idle else hire()
                busy.append((worker, waiting.popleft()))
                worker.submit(busy[-1][1])
            ready = first_ready([worker for worker, _ in busy])
            job = next(job for worker, job in busy if worker is ready)
            busy.remove((ready, job))
            try:
                outcome = ready.outcome()
                idle.append(ready)
            except WorkerLostError as loss:
                ready.dismiss()
                outcome = Outcome(job.name, "failed", job.key, str(loss))
                discard(job.name, out)
            yield outcome
    finally:
        for worker in [*idle, *(worker for worker, _ in busy)]:
            worker.dismiss()
        for _, job in busy:
            discard(job.name, out)

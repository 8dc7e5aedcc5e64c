"""The bulk runner: a list of jobs becomes results in a folder, in this process, on several, or on a cluster, with the same results.

Every result appears whole under its name, or not at all; what became of each job stands in the folder's ledger. A second run does what is
missing: jobs that are done or were rejected are left alone, failures are tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from h2w_ros.bulk.execute import execute
from h2w_ros.bulk.job import Job, MakeWork, Outcome
from h2w_ros.bulk.ledger import Ledger


class NoSpaceError(OSError):
    """The disk is full; what is done is kept."""


@dataclass(frozen=True)
class Labour:
    """Who does the work: this process (`num_workers` 0), processes of this machine, or a Ray cluster (`ray`: its address, 'local' for one here).

    `num_workers` None: on Ray as many as it has cores, else this process.
    """

    num_workers: int | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < (0 if self.ray is None else 1):
            raise ValueError(f"the number of workers must be at least {0 if self.ray is None else 1}, got {self.num_workers}")


def run_jobs(make_work: MakeWork, jobs: Sequence[Job], out: Path, labour: Labour | None = None) -> Iterator[Outcome]:
    """One outcome a job, those that need nothing done first, the others as they end.

    NoSpaceError when the disk is full: jobs that met it are not noted as failed, and the next run does them.
    """
    _check_names(jobs)
    ledger, todo = Ledger(out), list[Job]()
    for job in jobs:
        settled = ledger.settled(job)
        if settled is None:
            todo.append(job)
        else:
            yield settled
    for outcome in _done(make_work, todo, out, labour or Labour()):
        if outcome.status == "no space":
            raise NoSpaceError(f"the disk that holds {out} is full ({outcome.reason}); make room and run the same again: it goes on where it stopped")
        ledger.add(outcome)
        yield outcome


def _done(make_work: MakeWork, jobs: Sequence[Job], out: Path, labour: Labour) -> Iterator[Outcome]:
    if not jobs:
        return iter(())
    if labour.ray is not None:
        from h2w_ros.bulk.ray_cluster import on_ray

        return on_ray(make_work, jobs, out, labour.ray, labour.num_workers)
    if labour.num_workers:
        from h2w_ros.bulk.processes import in_processes

        return in_processes(make_work, jobs, out, labour.num_workers)
    return _here(make_work, jobs, out)


def _here(make_work: MakeWork, jobs: Sequence[Job], out: Path) -> Iterator[Outcome]:
    work = make_work()
    for job in jobs:
        yield execute(work, job, out)


def _check_names(jobs: Sequence[Job]) -> None:
    seen = set[str]()
    for job in jobs:
        if job.name in seen:
            raise ValueError(f"every job needs a name of its own, {job.name!r} comes twice")
        seen.add(job.name)

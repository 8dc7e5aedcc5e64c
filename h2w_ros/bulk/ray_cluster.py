"""Workers that are Ray actors, on this machine or on a cluster whose machines share the results' folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from h2w_ros.bulk.execute import execute
from h2w_ros.bulk.job import Job, MakeWork, Outcome, Work
from h2w_ros.bulk.workers import Worker, WorkerLostError, share_out

LOCAL = "local"
OBJECT_STORE_BYTES = 100_000_000
"""Jobs and outcomes are small; results go to the disk. Ray would take a third of the memory."""


class Actor:
    """What runs on the other side."""

    def __init__(self, make_work: MakeWork, out: Path) -> None:
        self._make_work, self._out = make_work, out
        self._work: Work | None = None

    def execute(self, job: Job) -> Outcome:
        """Prepares when it is the first job, and does it."""
        self._work = self._work or self._make_work()
        return execute(self._work, job, self._out)


class RayWorker:
    """One actor."""

    def __init__(self, ray: ModuleType, make_work: MakeWork, out: Path) -> None:
        self._ray = ray
        self._actor: Any = ray.remote(num_cpus=1, max_restarts=0)(Actor).remote(make_work, out)
        self.pending: Any = None

    def submit(self, job: Job) -> None:
        """Sends the job."""
        self.pending = self._actor.execute.remote(job)

    def outcome(self) -> Outcome:
        """The job's outcome; an error that its preparations raised is raised here."""
        exceptions = self._ray.exceptions
        try:
            return cast(Outcome, self._ray.get(self.pending))
        except exceptions.RayActorError as error:
            raise WorkerLostError("its Ray worker was killed; the memory may have been full") from error
        except exceptions.RayTaskError as error:
            raise (error.cause or error) from None

    def dismiss(self) -> None:
        """Ends the actor."""
        self._ray.kill(self._actor)


TOKEN_REMEDY = "If it asks for a token, as clusters of newer `ray start` do, set RAY_AUTH_MODE=token here and have its ~/.ray/auth_token"


def on_ray(make_work: MakeWork, jobs: Iterable[Job], out: Path, address: str, num_workers: int | None) -> Iterator[Outcome]:
    """Does the jobs on the Ray cluster at this address ('local' starts one here), on so many of its cores, all by default."""
    ray = _ray()
    here = {"num_cpus": num_workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == LOCAL else {}
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, **here)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {TOKEN_REMEDY}") from error

    def first_ready(workers: Sequence[Worker]) -> Worker:
        by_pending = {cast(RayWorker, worker).pending: worker for worker in workers}
        return by_pending[ray.wait(list(by_pending), num_returns=1)[0][0]]

    try:
        cores = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from share_out(jobs, lambda: RayWorker(ray, make_work, out.absolute()), first_ready, cores, out)
    finally:
        ray.shutdown()


def _ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError("--ray needs the package ray: pip install 'h2w_ros[ray]'") from error
    return ray

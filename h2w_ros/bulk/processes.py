"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from h2w_ros.bulk.execute import execute
from h2w_ros.bulk.job import Job, MakeWork, Outcome
from h2w_ros.bulk.workers import Worker, WorkerLostError, share_out

# A forked child would inherit locks that torch's and FFmpeg's threads hold.
CONTEXT = multiprocessing.get_context("spawn")


class ProcessWorker:
    """One process and the pipe to it."""

    def __init__(self, make_work: MakeWork, out: Path) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs, make_work, out), daemon=True)
        self.process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Sends the job. A worker that is gone already is found out when its outcome is asked for."""
        try:
            self.connection.send(job)
        except OSError:
            self.connection.close()

    def outcome(self) -> Outcome:
        """The job's outcome; an error that its preparations raised is raised here."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerLostError(_end_of(self.process.exitcode)) from error
        if isinstance(answer, Exception):
            raise answer
        return cast(Outcome, answer)

    def dismiss(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def in_processes(make_work: MakeWork, jobs: Iterable[Job], out: Path, num_workers: int) -> Iterator[Outcome]:
    """Does the jobs on this many processes."""
    return share_out(jobs, lambda: ProcessWorker(make_work, out), _first_ready, num_workers, out)


def _first_ready(workers: Sequence[Worker]) -> Worker:
    by_connection = {cast(ProcessWorker, worker).connection: worker for worker in workers}
    gone = next((worker for connection, worker in by_connection.items() if connection.closed), None)
    return gone or by_connection[cast("Connection", wait(list(by_connection))[0])]


def _serve(connection: Connection, make_work: MakeWork, out: Path) -> None:
    """A worker's life: prepares once, then does jobs until its employer is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that hands out jobs; it ends this one
    work = None
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            work = work or make_work()
        except Exception as error:
            connection.send(error)
            raise
        connection.send(execute(work, job, out))


def _end_of(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its worker was killed by {signal.Signals(-exit_code).name}; the memory may have been full"
    return f"its worker ended with exit code {exit_code}"

"""Answers planners' questions beside a live session, on a thread that steps aside for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from h2w_ros.condition import Image
from h2w_ros.nodes.live_session import LiveSession, StreamingSession
from h2w_ros.nodes.questions import Asked, Limits
from h2w_ros.nodes.worker import InferenceWorker

if TYPE_CHECKING:
    from h2w_ros.planning.prediction import Prediction
    from h2w_ros.planning.scores import Score

log = logging.getLogger(__name__)

NICENESS = 10
"""Of 19: where cores are few, the live session's thread gets nine tenths of one that both want."""
STEP_ASIDE_S = 0.5
"""A live session that is never idle is not waited for longer than this before every block."""


@runtime_checkable
class BranchingSession(StreamingSession, Protocol):
    """What predictions need of `session.Session`."""

    @property
    def config(self) -> Any:
        """The generator's."""

    def beside(self) -> Any:
        """Another session of the same generator."""

    def branch(self, num_candidates: int, seeds: Sequence[int]) -> Any:
        """Candidates that go on from here."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a question: a prediction of at least one block with its scores, or why there is none."""

    prediction: Prediction | None
    scores: Sequence[Score] = ()
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Job:
    """A question and whom to tell. `why_stop` is asked before every block; the other two are called on the predictor's thread."""

    read: Callable[[Limits], Asked]
    """Reads the question, which may take as long as it is long; ValueError for one that can't be answered."""
    latest: Image | None
    """The camera's newest picture."""
    why_stop: Callable[[], str]
    advanced: Callable[[Prediction], None]
    done: Callable[[Outcome], None]


class Predictor:
    """One question at a time; `ask` and `stop` may be called from any thread."""

    def __init__(self, session: BranchingSession, worker: InferenceWorker, max_futures: int, max_horizon_s: float) -> None:
        self._session, self._worker = session.beside(), worker
        self._limits = Limits(session.config.rate_hz, session.frames_per_block, max_futures, max_horizon_s)
        self._changed = threading.Condition()
        self._job: Job | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name="prediction", daemon=True)
        self._thread.start()

    def ask(self, job: Job) -> None:
        """Begins to answer; ValueError while another question is being answered."""
        with self._changed:
            if self._job is not None:
                raise ValueError("another prediction is under way, and one is made at a time: wait for it, or cancel it")
            self._job = job
            self._changed.notify()

    def stop(self) -> None:
        """Ends after the block that is being worked on, whose prediction is told as far as it came."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (job := self._next()) is not None:
            outcome = self._outcome(job)
            with self._changed:
                self._job = None
            job.done(outcome)

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._job is not None)
            return self._job

    def _outcome(self, job: Job) -> Outcome:
        try:
            return self._answer(job)
        except ValueError as error:
            return Outcome(None, problem=str(error))
        except Exception as error:  # a network and its hardware may fail in any way; the next question may still be answered
            log.exception("a prediction failed")
            return Outcome(None, problem=f"the prediction failed: {type(error).__name__}: {error}")

    def _answer(self, job: Job) -> Outcome:
        from h2w_ros.planning.prediction import Deadline, run
        from h2w_ros.planning.scores import score, scorers

        began_s = time.monotonic()
        asked = job.read(self._limits)
        chosen = scorers(asked.scorers)
        deadline = None if asked.deadline_s is None else Deadline(asked.deadline_s, began_s=began_s)
        prediction = self._begun(asked, job.latest)

        def why_stop(so_far: Prediction) -> str:
            self._worker.wait_until_idle(STEP_ASIDE_S)
            return ("the generator is being stopped" if self._is_stopped else job.why_stop()) or (deadline.why_stop(so_far) if deadline else "")

        run(prediction, why_stop, job.advanced, lambda: not self._worker.is_in_use)
        if not prediction.num_frames:
            return Outcome(None, problem=prediction.stopped)
        return Outcome(prediction, score(prediction.futures(), chosen))

    def _begun(self, asked: Asked, latest: Image | None) -> Prediction:
        """From the given picture, from the camera's latest, or from where the live session is."""
        from h2w_ros.planning.prediction import begin, go_on

        def branched(live: LiveSession, session: Any) -> Prediction:
            newest = live.newest_image()
            live.check_goes_on(asked.question.start, asked.world_frame)
            return go_on(session, asked.question, newest)

        if asked.continues_session:
            return self._worker.between_blocks(branched)
        image = latest if asked.image is None else asked.image
        if image is None:
            raise ValueError("no picture of the camera has come yet: send one with the goal, or wait for the camera")
        return begin(self._session, asked.question, image)

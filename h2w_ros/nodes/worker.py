"""The one thread on which a session lives: a bounded inbox that keeps the newest, and counts of what it dropped."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.nodes.live_session import Answer, Failure, LiveSession, SessionConfig, Start, StreamingSession, new_session_id
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import setting

log = logging.getLogger(__name__)

NUM_LATENCIES = 512
NUM_WARM_UP = 9
TASK_TIMEOUT_S = 10.0
IN_USE_S = 1.0
"""A session to which nothing has come for so long waits for nobody."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class WorkerConfig(SessionConfig):
    """How the inference thread treats its inbox."""

    inbox_length: int = setting(
        0,
        "conditions that may wait beside one that was begun early, the oldest leave first; 0: as many as one block answers",
        0,
        256,
        live=True,
    )


class InferenceWorker:
    """Everything that touches the session happens on this thread; `put` and `restart` may be called from any other."""

    def __init__(
        self,
        session: StreamingSession,
        config: WorkerConfig,
        on_answers: Callable[[list[Answer]], None],
        keep: Callable[[Failure], str],
    ) -> None:
        self._session, self._config, self._on_answers = session, config, on_answers
        self._live = LiveSession(session, config, self._take_answers, keep)
        self._inbox: deque[Moment] = deque()
        self._begun: Moment | None = None  # the session works on it before its turn
        self._wish: Start | None = None
        self._tasks: deque[Callable[[], None]] = deque()
        self._is_busy = False
        self._is_stopped = False
        self._newest_put_s = -math.inf
        self._changed = threading.Condition()
        self._is_warm = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._dropped: Counter[str] = Counter()
        self._latencies_ms: deque[float] = deque(maxlen=NUM_LATENCIES)
        self._end = ""

    def start(self) -> None:
        """Begins to work; returns when the network is warm, so that the first answer is as fast as the others."""
        self._thread.start()
        try:
            self._is_warm.wait()
        except BaseException:
            self.stop()
            raise
        if self._end:
            raise ValueError(self._end)

    def use(self, config: WorkerConfig) -> None:
        """Another config from now on; a seed from the next session on."""
        self._config = self._live.config = config

    def stop(self) -> None:
        """Ends after the condition that is being worked on."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_waiting(self) -> int:
        """Conditions in the inbox."""
        return len(self._inbox)

    @property
    def num_frames(self) -> int:
        """Frames answered, of all sessions."""
        return self._live.num_frames

    @property
    def dropped(self) -> Counter[str]:
        """Conditions that were left out, by reason."""
        return self._dropped + self._live.dropped

    @property
    def stages_ms(self) -> dict[str, float]:
        """Time of each stage of the last condition."""
        return self._live.stages_ms

    @property
    def problem(self) -> str:
        """What keeps it from answering; empty when all is well."""
        return self._end or self._live.problem

    @property
    def has_failed(self) -> bool:
        """Whether somebody must do something before it goes on."""
        return bool(self._end) or self._live.has_ended

    @property
    def disagreement(self) -> float:
        """Between the last predicted picture and the camera's [grey levels]; NaN while there is none to compare."""
        return self._live.disagreement

    @property
    def num_groundings(self) -> int:
        """How often the camera's picture went into the context, of all sessions."""
        return self._live.num_groundings

    @property
    def is_in_use(self) -> bool:
        """Whether conditions have come of late."""
        return time.monotonic() - self._newest_put_s < IN_USE_S

    def ground_soon(self) -> None:
        """Grounds the live session at its next opportunity."""
        self._live.ground_soon()

    def put(self, moment: Moment) -> None:
        """Hands a condition over; when the inbox is full the oldest one that has not been begun is dropped and counted."""
        self._newest_put_s = time.monotonic()
        with self._changed:
            num_begun = int(bool(self._inbox) and self._inbox[0] is self._begun)
            if len(self._inbox) - num_begun >= (self._config.inbox_length or self._session.frames_per_block):
                del self._inbox[num_begun]
                self._dropped["inbox_full"] += 1
            self._inbox.append(moment)
            is_next = self._is_busy and len(self._inbox) == 1
            self._changed.notify_all()
        if is_next and self._session.expect(moment.condition):
            self._begun = moment

    def restart(self, image: Image | None, seed: int) -> str:
        """Begins a new session before the next condition; what waits is dropped. Returns the new session's id."""
        wish = Start(new_session_id(), image, seed)
        with self._changed:
            self._dropped["restart"] += len(self._inbox)
            self._inbox.clear()
            self._wish = wish
            self._changed.notify_all()
        return wish.session_id

    def between_blocks(self, task: Callable[[LiveSession, StreamingSession], Result]) -> Result:
        """Runs a task on the inference thread, when no condition waits for its block to fill up; its result, or what it raises."""
        future: Future[Result] = Future()
        with self._changed:
            self._tasks.append(lambda: _settle(future, lambda: task(self._live, self._session)))
            self._changed.notify_all()
        try:
            return future.result(TASK_TIMEOUT_S)
        except FutureTimeoutError as error:
            future.cancel()
            raise ValueError(f"the live session did not reach the end of a block within {TASK_TIMEOUT_S:g} s: it waits for conditions") from error

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Returns when there is nothing to do, or after the time; whether there is nothing to do."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._is_stopped or self._end) or not (self._is_busy or self._inbox), timeout_s)

    def latency_ms(self, percent: float) -> float:
        """Percentile of the last latencies [ms]; nan before the first."""
        latencies = list(self._latencies_ms)
        return float(np.percentile(latencies, percent)) if latencies else float("nan")

    def _run(self) -> None:
        try:
            self._warm_up()
            while (work := self._next()) is not None:
                work()
        except Exception as error:  # a dead thread must not look like a quiet one
            self._end = f"inference stopped: {type(error).__name__}: {error}"
            log.exception("inference stopped")
        finally:
            self._is_warm.set()

    def _warm_up(self) -> None:
        """Runs the network on nothing, on this thread: thread pools and kernels belong to the thread that uses them."""
        self._session.reset(None, self._config.seed)
        for condition in idle_conditions(NUM_WARM_UP):
            if self._is_stopped:
                break
            self._session.push(condition)
            self._session.settle()
        self._live.begin()
        self._is_warm.set()

    def _next(self) -> Callable[[], None] | None:
        """Waits for the next piece of work; None when it is time to end."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_stopped or self._wish is not None or bool(self._inbox) or self._may_run_tasks)
            self._is_busy = True
            return None if self._is_stopped else self._chosen()

    @property
    def _may_run_tasks(self) -> bool:
        return bool(self._tasks) and self._live.is_between_blocks

    def _chosen(self) -> Callable[[], None]:
        """A new session before anything else, tasks before the next condition."""
        if self._wish is not None:
            wish, self._wish = self._wish, None
            return partial(self._live.begin, wish)
        return self._tasks.popleft() if self._may_run_tasks else partial(self._live.push, self._inbox.popleft())

    def _take_answers(self, answers: list[Answer]) -> None:
        latency_ns = answers[0].latency_ns
        if latency_ns is not None:
            self._latencies_ms.append(latency_ns / 1e6)
        self._on_answers(answers)


def _settle(future: Future[Result], task: Callable[[], Result]) -> None:
    """Gives the future what the task returns or raises, if anybody still waits for it."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(task())
    except Exception as error:  # noqa: BLE001  it belongs to who waits for the result
        future.set_exception(error)


def idle_conditions(num_conditions: int) -> list[Condition]:
    """A camera that stands still before a grey scene, without hands."""
    camera = Camera(64, 48, 60.0, 60.0, 32.0, 24.0)
    grey = np.full((camera.height_px, camera.width_px, 3), 128, np.uint8)
    return [Condition(1 + k, camera, np.eye(4), image=grey) for k in range(num_conditions)]

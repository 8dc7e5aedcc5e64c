"""The one thread on which a session lives: a bounded inbox that keeps the newest, counts of what it dropped, answers."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import setting
from h2w_ros.ros_messages import NS_PER_S

log = logging.getLogger(__name__)

NUM_LATENCIES = 512
NUM_WARM_UP = 9


@runtime_checkable
class PredictedFrame(Protocol):
    """One frame as a session gives it."""

    @property
    def index(self) -> int:
        """Place in the session, 0 the reference."""

    @property
    def stamp_ns(self) -> int:
        """Stamp of the condition that it answers."""

    @property
    def image(self) -> Image:
        """The picture."""

    @property
    def is_reference(self) -> bool:
        """Whether it repeats the reference picture."""


@runtime_checkable
class StreamingSession(Protocol):
    """What the worker needs of `session.Session`; torch stays unknown here."""

    @property
    def stages_ms(self) -> Mapping[str, float]:
        """Time of each stage of the last push."""

    def reset(self, image: Image | None, seed: int) -> None:
        """Starts anew; without an image the next condition must carry one."""

    def push(self, condition: Condition) -> Sequence[PredictedFrame]:
        """Takes a condition; gives the frames that are ready."""

    def settle(self) -> None:
        """Does what the next answer needs and the last one did not."""

    def observe(self, image: Image) -> None:
        """Writes what the camera really sees into the context."""


@dataclass(frozen=True)
class WorkerConfig:
    """How the inference thread treats its inbox."""

    seed: int = setting(0, "seed of all noise; the same seed and inputs give the same frames", 0, 2**31 - 1)
    inbox_length: int = setting(4, "conditions that may wait; the oldest leave first", 1, 256)
    restart_after_s: float = setting(2.0, "a gap in the stamps longer than this, or a step back, starts a new session [s]", 0.1, 3600.0)
    ground_every_s: float = setting(0.0, "how often the real camera picture is written into the context [s]; 0 never", 0.0, 3600.0)


@dataclass(frozen=True)
class Answer:
    """A predicted frame and what it answers; `latency_ns` runs from the arrival of the newest input, None where that is not known."""

    frame: PredictedFrame
    moment: Moment
    session_id: str
    input_stamps_ns: tuple[int, ...]
    latency_ns: int | None


@dataclass(frozen=True)
class Restart:
    """A wish to begin anew."""

    session_id: str
    image: Image | None
    seed: int


class InferenceWorker:
    """Everything that touches the session happens on this thread; `put` and `restart` may be called from any other."""

    def __init__(self, session: StreamingSession, config: WorkerConfig, on_answers: Callable[[list[Answer]], None]) -> None:
        self._session, self._config, self._on_answers = session, config, on_answers
        self._inbox: deque[Moment] = deque()
        self._wish: Restart | None = None
        self._is_stopped = False
        self._changed = threading.Condition()
        self._is_warm = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self.dropped: Counter[str] = Counter()
        self.num_frames = 0
        self.latencies_ms: deque[float] = deque(maxlen=NUM_LATENCIES)
        self.stages_ms: dict[str, float] = {}
        self.problem = ""
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begins to work; returns when the network is warm, so that the first answer is as fast as the others."""
        self._thread.start()
        self._is_warm.wait()
        if self.failure is not None:
            raise ValueError(self.problem)

    def stop(self) -> None:
        """Ends after the condition that is being worked on."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_waiting(self) -> int:
        """Conditions in the inbox."""
        return len(self._inbox)

    def put(self, moment: Moment) -> None:
        """Hands a condition over; when the inbox is full the oldest one is dropped and counted."""
        with self._changed:
            if len(self._inbox) >= self._config.inbox_length:
                self._inbox.popleft()
                self.dropped["inbox_full"] += 1
            self._inbox.append(moment)
            self._changed.notify()

    def restart(self, image: Image | None, seed: int) -> str:
        """Begins a new session before the next condition; what waits is dropped. Returns the new session's id."""
        wish = Restart(new_session_id(), image, seed)
        with self._changed:
            self.dropped["restart"] += len(self._inbox)
            self._inbox.clear()
            self._wish = wish
            self._changed.notify()
        return wish.session_id

    def _run(self) -> None:
        try:
            self._warm_up()
            while (moment := self._next()) is not None:
                self._push(moment)
        except Exception as error:  # a dead thread must not look like a quiet one
            self.failure = error
            self.problem = f"inference stopped: {type(error).__name__}: {error}"
            log.exception("inference stopped")
        finally:
            self._is_warm.set()

    def _warm_up(self) -> None:
        """Runs the network on nothing, on this thread: thread pools and kernels belong to the thread that uses them."""
        self._session.reset(None, self._config.seed)
        for condition in idle_conditions(NUM_WARM_UP):
            self._session.push(condition)
            self._session.settle()
        self._begin(Restart(new_session_id(), None, self._config.seed))
        self._is_warm.set()

    def _next(self) -> Moment | None:
        """Waits for the next condition; None when it is time to end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._is_stopped or self._wish is not None or bool(self._inbox))
                if self._is_stopped:
                    return None
                if self._wish is None:
                    return self._inbox.popleft()
                self._begin(self._wish)
                self._wish = None

    def _begin(self, wish: Restart) -> None:
        self._session.reset(wish.image, wish.seed)
        self._needs_image = wish.image is None
        self._session_id = wish.session_id
        self._last_ns: int | None = None
        self._grounded_ns: int | None = None
        self._pending: list[Moment] = []

    def _push(self, moment: Moment) -> None:
        condition = moment.condition
        if self._is_new_start(condition.stamp_ns):
            self._begin(Restart(new_session_id(), None, self._config.seed))
        if self._needs_image and condition.image is None:
            self.dropped["no_reference_image"] += 1
            self.problem = "waiting for a condition that carries the camera's picture"
            return
        try:
            frames = self._pushed(condition)
        except ValueError as error:
            self.dropped["condition_refused"] += 1
            self.problem = f"the generator refused a condition: {error}"
            return
        self.problem = ""
        self._pending.append(moment)
        if frames:
            block, self._pending = self._pending, []
            self._answer(frames, block)
            self._ground(block)
        self._session.settle()
        self.stages_ms = dict(self._session.stages_ms)

    def _is_new_start(self, stamp_ns: int) -> bool:
        if self._last_ns is None:
            return False
        return not 0 < stamp_ns - self._last_ns <= self._config.restart_after_s * NS_PER_S

    def _pushed(self, condition: Condition) -> Sequence[PredictedFrame]:
        frames = self._session.push(condition)
        self._needs_image, self._last_ns = False, condition.stamp_ns
        return frames

    def _ground(self, block: list[Moment]) -> None:
        """After the answer, so that it costs no latency: what the camera saw during this block goes into the context."""
        images = [moment.condition.image for moment in block]
        newest_ns = block[-1].condition.stamp_ns
        if self._grounded_ns is None:
            self._grounded_ns = newest_ns
        is_due = self._config.ground_every_s > 0.0 and newest_ns - self._grounded_ns >= self._config.ground_every_s * NS_PER_S
        if is_due and all(image is not None for image in images):
            for image in images:
                self._session.observe(image)  # type: ignore[arg-type]  # none of them is None
            self._grounded_ns = newest_ns

    def _answer(self, frames: Sequence[PredictedFrame], block: list[Moment]) -> None:
        moments = {moment.condition.stamp_ns: moment for moment in block}
        received_ns = max(moment.received_ns for moment in block)
        latency_ns = time.time_ns() - received_ns if received_ns else None
        stamps_ns = tuple(sorted(moments))
        answers = [Answer(frame, moments.get(frame.stamp_ns, block[-1]), self._session_id, stamps_ns, latency_ns) for frame in frames]
        self.num_frames += len(frames)
        if latency_ns is not None:
            self.latencies_ms.append(latency_ns / 1e6)
        self._on_answers(answers)

    def latency_ms(self, percent: float) -> float:
        """Percentile of the last latencies [ms]; nan before the first."""
        latencies = list(self.latencies_ms)
        return float(np.percentile(latencies, percent)) if latencies else float("nan")


def idle_conditions(num_conditions: int) -> list[Condition]:
    """A camera that stands still before a grey scene, without hands."""
    camera = Camera(64, 48, 60.0, 60.0, 32.0, 24.0)
    grey = np.full((camera.height_px, camera.width_px, 3), 128, np.uint8)
    return [Condition(1 + k, camera, np.eye(4), image=grey) for k in range(num_conditions)]


def new_session_id() -> str:
    """A name that no other session has, also after a restart."""
    return uuid.uuid4().hex[:12]

"""One live session after the other: when one begins, when it ends by itself, and what it answers. Knows no threads."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.geometry import invert, rotation_angle_rad
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import setting
from h2w_ros.picture_distance import coarse_distance
from h2w_ros.ros_messages import NS_PER_S

log = logging.getLogger(__name__)

NUM_KEPT = 32
FARTHEST_START_M, FARTHEST_START_DEG = 0.3, 30.0
"""Between where a head was in the last frame, and where a planner says it is now: it may have gone on meanwhile."""
# A lens that breathes while it focuses moves less than this share of the focal length, or of the picture's width.
MAX_CAMERA_DRIFT = 0.02
DRIFT_SCALES = {"fx": "fx", "fy": "fy", "cx": "width_px", "cy": "width_px"}

Result = TypeVar("Result")


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

    @property
    def frames_per_block(self) -> int:
        """Conditions that one block answers."""

    def reset(self, image: Image | None, seed: int) -> None:
        """Starts anew; without an image the next condition must carry one."""

    def push(self, condition: Condition) -> Sequence[PredictedFrame]:
        """Takes a condition; gives the frames that are ready."""

    def expect(self, condition: Condition) -> bool:
        """Says what will probably be pushed next, from any thread; whether it has been begun."""

    def settle(self) -> None:
        """Does what the next answer needs and the last one did not."""

    def observe(self, image: Image) -> None:
        """Writes what the camera really sees into the context."""

    def resized(self, picture: Image) -> Image:
        """The picture at the size of the predicted ones."""

    def close(self) -> None:
        """Ends what belongs to it, such as a process."""


@dataclass(frozen=True)
class SessionConfig:
    """When a session begins, and what it is shown."""

    seed: int = setting(0, "seed of all noise; the same seed and inputs give the same frames", 0, 2**31 - 1, live=True)
    restart_after_s: float = setting(2.0, "a gap in the stamps longer than this, or a step back, starts a new session [s]", 0.1, 3600.0, live=True)
    ground_every_s: float = setting(0.0, "how often the real camera picture is written into the context [s]; 0 never", 0.0, 3600.0, live=True)
    ground_above: float = setting(
        0.0, "disagreement with the camera above which its real picture is written into the context [grey levels]; 0 never", 0.0, 255.0, live=True
    )


@dataclass(frozen=True)
class Answer:
    """A predicted frame and what it answers; `latency_ns` runs from the arrival of the newest input, None where that is not known."""

    frame: PredictedFrame
    moment: Moment
    session_id: str
    input_stamps_ns: tuple[int, ...]
    latency_ns: int | None


@dataclass(frozen=True)
class Start:
    """A wish to begin anew; without an image the first condition that carries one is the reference."""

    session_id: str
    image: Image | None
    seed: int


@dataclass(frozen=True)
class Failure:
    """A session that stopped by itself: the block that could not be made, why, and the last inputs before it."""

    start: Start
    block: int
    reason: str
    moments: tuple[Moment, ...]


class LiveSession:
    """Drives a session and counts what it left out. `keep` puts the inputs of a session that failed somewhere and says where.

    A session that failed, or whose camera became another one, has ended: `problem` says so, and conditions are dropped
    until `begin` is called or the stamps begin anew.
    """

    def __init__(
        self,
        session: StreamingSession,
        config: SessionConfig,
        on_answers: Callable[[list[Answer]], None],
        keep: Callable[[Failure], str],
    ) -> None:
        self._session, self.config, self._on_answers, self._keep = session, config, on_answers, keep
        self.dropped: Counter[str] = Counter()
        self.num_frames = 0
        self.num_groundings = 0
        self.disagreement = math.nan
        """Between the last predicted picture and the camera's at its moment [grey levels]; NaN while there is none to compare."""
        self.stages_ms: dict[str, float] = {}
        self.problem = ""
        self.has_ended = False

    def begin(self, start: Start | None = None) -> None:
        """Forgets everything; without a start, from the next picture of the camera."""
        self._start = start or Start(new_session_id(), None, self.config.seed)
        self._needs_image = self._start.image is None
        self._camera: Camera | None = None
        self._last_ns: int | None = None
        self._grounded_ns: int | None = None
        self._must_ground, self.disagreement = False, math.nan
        self._num_blocks = 0
        self._pending: list[Moment] = []
        self._newest: Image | None = None
        self._recent: deque[Moment] = deque(maxlen=NUM_KEPT)
        self.has_ended, self.problem = False, ""
        self._attempt(lambda: self._session.reset(self._start.image, self._start.seed))

    @property
    def is_between_blocks(self) -> bool:
        """Whether no condition waits for others to be answered with."""
        return not self._pending

    def newest_image(self) -> Image:
        """The last predicted picture; ValueError where no session is under way."""
        if self.has_ended or self._newest is None:
            raise ValueError(f"there is no live session to go on from: {self.problem or 'it has not answered anything yet'}")
        return self._newest

    def check_goes_on(self, start: Condition, world_frame: str) -> None:
        """ValueError where this can't be the moment of the newest frame, told in the world frame of this name; an empty name is the session's.

        For a session that has answered (`newest_image`).
        """
        last = self._recent[-1]
        if world_frame and world_frame != last.world_frame:
            raise ValueError(f"candidates must be in the live session's frame {last.world_frame!r}, they are in {world_frame!r}: transform them")
        if change := camera_change(last.condition.camera, start.camera):
            raise ValueError(f"candidates must be seen by the live session's camera, and are not: {change}")
        apart = invert(last.condition.T_world_camera) @ start.T_world_camera
        away_m, turned_deg = float(np.linalg.norm(apart[:3, 3])), float(np.degrees(rotation_angle_rad(apart[:3, :3])))
        if away_m > FARTHEST_START_M or turned_deg > FARTHEST_START_DEG:
            limit = f"at most {FARTHEST_START_M:g} m and {FARTHEST_START_DEG:g} degrees from where the head was in the session's last frame"
            found = f"they begin {away_m:.2f} m and {turned_deg:.0f} degrees from there"
            raise ValueError(f"candidates must begin {limit}, {found}: plan from where it is now")

    def ground_soon(self) -> None:
        """Grounds at the end of the next block whose pictures are all there."""
        self._must_ground = True

    def push(self, moment: Moment) -> None:
        """Takes a condition; answers as soon as a block is full."""
        condition = moment.condition
        if self._is_new_start(condition.stamp_ns):
            self.begin()
        self._end_when_camera_changed(condition.camera)
        if self.has_ended:
            self._last_ns = condition.stamp_ns
            self.dropped["session_ended"] += 1
        elif self._needs_image and condition.image is None:
            self.dropped["no_reference_image"] += 1
            self.problem = "waiting for a condition that carries the camera's picture"
        else:
            self._recent.append(moment)
            self._step(moment)

    def _step(self, moment: Moment) -> None:
        frames = self._attempt(lambda: self._pushed(moment)) or ()
        block: list[Moment] = []
        if frames:
            block, self._pending = self._pending, []
            self._num_blocks += 1
            self._answer(frames, block)
        if not self.has_ended:
            self._attempt(lambda: self._settle(block))

    def _attempt(self, work: Callable[[], Result]) -> Result | None:
        """A session may fail in any way that a network and its hardware can; that ends this session, not the node."""
        try:
            return work()
        except Exception as error:
            log.exception("the session stopped")
            failure = Failure(self._start, self._num_blocks, f"{type(error).__name__}: {error}", tuple(self._recent))
            self._end(f"stopped at block {failure.block}: {failure.reason}; {self._keep(failure)}")
            return None

    def _end(self, text: str) -> None:
        self.has_ended = True
        self.problem = f"session {self._start.session_id} {text}; reset_session begins the next"

    def _end_when_camera_changed(self, camera: Camera) -> None:
        if self._camera is None:
            self._camera = camera
        change = camera_change(self._camera, camera)
        if change and not self.has_ended:
            self._end(f"ended because the camera changed: {change}")

    def _is_new_start(self, stamp_ns: int) -> bool:
        if self._last_ns is None:
            return False
        return not 0 < stamp_ns - self._last_ns <= self.config.restart_after_s * NS_PER_S

    def _pushed(self, moment: Moment) -> Sequence[PredictedFrame]:
        try:
            frames = self._session.push(moment.condition)
        except ValueError as error:
            self.dropped["condition_refused"] += 1
            self.problem = f"the generator refused a condition: {error}"
            return ()
        self._needs_image, self._last_ns, self.problem = False, moment.condition.stamp_ns, ""
        self._pending.append(moment)
        return frames

    def _settle(self, block: list[Moment]) -> None:
        """What the next answer needs; after this one has gone out, so that it costs no latency."""
        if block:
            self._ground(block)
        self._session.settle()
        self.stages_ms = dict(self._session.stages_ms)

    def _ground(self, block: list[Moment]) -> None:
        """What the camera saw during this block goes into the context, when it is time."""
        images = [moment.condition.image for moment in block if moment.condition.image is not None]
        if len(images) < len(block) or self._newest is None:
            return
        newest_ns = block[-1].condition.stamp_ns
        self._grounded_ns = newest_ns if self._grounded_ns is None else self._grounded_ns
        self.disagreement = coarse_distance(self._newest, self._session.resized(images[-1]))
        if self._is_due(newest_ns):
            for image in images:
                self._session.observe(image)
            self._grounded_ns, self._must_ground = newest_ns, False
            self.num_groundings += 1

    def _is_due(self, now_ns: int) -> bool:
        """Whether somebody asked for it, it is time again, or imagination has gone too far."""
        every_s, above = self.config.ground_every_s, self.config.ground_above
        is_time = every_s > 0.0 and now_ns - (self._grounded_ns or 0) >= every_s * NS_PER_S
        return self._must_ground or is_time or (above > 0.0 and self.disagreement > above)

    def _answer(self, frames: Sequence[PredictedFrame], block: list[Moment]) -> None:
        moments = {moment.condition.stamp_ns: moment for moment in block}
        received_ns = max(moment.received_ns for moment in block)
        latency_ns = time.time_ns() - received_ns if received_ns else None
        stamps_ns = tuple(sorted(moments))
        self.num_frames += len(frames)
        self._newest, session_id = frames[-1].image, self._start.session_id
        self._on_answers([Answer(frame, moments.get(frame.stamp_ns, block[-1]), session_id, stamps_ns, latency_ns) for frame in frames])


def camera_change(old: Camera, new: Camera) -> str:
    """What became different between two pinholes; empty when a session goes on with the new one."""
    if (old.width_px, old.height_px) != (new.width_px, new.height_px):
        return f"pictures of {old.width_px}x{old.height_px} became {new.width_px}x{new.height_px}"
    drifts = {name: abs(getattr(new, name) - getattr(old, name)) / getattr(old, scale) for name, scale in DRIFT_SCALES.items()}
    return ", ".join(f"{name} {getattr(old, name):.2f} became {getattr(new, name):.2f}" for name, drift in drifts.items() if drift > MAX_CAMERA_DRIFT)


def new_session_id() -> str:
    """A name that no other session has, also after a restart."""
    return uuid.uuid4().hex[:12]

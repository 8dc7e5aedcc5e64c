"""Inputs that arrive at any rate and in any order, aligned on the generator's clock.

Everything is decided by header stamps, so the same messages give the same conditions on every machine and at every
playback speed. A tick is given out as soon as pose and hands are known at it; what is missing is dropped and counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.geometry import Transform, check_transform, interpolate, interpolate_axis_angles
from h2w_ros.leaps import LeapGuard, Step

Picture = Image | Callable[[], Image]
Partial = tuple[Image, Bool[ndarray, "_ _"] | None]
"""A picture, and where it shows anything; None: everywhere."""
Hands = tuple[HandPose, ...]
Sample = TypeVar("Sample")

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

# So many samples of one input in a row, in order among themselves but older than what was there, mean that a short
# recording began again; a network that swaps packets never does that.
NUM_BACKWARD_TO_RESET = 5


def _number(default: Any, text: str, low: int | float, high: int | float, live: bool = True) -> Any:
    """A documented number; `live` ones may change while the timeline works."""
    return field(default=default, metadata={"help": text, "range": (low, high), "live": live})


@dataclass(frozen=True)
class TimelineConfig:
    """How far apart in time two things may be and still belong together."""

    rate_hz: float = _number(16.0, "the generator's frame rate [Hz]", 1.0, 120.0, live=False)
    max_pose_gap_ms: float = _number(250.0, "camera poses farther apart are not interpolated [ms]", 1.0, 5000.0)
    max_hands_gap_ms: float = _number(250.0, "hand poses farther apart are not interpolated [ms]", 1.0, 5000.0)
    pose_hold_ms: float = _number(70.0, "how long the last camera pose stands in for a late one [ms]", 0.0, 1000.0)
    hands_hold_ms: float = _number(125.0, "how long the last hand pose stands in for a late one [ms]", 0.0, 1000.0)
    picture_age_ms: float = _number(40.0, "a picture belongs to a tick at most this far away [ms]", 1.0, 1000.0)
    wait_ms: float = _number(100.0, "how far other inputs may run ahead before a tick stops waiting [ms]", 0.0, 2000.0)
    drain_ms: float = _number(50.0, "real time to read what has arrived already before a tick gives up [ms]", 0.0, 2000.0)
    clock_jump_s: float = _number(2.0, "stamps this far from the rest mean a new start of the clock [s]", 0.1, 60.0)
    max_leap_m: float = _number(1.0, "a camera or hand that moves farther within 250 ms is a fault, unless five samples agree [m]", 0.01, 1000.0)
    buffer_length: int = _number(256, "samples kept of each input; the oldest leave first", 4, 10000, live=False)
    ready_made_hands: bool = field(default=False, metadata={"help": "hands come as ready-made pictures instead of poses"})

    def __post_init__(self) -> None:
        for name, spec in self.__dataclass_fields__.items():
            low, high = spec.metadata.get("range", (-np.inf, np.inf))
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")

    @property
    def period_ns(self) -> int:
        """Time between two ticks [ns]."""
        return round(NS_PER_S / self.rate_hz)


class Track(Generic[Sample]):
    """One input's samples in the order of their stamps; bounded."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.stamps_ns: list[int] = []
        self.samples: list[Sample] = []

    def append(self, stamp_ns: int, sample: Sample) -> bool:
        """Adds the newest sample; True when the oldest had to leave for it."""
        self.stamps_ns.append(stamp_ns)
        self.samples.append(sample)
        overflows = len(self.samples) > self.length
        if overflows:
            self.forget(1)
        return overflows

    def forget(self, count: int) -> None:
        """Drops the `count` oldest samples."""
        del self.stamps_ns[:count], self.samples[:count]

    def forget_before(self, stamp_ns: int) -> None:
        """Drops what can no longer be a neighbour of this stamp or a later one."""
        self.forget(max(0, bisect_left(self.stamps_ns, stamp_ns) - 1))

    def reaches(self, stamp_ns: int) -> bool:
        """Whether a sample of this stamp or a later one is there."""
        return bool(self.stamps_ns) and self.stamps_ns[-1] >= stamp_ns

    def around(self, stamp_ns: int) -> tuple[int | None, int | None]:
        """Places of the last sample before the stamp and the first at or after it."""
        after = bisect_left(self.stamps_ns, stamp_ns)
        return (after - 1 if after > 0 else None, after if after < len(self.stamps_ns) else None)

    def nearest(self, stamp_ns: int) -> int | None:
        """Place of the sample whose stamp is nearest."""
        places = [place for place in self.around(stamp_ns) if place is not None]
        return min(places, key=lambda place: abs(self.stamps_ns[place] - stamp_ns), default=None)


class Timeline:
    """Takes samples as they come, gives conditions on the clock.

    The clock starts at the first picture of the camera for which a camera pose is known: that moment is the generator's
    reference. `dropped` counts what was left out, by reason; `stood_in` ticks for which something else had to do: a pose or hands
    of a moment nearby, or no hands at all; `num_resets` new starts of the clock.

    Live nodes give `now_s`, a monotonic clock [s]. After a stall, inputs wait in queues that are read in turn: the one
    that is read first then seems far ahead of the others, and no tick may be given up for that.
    """

    def __init__(self, config: TimelineConfig | None = None, now_s: Callable[[], float] | None = None) -> None:
        self.config = config or TimelineConfig()
        self._now_s = now_s
        self.camera: Camera | None = None
        self.dropped: Counter[str] = Counter()
        self.stood_in: Counter[str] = Counter()
        self.num_resets = 0
        self._suspects: dict[str, tuple[int, int]] = {}
        self._clear()

    def _clear(self) -> None:
        length = self.config.buffer_length
        self._poses: Track[Transform] = Track(length)
        self._hands: Track[Hands] = Track(length)
        self._images: Track[Picture] = Track(min(length, 16))
        self._renders: Track[Picture] = Track(min(length, 64))
        self._statics: Track[Callable[[], Partial]] = Track(min(length, 64))
        self._newest_ns: int | None = None
        self._progress: Track[float] = Track(length)
        self._leaps = {name: LeapGuard() for name in ("camera", "left", "right")}
        self._next_ns: int | None = None
        self._suspects.clear()

    def reset(self) -> None:
        """Forgets every sample; the next condition is a new reference. Counts stay."""
        self._clear()
        self.num_resets += 1

    def set_camera(self, camera: Camera) -> None:
        """The pinhole camera of all pictures from now on; another size starts the clock anew (a zoom does not)."""
        old = self.camera
        if old is not None and (old.width_px, old.height_px) != (camera.width_px, camera.height_px):
            self.reset()
        self.camera = camera

    def add_pose(self, stamp_ns: int, T_world_camera: Transform) -> bool:
        """A camera pose; False when it was dropped."""
        try:
            T = check_transform(T_world_camera, "T_world_camera")
        except ValueError:
            return self._drop("pose_not_rigid")
        return self._admit("pose", stamp_ns) and self._is_plausible(stamp_ns, T) and self._store("pose", self._poses, stamp_ns, T)

    def add_hands(self, stamp_ns: int, hands: Hands) -> bool:
        """All hands that are known at this moment, in the world frame; another message of the same stamp may add the other side."""
        if self._hands.stamps_ns and self._hands.stamps_ns[-1] == stamp_ns:
            return self._merge_hands(self._without_leaps(stamp_ns, hands))
        return self._admit("hands", stamp_ns) and self._store("hands", self._hands, stamp_ns, self._without_leaps(stamp_ns, hands))

    def add_image(self, stamp_ns: int, image: Picture) -> bool:
        """What the camera saw, or a function that decodes it: only pictures that a tick uses are decoded."""
        return self._admit("image", stamp_ns) and self._store("image", self._images, stamp_ns, image)

    def add_hand_render(self, stamp_ns: int, picture: Picture) -> bool:
        """A ready-made picture of the hands, or a function that decodes it."""
        return self._admit("hand_render", stamp_ns) and self._store("hand_render", self._renders, stamp_ns, picture)

    def add_static_render(self, stamp_ns: int, decode: Callable[[], Partial]) -> bool:
        """A function that decodes a ready-made picture of the untouched scene, and where it shows that. No tick waits for one."""
        return self._admit("static_render", stamp_ns) and self._store("static_render", self._statics, stamp_ns, decode)

    def advance(self) -> list[Condition]:
        """Every condition that is known by now, oldest first."""
        ready: list[Condition] = []
        while self.camera is not None and (stamp_ns := self._due()) is not None:
            condition = self._condition(stamp_ns, self.camera)
            if condition is not None:
                ready.append(condition)
            self._step(stamp_ns, emitted=condition is not None)
        return ready

    # Admission: which stamps are believed.

    def _admit(self, name: str, stamp_ns: int) -> bool:
        if stamp_ns <= 0:
            return self._drop(f"{name}_zero_stamp")
        fault = self._fault(name, stamp_ns)
        if fault is None:
            self._suspects.pop(name, None)
            return True
        if fault != "duplicate" and self._has_clock_jumped(name, stamp_ns, needed=1 if fault == "clock_jump" else NUM_BACKWARD_TO_RESET):
            self.reset()
            return True
        return self._drop(f"{name}_{fault}")

    def _fault(self, name: str, stamp_ns: int) -> str | None:
        """What speaks against this stamp, given the newest stamp of all inputs and of its own."""
        if self._newest_ns is not None and abs(stamp_ns - self._newest_ns) > self.config.clock_jump_s * NS_PER_S:
            return "clock_jump"
        own = self._track(name).stamps_ns
        if own and stamp_ns == own[-1]:
            return "duplicate"
        return "out_of_order" if own and stamp_ns < own[-1] else None

    def _has_clock_jumped(self, name: str, stamp_ns: int, needed: int) -> bool:
        """One odd stamp is a fault; `needed` more that follow it in order are a clock that started anew."""
        last_ns, count = self._suspects.get(name, (stamp_ns, -1))
        follows = count < 0 or 0 < stamp_ns - last_ns <= self.config.clock_jump_s * NS_PER_S
        self._suspects[name] = (stamp_ns, count + 1 if follows else 0)
        return self._suspects[name][1] >= needed

    # Admission: which positions are believed.

    def _is_plausible(self, stamp_ns: int, T_world_camera: Transform) -> bool:
        """A camera that is elsewhere for good makes a new start: the world before it is another one."""
        step = self._leaps["camera"].judge(stamp_ns, T_world_camera[:3, 3], self.config.max_leap_m)
        if step is Step.NEW_PLACE:
            self.reset()
        return step is not Step.LEAP or self._drop("pose_leap")

    def _without_leaps(self, stamp_ns: int, hands: Hands) -> Hands:
        steps = [self._leaps[hand.side].judge(stamp_ns, hand.T_world_wrist[:3, 3], self.config.max_leap_m) for hand in hands]
        self.dropped.update("hand_leap" for step in steps if step is Step.LEAP)
        return tuple(hand for hand, step in zip(hands, steps, strict=True) if step is not Step.LEAP)

    def _store(self, name: str, track: Track[Sample], stamp_ns: int, sample: Sample) -> bool:
        if track.append(stamp_ns, sample):
            self._drop(f"{name}_buffer_full")
        if self._newest_ns is None or stamp_ns > self._newest_ns:
            self._newest_ns = stamp_ns
            if self._now_s is not None:
                self._progress.append(stamp_ns, self._now_s())
        return True

    def _merge_hands(self, hands: Hands) -> bool:
        known = self._hands.samples[-1]
        new = tuple(hand for hand in hands if all(hand.side != other.side for other in known))
        if not new:
            return self._drop("hands_duplicate")
        self._hands.samples[-1] = known + new
        return True

    def _drop(self, reason: str) -> bool:
        self.dropped[reason] += 1
        return False

    def _track(self, name: str) -> Track:
        tracks: dict[str, Track] = {"pose": self._poses, "hands": self._hands, "image": self._images, "hand_render": self._renders}
        return self._statics if name == "static_render" else tracks[name]

    # The clock: which tick is next, and whether its inputs are there.

    def _due(self) -> int | None:
        """Stamp of the next tick if it waits for nothing any more."""
        stamp_ns = self._next_ns
        if stamp_ns is None:
            stamp_ns = self._images.stamps_ns[0] if self._images.stamps_ns else None
        return stamp_ns if stamp_ns is not None and self._is_complete(stamp_ns) else None

    def _is_complete(self, stamp_ns: int) -> bool:
        if self._poses.reaches(stamp_ns) and self._hands_are_settled(stamp_ns):
            return True
        return self._is_overdue(stamp_ns + round(self.config.wait_ms * NS_PER_MS) + 1)

    def _is_overdue(self, limit_ns: int) -> bool:
        """Whether some input has reached this stamp, and, for a live node, long enough ago that the others were read too."""
        if self._newest_ns is None or self._newest_ns < limit_ns:
            return False
        if self._now_s is None:
            return True
        reached_s = self._progress.samples[bisect_left(self._progress.stamps_ns, limit_ns)]
        return (self._now_s() - reached_s) * 1e3 >= self.config.drain_ms

    def _hands_are_settled(self, stamp_ns: int) -> bool:
        """Whether waiting for hands is over: they are there, or the running clock has not seen any for the holding time."""
        track = self._renders if self.config.ready_made_hands else self._hands
        if track.reaches(stamp_ns):
            return True
        oldest_ns = stamp_ns - round(self.config.hands_hold_ms * NS_PER_MS)
        return self._next_ns is not None and not track.reaches(oldest_ns)

    def _step(self, stamp_ns: int, emitted: bool) -> None:
        """Moves the clock on; before its start, a picture without a pose makes room for the next picture."""
        if self._next_ns is None and not emitted:
            self._images.forget(1)
            return
        self._next_ns = stamp_ns + self.config.period_ns
        for track in (self._poses, self._hands, self._images, self._renders, self._statics):
            track.forget_before(self._next_ns)

    # The content of one tick.

    def _condition(self, stamp_ns: int, camera: Camera) -> Condition | None:
        T_world_camera = self._pose_at(stamp_ns)
        if T_world_camera is None:
            self._drop("tick_without_pose")
            return None
        image = self._picture_at(self._images, "image", stamp_ns, camera)
        if image is None and self._next_ns is None:
            return None
        render = self._picture_at(self._renders, "hand_render", stamp_ns, camera) if self.config.ready_made_hands else None
        if render is None and self.config.ready_made_hands:
            self._drop("tick_without_hand_render")
            return None
        static, known = self._decoded_at(self._statics, "static_render", stamp_ns, camera, lambda sample: sample()) or (None, None)
        return Condition(stamp_ns, camera, T_world_camera, self._hands_at(stamp_ns), render, static, image, known)

    def _pose_at(self, stamp_ns: int) -> Transform | None:
        before, after = self._poses.around(stamp_ns)
        if after is not None and self._poses.stamps_ns[after] == stamp_ns:
            return self._poses.samples[after]
        fraction = _fraction(self._poses, before, after, stamp_ns, self.config.max_pose_gap_ms)
        if before is not None and after is not None and fraction is not None:
            return interpolate(self._poses.samples[before], self._poses.samples[after], fraction)
        is_held = after is None and before is not None and _is_near(self._poses, before, stamp_ns, self.config.pose_hold_ms)
        self.stood_in["pose_held"] += is_held
        return self._poses.samples[before] if is_held and before is not None else None

    def _hands_at(self, stamp_ns: int) -> Hands:
        before, after = self._hands.around(stamp_ns)
        fraction = _fraction(self._hands, before, after, stamp_ns, self.config.max_hands_gap_ms)
        if before is not None and after is not None and fraction is not None:
            return interpolate_hands(self._hands.samples[before], self._hands.samples[after], fraction)
        nearest = self._hands.nearest(stamp_ns)
        is_near = nearest is not None and _is_near(self._hands, nearest, stamp_ns, self.config.hands_hold_ms)
        if nearest is None or self._hands.stamps_ns[nearest] != stamp_ns:
            self.stood_in["hands_held" if is_near else "no_hands"] += not self.config.ready_made_hands
        return self._hands.samples[nearest] if is_near and nearest is not None else ()

    def _picture_at(self, track: Track[Picture], name: str, stamp_ns: int, camera: Camera) -> Image | None:
        """The nearest picture within the limit, decoded."""
        found = self._decoded_at(track, name, stamp_ns, camera, lambda picture: (picture() if callable(picture) else picture, None))
        return None if found is None else found[0]

    def _decoded_at(self, track: Track[Sample], name: str, stamp_ns: int, camera: Camera, decode: Callable[[Sample], Partial]) -> Partial | None:
        """The nearest sample within the limit, decoded; None, and counted, when it can't be read or has another size."""
        nearest = track.nearest(stamp_ns)
        if nearest is None or not _is_near(track, nearest, stamp_ns, self.config.picture_age_ms):
            return None
        try:
            picture, known = decode(track.samples[nearest])
        except ValueError:
            self._drop(f"{name}_unreadable")
            return None
        if picture.shape != (camera.height_px, camera.width_px, 3):
            self._drop(f"{name}_wrong_size")
            return None
        return picture, known


def interpolate_hands(before: Hands, after: Hands, fraction: float) -> Hands:
    """Each side on its way from one sample to the next; a side that only one of them knows belongs to the nearer one."""
    nearer = before if fraction < 0.5 else after
    return tuple(_between(hand, before, after, fraction) for hand in nearer)


def interpolate_hand(before: HandPose, after: HandPose, fraction: float) -> HandPose:
    """Slerp of the wrist and of every joint; lerp of position, shape and confidence."""
    return HandPose(
        before.side,
        interpolate(before.T_world_wrist, after.T_world_wrist, fraction),
        interpolate_axis_angles(before.joint_angles_rad.reshape(15, 3), after.joint_angles_rad.reshape(15, 3), fraction).reshape(45),
        (1.0 - fraction) * before.betas + fraction * after.betas,
        (1.0 - fraction) * before.confidence + fraction * after.confidence,
    )


def _between(hand: HandPose, before: Hands, after: Hands, fraction: float) -> HandPose:
    ends = [next((other for other in hands if other.side == hand.side), None) for hands in (before, after)]
    if ends[0] is None or ends[1] is None or fraction in (0.0, 1.0):
        return hand
    return interpolate_hand(ends[0], ends[1], fraction)


def _fraction(track: Track, before: int | None, after: int | None, stamp_ns: int, max_gap_ms: float) -> float | None:
    """Where the stamp lies between its two neighbours, in (0, 1]; None when one is missing or they are too far apart."""
    if after is not None and track.stamps_ns[after] == stamp_ns and before is not None:
        return 1.0
    if before is None or after is None:
        return None
    gap_ns = track.stamps_ns[after] - track.stamps_ns[before]
    return (stamp_ns - track.stamps_ns[before]) / gap_ns if gap_ns <= max_gap_ms * NS_PER_MS else None


def _is_near(track: Track, place: int, stamp_ns: int, limit_ms: float) -> bool:
    return abs(track.stamps_ns[place] - stamp_ns) <= limit_ms * NS_PER_MS

"""What goes wrong with messages on their way: lost, shuffled, broken, or stamped by a clock that is off."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import HandSkeleton
from h2w_ros.nodes.images import stamp_from_ns
from h2w_ros.nodes.soak.life import Outgoing
from h2w_ros.ros_messages import NS_PER_S, stamp_to_ns

Disturbance = Callable[[list[Outgoing]], list[Outgoing]]

# Share of messages that a disturbance meets.
SHARE = 0.3
# Of so many beats one is stamped wrongly: two wrong stamps in a row would be a clock that has jumped, and rightly believed.
STRAY_EVERY = 8


def undisturbed(said: list[Outgoing]) -> list[Outgoing]:
    """Everything, as it is."""
    return said


def disturbance(kind: str, rng: random.Random) -> Disturbance:
    """A new disturbance of this kind; `burst` is a matter of the robot's pace and changes no message."""
    makers: dict[str, Callable[[random.Random], Disturbance]] = {"drop": _Drop, "reorder": _Reorder, "broken": _Break, "clock_jump": _Stray}
    return makers[kind](rng) if kind in makers else undisturbed


class _Drop:
    """Loses messages."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, said: list[Outgoing]) -> list[Outgoing]:
        return [one for one in said if self._rng.random() >= SHARE]


class _Reorder:
    """Holds messages back for a few beats and lets them go in any order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._held: list[Outgoing] = []

    def __call__(self, said: list[Outgoing]) -> list[Outgoing]:
        present = self._held + said
        self._rng.shuffle(present)
        self._held = [one for one in present if self._rng.random() < SHARE]
        return [one for one in present if one not in self._held]


class _Break:
    """Puts nonsense into messages."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, said: list[Outgoing]) -> list[Outgoing]:
        for one in said:
            if self._rng.random() < SHARE:
                self._rng.choice(NONSENSE[type(one.msg)])(one.msg)
        return said


class _Stray:
    """Stamps a beat now and then with zero, or with a time an hour from here."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._beat = 0

    def __call__(self, said: list[Outgoing]) -> list[Outgoing]:
        self._beat += 1
        if self._beat % STRAY_EVERY == 0:
            shift_s = self._rng.choice((None, -3600, 3600))
            for one in said:
                _restamp(one.msg, shift_s)
        return said


def _restamp(msg: Any, shift_s: int | None) -> None:
    stamp_ns = 0 if shift_s is None else stamp_to_ns(msg.header.stamp) + shift_s * NS_PER_S
    msg.header.stamp = stamp_from_ns(stamp_ns)


def _set(**fields: object) -> Callable[[Any], None]:
    """Sets fields by their dotted path, written with double underscores."""

    def change(msg: Any) -> None:
        for path, value in fields.items():
            *way, name = path.split("__")
            target = msg
            for step in way:
                target = getattr(target, step)
            setattr(target, name, value)

    return change


def _cut_data(msg: ImageMsg) -> None:
    msg.data = msg.data[: len(msg.data) // 2]


def _move_a_joint_away(msg: HandSkeleton) -> None:
    for point in msg.positions:
        point.x = math.nan


NONSENSE: dict[type, tuple[Callable[[Any], None], ...]] = {
    Odometry: (
        _set(pose__pose__position__x=math.nan),
        _set(pose__pose__position__y=math.inf),
        _set(pose__pose__position__z=3.0),
        _set(pose__pose__orientation__w=0.3),
        _set(header__frame_id="nowhere"),
    ),
    ImageMsg: (_set(encoding="yuv422_yuy2"), _set(step=10), _set(width=4_000_000_000), _set(height=0), _cut_data),
    CameraInfo: (_set(k=[0.0] * 9), _set(k=[math.nan] * 9), _set(distortion_model="thin_prism"), _set(width=0, height=0)),
    HandSkeleton: (
        _move_a_joint_away,
        _set(positions=[]),
        _set(side=7),
        _set(convention="fingers"),
        _set(header__frame_id="nowhere"),
        _set(confidence=math.nan),
    ),
}

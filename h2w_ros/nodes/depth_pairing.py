"""Which picture and which pose belong to a depth measurement: decided by header stamps, once they are all there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from h2w_ros.condition import Image
from h2w_ros.geometry import Transform
from h2w_ros.hands.trackers.tf_tree import TfTree
from h2w_ros.ros_messages import NS_PER_S

PICTURE_AGE_NS = 20_000_000
"""A picture was taken with a depth image when no more than this lies between them: RGB-D cameras give both one stamp."""
MAX_POSE_GAP_NS = 250_000_000
WAIT_NS = 300_000_000
"""How far odometry may run ahead of a depth image before it stops waiting for its picture, and for hands that come late."""
LENGTH = 16

Drop = Callable[[str, str], None]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A depth image with its picture, or a cloud, and where it was taken; `depth` and `picture` decode, ValueError when they can't be read."""

    stamp_ns: int
    depth: Callable[[], Any]
    picture: Callable[[], Image] | None
    T_world_camera: Transform


@dataclass(frozen=True, eq=False)
class _Picture:
    stamp_ns: int
    frame: str
    decode: Callable[[], Image]


@dataclass(frozen=True, eq=False)
class _Depth:
    stamp_ns: int
    frame: str
    decode: Callable[[], Any]
    needs_picture: bool


class DepthPairing:
    """Keeps depth measurements until odometry has passed them; `drop` counts a reason and warns with a text."""

    def __init__(self, every_s: float, drop: Drop) -> None:
        self.every_s, self._drop = every_s, drop
        self.frames = TfTree()
        self.mount: Transform | None = None
        self.world_frame, self._child_frame = "", ""
        self.hands_until_ns: int | None = None
        """The newest stamp of hands; None where there are none to wait for."""
        self._poses_ns: deque[int] = deque(maxlen=200)
        self._pending: deque[_Depth] = deque()
        self._pictures: deque[_Picture] = deque(maxlen=LENGTH)
        self._last_ns = 0

    def add_pose(self, stamp_ns: int, world_frame: str, child_frame: str, T_world_child: Transform) -> None:
        """Where odometry's child frame is."""
        if stamp_ns <= 0:
            self._drop("pose_zero_stamp", "odometry without a stamp is left out")
            return
        if self._poses_ns and stamp_ns < self._poses_ns[-1]:
            self._begin_anew()
        self.world_frame, self._child_frame = world_frame, child_frame
        self._poses_ns.append(stamp_ns)
        self.frames.add(world_frame, child_frame, stamp_ns, T_world_child)

    def add_picture(self, stamp_ns: int, frame: str, decode: Callable[[], Image]) -> None:
        """A picture of the camera."""
        self._pictures.append(_Picture(stamp_ns, frame, decode))

    def add_depth(self, stamp_ns: int, frame: str, decode: Callable[[], Any], needs_picture: bool) -> None:
        """A depth image or, with its own colors, a cloud; those that come sooner than `every_s` after the last one are passed over."""
        if stamp_ns <= 0:
            self._drop("depth_zero_stamp", "depth without a stamp is left out")
        elif not 0 <= stamp_ns - self._last_ns < self.every_s * NS_PER_S:
            self._last_ns = stamp_ns
            self._pending.append(_Depth(stamp_ns, frame, decode, needs_picture))
            if len(self._pending) > LENGTH:
                self._pending.popleft()
                self._drop("depth_without_pose", "depth waited in vain for odometry of its time, and is left out")

    def ready(self) -> Iterator[Measurement]:
        """Every measurement of which everything is known by now; those that lack something are dropped."""
        while self._pending and self._poses_ns and self._poses_ns[-1] >= self._pending[0].stamp_ns and self._has_waited(self._pending[0]):
            measurement = self._completed(self._pending.popleft())
            if measurement is not None:
                yield measurement

    def _has_waited(self, depth: _Depth) -> bool:
        has_picture = not depth.needs_picture or self._picture_of(depth) is not None
        has_hands = self.hands_until_ns is None or self.hands_until_ns >= depth.stamp_ns
        return (has_picture and has_hands) or self._poses_ns[-1] - depth.stamp_ns >= WAIT_NS

    def _picture_of(self, depth: _Depth) -> _Picture | None:
        nearest = min(self._pictures, key=lambda picture: abs(picture.stamp_ns - depth.stamp_ns), default=None)
        return nearest if nearest is not None and abs(nearest.stamp_ns - depth.stamp_ns) <= PICTURE_AGE_NS else None

    def _completed(self, depth: _Depth) -> Measurement | None:
        picture = self._picture_of(depth) if depth.needs_picture else None
        if depth.needs_picture and picture is None:
            self._drop("depth_without_picture", "depth of which no picture was taken at its time is left out: it has no colors")
            return None
        if picture is not None and picture.frame != depth.frame:
            text = f"depth of frame {depth.frame!r} does not show what the picture of frame {picture.frame!r} shows: register it (align_depth)"
            self._drop("depth_not_registered", text)
            return None
        T_world_camera = self._pose_at(depth)
        if T_world_camera is None:
            return None
        return Measurement(depth.stamp_ns, depth.decode, None if picture is None else picture.decode, T_world_camera)

    def _pose_at(self, depth: _Depth) -> Transform | None:
        before = max((stamp for stamp in self._poses_ns if stamp <= depth.stamp_ns), default=None)
        after = min((stamp for stamp in self._poses_ns if stamp >= depth.stamp_ns), default=None)
        if before is None or after is None or after - before > MAX_POSE_GAP_NS:
            self._drop("depth_without_pose", "depth of a time without odometry is left out")
            return None
        if self.mount is not None:
            T_world_child = self.frames.find(self.world_frame, self._child_frame, depth.stamp_ns)
            return None if T_world_child is None else T_world_child @ self.mount
        T_world_camera = self.frames.find(self.world_frame, depth.frame, depth.stamp_ns)
        if T_world_camera is None:
            text = f"/tf_static does not connect {self._child_frame!r} to {depth.frame!r}: publish it or set T_child_optical"
            self._drop("depth_without_mount", text)
        return T_world_camera

    def _begin_anew(self) -> None:
        """Stamps jumped back: a recording began again."""
        self._poses_ns.clear()
        self._pending.clear()
        self._pictures.clear()
        self.hands_until_ns = None
        self._last_ns = 0

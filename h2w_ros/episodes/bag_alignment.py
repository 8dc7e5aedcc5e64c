"""Feeds a bag's messages to a timeline: what the conditioner node does with live topics, for recorded ones."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Condition, Image
from h2w_ros.frames import StaticFrames
from h2w_ros.geometry import Transform
from h2w_ros.rectify import Lens, Rectifier
from h2w_ros.ros_messages import hands_from_msgs, image_from_compressed, image_from_msg, lens_from_msg, partial_from_msg, pose_from_msg, stamp_to_ns
from h2w_ros.timeline import Timeline, TimelineConfig

# Messages of one moment reach a recorder in any order, pictures last; within this time they are sorted by their stamps.
SORTING_WINDOW_NS = 500_000_000
# At equal stamps: what others need comes first, and pictures before the poses that complete a tick.
ORDER = ("camera_info", "image", "ready_made_hands", "ready_made_scene", "odometry", "hands")


@dataclass(frozen=True)
class BagOptions:
    """How a bag is to be read.

    `topics`: part -> topic for parts that are not found by themselves (see `bag_topics.PARTS`). `T_child_optical`: the
    camera's optical frame in odometry's child frame, where /tf_static does not say. `is_rectified`: the pictures are
    rectified already.
    """

    topics: Mapping[str, str] = field(default_factory=dict)
    T_child_optical: Transform | None = None
    is_rectified: bool = False
    timeline: TimelineConfig = field(default_factory=TimelineConfig)


@dataclass(frozen=True)
class BagFrames:
    """Names of the camera's optical frame and of odometry's world, and what /tf_static says."""

    camera: str
    world: str
    static: StaticFrames


class Alignment:
    """Feeds a bag's messages to a timeline."""

    def __init__(self, options: BagOptions, ready_made_hands: bool, frames: BagFrames, path: Path) -> None:
        self.timeline = Timeline(replace(options.timeline, ready_made_hands=ready_made_hands))
        self.dropped: Counter[str] = Counter()
        self._options, self._frames, self._path = options, frames, path
        self._lens: Lens | None = None
        self._rectifier: Rectifier | None = None
        self._takes: dict[str, Callable[[int, Any], None]] = {
            "image": self._take_image,
            "camera_info": self._take_camera_info,
            "odometry": self._take_odometry,
            "hands": self._take_hands,
            "ready_made_hands": self._take_hand_render,
            "ready_made_scene": self._take_static_render,
        }

    @property
    def has_restarted(self) -> bool:
        """Whether the stamps jumped, so that a new recording begins."""
        return self.timeline.num_resets > 0

    def take(self, part: str, message: Any) -> list[Condition]:
        """Uses one message; returns the conditions that it completes."""
        self._takes[part](stamp_to_ns(message.header.stamp), message)
        return [] if self.has_restarted else self.timeline.advance()

    def _take_camera_info(self, _: int, message: Any) -> None:
        try:
            lens = lens_from_msg(message, self._options.is_rectified)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        if lens != self._lens:
            self._lens, self._rectifier = lens, Rectifier(lens)
            self.timeline.set_camera(self._rectifier.camera)

    def _take_image(self, stamp_ns: int, message: Any) -> None:
        self.timeline.add_image(stamp_ns, partial(self._rectified, message))

    def _take_hand_render(self, stamp_ns: int, message: Any) -> None:
        self.timeline.add_hand_render(stamp_ns, partial(_decoded, message))

    def _take_static_render(self, stamp_ns: int, message: Any) -> None:
        self.timeline.add_static_render(stamp_ns, partial(_partial, message))

    def _rectified(self, message: Any) -> Image:
        assert self._rectifier is not None  # a tick waits for the camera
        return self._rectifier(_decoded(message))

    def _take_odometry(self, stamp_ns: int, message: Any) -> None:
        T_child_optical = self._mount(message.child_frame_id)
        try:
            self.timeline.add_pose(stamp_ns, pose_from_msg(message.pose.pose) @ T_child_optical)
        except ValueError:
            self.dropped["pose_invalid"] += 1

    def _mount(self, child_frame: str) -> Transform:
        if self._options.T_child_optical is not None:
            return self._options.T_child_optical
        T_child_optical = self._frames.static.find(child_frame, self._frames.camera)
        if T_child_optical is None:
            rule = f"the bag's /tf_static must connect odometry's child frame {child_frame!r} to the camera's {self._frames.camera!r}"
            raise ValueError(f"{self._path}: {rule}, and does not; give it with --optical 'x y z qx qy qz qw'")
        return T_child_optical

    def _take_hands(self, stamp_ns: int, message: Any) -> None:
        if message.header.frame_id != self._frames.world:
            rule = f"hands must be in odometry's world frame {self._frames.world!r}"
            raise ValueError(f"{self._path}: {rule}, they are in {message.header.frame_id!r}; transform them before recording")
        reading = hands_from_msgs(message.hands)
        self.dropped.update(reason for reason, _ in reading.faults)
        self.timeline.add_hands(stamp_ns, reading.hands)


def in_order_of_stamps(messages: Iterator[tuple[int, str, Any]]) -> Iterator[tuple[str, Any]]:
    """Parts and messages sorted by header stamp within a window of recording time; (recorded_ns, part, message) come in."""
    waiting: list[tuple[int, int, int, int, str, Any]] = []
    for number, (recorded_ns, part, message) in enumerate(messages):
        while waiting and waiting[0][3] < recorded_ns - SORTING_WINDOW_NS:
            yield heapq.heappop(waiting)[4:]
        heapq.heappush(waiting, (stamp_to_ns(message.header.stamp), ORDER.index(part), number, recorded_ns, part, message))
    while waiting:
        yield heapq.heappop(waiting)[4:]


def _decoded(message: Any) -> Image:
    return image_from_msg(message) if hasattr(message, "encoding") else image_from_compressed(message)


def _partial(message: Any) -> tuple[Image, Bool[ndarray, "_ _"] | None]:
    """JPEGs have no transparent pixels."""
    return partial_from_msg(message) if hasattr(message, "encoding") else (image_from_compressed(message), None)

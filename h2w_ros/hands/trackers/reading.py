"""What every adapter gives out: the hands of one message in one frame, and what was wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.condition import SIDES, HandPose, Side
from h2w_ros.geometry import QUATERNION_NORM_TOLERANCE, Transform, cross_matrix
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.axes import to_ros
from h2w_ros.hands.trackers.conventions import Convention, in_our_order
from h2w_ros.ros_messages import MAX_POSITION_M


class Fault(NamedTuple):
    """A hand or joint that could not be used: a reason to count by, and the text with the remedy."""

    reason: str
    text: str


@dataclass(frozen=True)
class TrackerConfig:
    """How a source is read where its messages leave a choice; the empty word means the source's own."""

    convention: str = ""
    axes: str = ""
    metres_per_unit: float = 1.0
    swap_sides: bool = False
    frame_id: str = ""
    frame_pattern: str = "{side}_{joint}"
    robot: str = ""
    mano_dir: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.metres_per_unit < float("inf"):
            raise ValueError(f"metres_per_unit must be positive, got {self.metres_per_unit}; millimetres are 0.001")
        if "{side}" not in self.frame_pattern or "{joint}" not in self.frame_pattern:
            raise ValueError(f"frame_pattern must contain {{side}} and {{joint}}, got {self.frame_pattern!r}")


@dataclass(frozen=True)
class Reading:
    """Hands in the frame `frame_id`; `stamp_ns` None means that the message has none and is as old as its arrival.

    `skeletons` are still to be fitted; `hands` are poses already, as robots' hands are. `absent` are the hands of which
    the tracker says that it does not see them.
    """

    stamp_ns: int | None
    frame_id: str
    skeletons: tuple[HandSkeleton, ...] = ()
    faults: tuple[Fault, ...] = ()
    hands: tuple[HandPose, ...] = ()
    absent: tuple[Side, ...] = ()


class Reader(Protocol):
    """Reads the messages of one source, which may come on several topics, told apart by a tag."""

    def read(self, tag: str, msg: Any) -> Reading:
        """The hands that this message brings or completes."""
        ...


class Joints(NamedTuple):
    """Joints of one hand as a message lists them; what is not there is NaN."""

    positions: Float[ndarray, "n 3"]
    R: Float[ndarray, "n 3 3"]


def joints_of_poses(poses: Sequence[Any], is_valid: Bool[ndarray, "n"] | None = None) -> Joints:
    """Joints from geometry_msgs/Pose; those that are said to be invalid are NaN, and so are orientations of length 0."""
    positions = np.array([[p.position.x, p.position.y, p.position.z] for p in poses], dtype=np.float64).reshape(-1, 3)
    R = rotations_of([(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses])
    if is_valid is not None:
        positions[~is_valid] = np.nan
        R[~is_valid] = np.nan
    return Joints(positions, R)


def rotations_of(quaternions_xyzw: Sequence[Sequence[float]]) -> Float[ndarray, "n 3 3"]:
    """Rotation matrices; NaN for what is not a unit quaternion, as trackers send zeros where they know nothing."""
    q = np.array(quaternions_xyzw, dtype=np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        norm = np.linalg.norm(q, axis=1, keepdims=True)
        unit = np.where(np.abs(norm - 1.0) <= QUATERNION_NORM_TOLERANCE, q / np.where(norm > 0.0, norm, 1.0), np.nan)
    cross = cross_matrix(unit[:, :3])
    return np.eye(3) + 2.0 * (unit[:, 3, None, None] * cross + cross @ cross)


def side_of(name: str, config: TrackerConfig) -> Side:
    """The side that a source's word means; ValueError for one that is no side."""
    lowered = name.lower()
    if lowered not in SIDES:
        raise ValueError(f"a hand's side must be 'left' or 'right', got {name!r}")
    return "left" if (lowered == "left") != config.swap_sides else "right"


def skeleton_of(side: str, row: Convention, joints: Joints, config: TrackerConfig, axes: str, confidence: float = 1.0) -> HandSkeleton:
    """A hand from the joints that a convention lists, in metres and ROS's axes; ValueError for a side that is no side.

    Joints that are at no place on earth are missing.
    """
    is_somewhere = np.abs(joints.positions) <= MAX_POSITION_M / config.metres_per_unit
    positions, R = to_ros(config.axes or axes, config.metres_per_unit * np.where(is_somewhere, joints.positions, np.nan), joints.R)
    turns = in_our_order(row, R)[:16] if row.has_openxr_axes else np.full((16, 3, 3), np.nan)
    return HandSkeleton(side_of(side, config), in_our_order(row, positions), R_world_joint=turns, confidence=confidence)


def moved(skeleton: HandSkeleton, T_a_b: Transform) -> HandSkeleton:
    """A hand in frame b, seen from frame a."""
    R = T_a_b[:3, :3]
    return replace(skeleton, points_world=skeleton.points_world @ R.T + T_a_b[:3, 3], R_world_joint=R @ skeleton.R_world_joint)


def one_a_side(skeletons: Sequence[HandSkeleton], faults: Sequence[Fault] = ()) -> tuple[tuple[HandSkeleton, ...], tuple[Fault, ...]]:
    """At most one hand a side, the first; the others are faults."""
    kept: dict[Side, HandSkeleton] = {}
    found = list(faults)
    for skeleton in skeletons:
        if skeleton.side in kept:
            found.append(Fault("hand_side_twice", f"a message holds at most one {skeleton.side} hand; the first is used"))
        else:
            kept[skeleton.side] = skeleton
    return tuple(kept.values()), tuple(found)

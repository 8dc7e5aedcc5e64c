"""Adapters of messages that hold whole hands. Messages are read by their field names, so no ROS package is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from h2w_ros.condition import SIDES, Side
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.conventions import CONVENTIONS, Convention, convention
from h2w_ros.hands.trackers.names import canonical_name
from h2w_ros.hands.trackers.reading import Fault, Joints, Reading, TrackerConfig, joints_of_poses, rotations_of, side_of, skeleton_of
from h2w_ros.ros_messages import SIDES as SIDE_NUMBERS
from h2w_ros.ros_messages import stamp_to_ns

# Manus calls bones by anatomists' abbreviations: MCP is the metacarpal, which MediaPipe does not have.
MANUS_BONES = {
    "mcp": "metacarpal",
    "pip": "proximal",
    "ip": "intermediate",
    "dip": "distal",
    "tip": "tip",
    **{bone: bone for bone in ("metacarpal", "proximal", "intermediate", "distal")},
}
MANUS_WRIST = "hand"


class SkeletonReader:
    """h2w_msgs/HandSkeleton, our own: the convention and the side are in the message."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def read(self, tag: str, msg: Any) -> Reading:
        """The hand of the message; a negative confidence says that there is none."""
        del tag
        stamp_ns, frame = stamp_to_ns(msg.header.stamp), msg.header.frame_id
        try:
            side = self._side(msg)
            if not msg.confidence >= 0.0:
                return Reading(stamp_ns, frame, absent=(side_of(side, self._config),))
            skeleton, faults = self._skeleton(msg, side)
        except ValueError as error:
            return Reading(stamp_ns, frame, faults=(Fault("hand_invalid", str(error)),))
        return Reading(stamp_ns, frame, (skeleton,), faults)

    @staticmethod
    def _side(msg: Any) -> str:
        if msg.side not in SIDE_NUMBERS:
            raise ValueError(f"hand side must be one of {SIDE_NUMBERS}, got {msg.side}")
        return SIDE_NUMBERS[msg.side]

    def _skeleton(self, msg: Any, side: str) -> tuple[HandSkeleton, tuple[Fault, ...]]:
        count = len(msg.positions)
        positions = np.array([[p.x, p.y, p.z] for p in msg.positions], dtype=np.float64).reshape(-1, 3)
        R = rotations_of([(q.x, q.y, q.z, q.w) for q in msg.orientations] or [(0.0, 0.0, 0.0, 0.0)] * count)
        is_valid = np.array(msg.valid, dtype=bool) if len(msg.valid) else np.ones(count, dtype=bool)
        if len(R) != count or len(is_valid) != count:
            raise ValueError(f"orientations and valid must be as many as the {count} positions, or none; got {len(R)} and {len(is_valid)}")
        positions[~is_valid] = np.nan
        R[~is_valid] = np.nan
        if len(msg.joint_names):
            row, joints, faults = by_names(msg.joint_names, Joints(positions, R), msg.convention == "openxr26")
        else:
            row, joints, faults = convention(self._config.convention or msg.convention, count), Joints(positions, R), ()
        confidence = min(float(msg.confidence), 1.0)
        return skeleton_of(side, row, joints, self._config, "ros", confidence), faults


class PoseArrayReader:
    """geometry_msgs/PoseArray in a named convention; the tag says which side its topic is of."""

    def __init__(self, config: TrackerConfig, default_convention: str = "", axes: str = "ros") -> None:
        self._config, self._axes = config, axes
        self._convention = config.convention or default_convention
        if not self._convention:
            raise ValueError(f"a PoseArray does not name its joints: set convention to one of {sorted(CONVENTIONS)}")

    def read(self, tag: str, msg: Any) -> Reading:
        """The hand of the message; no poses say that there is none."""
        stamp_ns, frame = stamp_to_ns(msg.header.stamp), msg.header.frame_id
        if not len(msg.poses):
            return Reading(stamp_ns, frame, absent=(side_of(tag, self._config),))
        try:
            row = convention(self._convention, len(msg.poses))
            return Reading(stamp_ns, frame, (skeleton_of(tag, row, joints_of_poses(msg.poses), self._config, self._axes),))
        except ValueError as error:
            return Reading(stamp_ns, frame, faults=(Fault("hand_invalid", str(error)),))


class ManusReader:
    """manus_ros2_msgs/ManusGlove: 25 nodes by chain and bone, without header or stamp."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def read(self, tag: str, msg: Any) -> Reading:
        """The glove's hand, as old as its arrival, in the configured frame, which may name its {side}."""
        del tag
        frame = self._config.frame_id.replace("{side}", msg.side.lower())
        names = [self._name(node) for node in msg.raw_nodes]
        faults = _unknown([f"{n.chain_type} {n.joint_type}" for n, name in zip(msg.raw_nodes, names, strict=True) if name is None])
        known = [place for place, name in enumerate(names) if name is not None]
        joints = joints_of_poses([msg.raw_nodes[place].pose for place in known])
        try:
            row = Convention(tuple(str(names[place]) for place in known))
            return Reading(None, frame, (skeleton_of(msg.side, row, joints, self._config, "ros"),), faults)
        except ValueError as error:
            return Reading(None, frame, faults=(*faults, Fault("hand_invalid", str(error))))

    @staticmethod
    def _name(node: Any) -> str | None:
        chain, bone = node.chain_type.lower(), MANUS_BONES.get(node.joint_type.lower())
        return "wrist" if chain == MANUS_WRIST else canonical_name(f"{chain}_{bone}")


class NamedPosesReader:
    """Isaac Teleop's NamedPoseArray: names that begin with the side, zero poses where is_valid is false."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def read(self, tag: str, msg: Any) -> Reading:
        """Both hands; one without any valid joint is absent."""
        del tag
        stamp_ns, frame = stamp_to_ns(msg.header.stamp), msg.header.frame_id
        if not len(msg.name) == len(msg.pose) == len(msg.is_valid):
            text = f"name, pose and is_valid must be equally long, got {len(msg.name)}, {len(msg.pose)} and {len(msg.is_valid)}"
            return Reading(stamp_ns, frame, faults=(Fault("hand_invalid", text),))
        joints = joints_of_poses(msg.pose, np.array(msg.is_valid, dtype=bool))
        skeletons: list[HandSkeleton] = []
        absent: list[Side] = []
        faults = _unknown([name for name in msg.name if not name.lower().startswith(SIDES)])
        for side in SIDES:
            own = [place for place, name in enumerate(msg.name) if name.lower().startswith(side) and msg.is_valid[place]]
            if not own:
                absent.append(side_of(side, self._config))
            else:
                row, hand, unknown = by_names([msg.name[place][len(side) :] for place in own], Joints(*(values[own] for values in joints)), True)
                skeletons.append(skeleton_of(side, row, hand, self._config, "ros"))
                faults += unknown
        return Reading(stamp_ns, frame, tuple(skeletons), faults, absent=tuple(absent))


class HoloLensReader:
    """angel_msgs/HandJointPosesUpdate: named joints of one hand in the headset's axes (y up, z backwards)."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def read(self, tag: str, msg: Any) -> Reading:
        """The hand of the message."""
        del tag
        stamp_ns, frame = stamp_to_ns(msg.header.stamp), msg.header.frame_id
        row, joints, faults = by_names([joint.joint for joint in msg.joints], joints_of_poses([joint.pose for joint in msg.joints]), True)
        try:
            return Reading(stamp_ns, frame, (skeleton_of(msg.hand, row, joints, self._config, "openxr"),), faults)
        except ValueError as error:
            return Reading(stamp_ns, frame, faults=(*faults, Fault("hand_invalid", str(error))))


def by_names(names: Sequence[str], joints: Joints, has_openxr_axes: bool) -> tuple[Convention, Joints, tuple[Fault, ...]]:
    """An order made of the names of a message, its known joints, and a fault that lists the names that nobody knows."""
    found = [canonical_name(name) for name in names]
    known = [place for place, name in enumerate(found) if name is not None]
    row = Convention(tuple(str(found[place]) for place in known), has_openxr_axes)
    unknown = [name for name, canonical in zip(names, found, strict=True) if canonical is None]
    return row, Joints(*(values[known] for values in joints)), _unknown(unknown)


def _unknown(names: Sequence[str]) -> tuple[Fault, ...]:
    if not names:
        return ()
    return (Fault("joint_unknown", f"joint names {sorted(set(names))} are not known; they are left out (names.py lists what is)"),)

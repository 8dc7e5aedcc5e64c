"""Adapters of hands that come in pieces: a wrist and what hangs on it, or one frame a joint."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from h2w_ros.condition import SIDES
from h2w_ros.frames import StaticFrames
from h2w_ros.geometry import Transform
from h2w_ros.hands.trackers.conventions import Convention, convention
from h2w_ros.hands.trackers.names import canonical_name
from h2w_ros.hands.trackers.reading import Fault, Joints, Reading, TrackerConfig, joints_of_poses, skeleton_of
from h2w_ros.ros_messages import pose_from_msg, stamp_to_ns, transform_from_msg

# A wrist and its landmarks that are further apart in time than this belong to different moments.
SAME_MOMENT_NS = 20_000_000


class WristAndLandmarksReader:
    """A wrist in the world (PoseStamped), and joints in the wrist's frame (PoseArray): Quest, Vision Pro.

    Tags are "left wrist", "left landmarks" and so on. A hand is given out when both pieces of one moment are there.
    """

    def __init__(self, config: TrackerConfig, default_convention: str = "points21") -> None:
        self._config, self._convention = config, config.convention or default_convention
        self._waiting: dict[str, dict[str, Any]] = {side: {} for side in SIDES}

    def read(self, tag: str, msg: Any) -> Reading:
        """The hand that this piece completes, if it does."""
        side, piece = tag.split()
        stamp_ns = stamp_to_ns(msg.header.stamp)
        self._waiting[side][piece] = msg
        wrist, landmarks = (self._waiting[side].get(name) for name in ("wrist", "landmarks"))
        if wrist is None or landmarks is None:
            return Reading(stamp_ns, msg.header.frame_id)
        if abs(stamp_to_ns(wrist.header.stamp) - stamp_to_ns(landmarks.header.stamp)) > SAME_MOMENT_NS:
            return Reading(stamp_ns, msg.header.frame_id)
        self._waiting[side].clear()
        try:
            T_frame_wrist = pose_from_msg(wrist.pose)
            row = convention(self._convention, len(landmarks.poses))
            positions, R = joints_of_poses(landmarks.poses)
            joints = Joints(positions @ T_frame_wrist[:3, :3].T + T_frame_wrist[:3, 3], T_frame_wrist[:3, :3] @ R)
            skeleton = skeleton_of(side, row, joints, self._config, "ros")
        except ValueError as error:
            return Reading(stamp_ns, wrist.header.frame_id, faults=(Fault("hand_invalid", str(error)),))
        return Reading(stamp_to_ns(landmarks.header.stamp), wrist.header.frame_id, (skeleton,))


class TfReader:
    """tf2_msgs/TFMessage: one frame a joint, named by a pattern, each under any parent that leads to `frame_id`.

    Joints that a message does not update are missing from its hand: a hand is of one moment.
    """

    def __init__(self, config: TrackerConfig) -> None:
        if not config.frame_id:
            raise ValueError("hands from /tf need frame_id, the frame in which they are to be found")
        self._config = config
        self._frames = StaticFrames()
        before, between, after = re.split(r"\{side\}|\{joint\}", config.frame_pattern)
        is_side_first = config.frame_pattern.index("{side}") < config.frame_pattern.index("{joint}")
        side, joint = "(?P<side>left|right)", "(?P<joint>.+)"
        first, second = (side, joint) if is_side_first else (joint, side)
        self._pattern = re.compile(re.escape(before) + first + re.escape(between) + second + re.escape(after), re.IGNORECASE)

    def read(self, tag: str, msg: Any) -> Reading:
        """The hands whose frames this message moves."""
        del tag
        moved: dict[str, dict[str, str]] = {}
        faults: list[Fault] = []
        stamp_ns = 0
        for edge in msg.transforms:
            try:
                self._frames.add(edge.header.frame_id, edge.child_frame_id, transform_from_msg(edge.transform))
            except ValueError as error:
                faults.append(Fault("tf_invalid", f"{edge.header.frame_id} to {edge.child_frame_id}: {error}"))
                continue
            match = self._pattern.fullmatch(edge.child_frame_id)
            name = canonical_name(match["joint"]) if match else None
            if match and name:
                moved.setdefault(match["side"].lower(), {})[name] = edge.child_frame_id
                stamp_ns = max(stamp_ns, stamp_to_ns(edge.header.stamp))
        skeletons = []
        for side, frames in moved.items():
            found = {name: T for name, frame in frames.items() if (T := self._frames.find(self._config.frame_id, frame)) is not None}
            if len(found) < len(frames):
                faults.append(Fault("tf_unconnected", f"/tf does not connect {len(frames) - len(found)} {side} frames to {self._config.frame_id!r}"))
            if found:
                skeletons.append(skeleton_of(side, Convention(tuple(found)), _joints(list(found.values())), self._config, "ros"))
        return Reading(stamp_ns, self._config.frame_id, tuple(skeletons), tuple(faults))


def _joints(transforms: list[Transform]) -> Joints:
    stacked = np.stack(transforms)
    return Joints(stacked[:, :3, 3], stacked[:, :3, :3])

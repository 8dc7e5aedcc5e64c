"""Every source of hands: which topics it speaks on, in which messages, and who reads them. A new tracker is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from h2w_ros.condition import SIDES
from h2w_ros.hands.robots.reader import RobotReader
from h2w_ros.hands.trackers.assembled import TfReader, WristAndLandmarksReader
from h2w_ros.hands.trackers.messages import HoloLensReader, ManusReader, NamedPosesReader, PoseArrayReader, SkeletonReader
from h2w_ros.hands.trackers.reading import Reader, TrackerConfig


class Input(NamedTuple):
    """A topic by its name before remapping, its message type, and the tag that tells it apart."""

    topic: str
    kind: str
    tag: str = ""


@dataclass(frozen=True)
class Source:
    """A row: the topics, the reader, and whether lengths are metres (else they are scaled at calibration)."""

    inputs: tuple[Input, ...]
    make: Callable[[TrackerConfig], Reader]
    text: str
    is_metric: bool = True


_WRISTS_AND_LANDMARKS = tuple(
    Input(f"hands/{side}/{topic}", f"geometry_msgs/msg/{kind}", f"{side} {piece}")
    for side in SIDES
    for topic, kind, piece in (("wrist_pose", "PoseStamped", "wrist"), ("landmarks", "PoseArray", "landmarks"))
)
_POSE_ARRAYS = tuple(Input(f"{side}_hand", "geometry_msgs/msg/PoseArray", side) for side in SIDES)

SOURCES: Mapping[str, Source] = {
    "skeleton": Source((Input("hand_skeletons", "h2w_msgs/msg/HandSkeleton"),), SkeletonReader, "our own message, any convention"),
    "pose_array": Source(_POSE_ARRAYS, PoseArrayReader, "a PoseArray a hand in the convention of the parameter"),
    "manus": Source(
        tuple(Input(f"manus_glove_{number}", "manus_ros2_msgs/msg/ManusGlove") for number in range(2)),
        ManusReader,
        "Manus gloves, stamped on arrival",
    ),
    "isaac_teleop": Source((Input("xr_teleop/hand", "teleop_ros2_interfaces/msg/NamedPoseArray"),), NamedPosesReader, "Isaac Teleop, both hands"),
    "quest": Source(_WRISTS_AND_LANDMARKS, WristAndLandmarksReader, "Quest: wrist pose and 21 landmarks in the wrist's frame"),
    "vision_pro": Source(
        _WRISTS_AND_LANDMARKS,
        partial(WristAndLandmarksReader, default_convention="wrist25"),
        "Vision Pro: wrist pose and 25 (27) joints in its frame",
    ),
    "hololens": Source((Input("HandJointPoseData", "angel_msgs/msg/HandJointPosesUpdate"),), HoloLensReader, "HoloLens 2, 26 named joints"),
    "mediapipe": Source(
        _POSE_ARRAYS,
        partial(PoseArrayReader, default_convention="points21", axes="optical"),
        "MediaPipe's world landmarks as a PoseArray a hand",
        is_metric=False,
    ),
    "robot": Source((Input("joint_states", "sensor_msgs/msg/JointState"),), RobotReader, "a robot's own hand: models/robots/README.md"),
    "tf": Source((Input("/tf", "tf2_msgs/msg/TFMessage"),), TfReader, "a frame a joint, named by frame_pattern"),
}


def source(name: str) -> Source:
    """The row of this name; ValueError with the names there are."""
    if name not in SOURCES:
        raise ValueError(f"tracker must be one of {sorted(SOURCES)}, got {name!r}")
    return SOURCES[name]

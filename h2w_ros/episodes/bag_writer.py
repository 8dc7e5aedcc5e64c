"""Writes any recording as a ROS 2 bag (MCAP) of the messages a robot would have sent. Needs no ROS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from h2w_ros import geometry
from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.episodes.bag_topics import READY_MADE_HANDS, READY_MADE_SCENE, RECORDING_INFO
from h2w_ros.episodes.recording import UNKNOWN
from h2w_ros.episodes.typestore import ros_typestore
from h2w_ros.ros_messages import LEFT, NS_PER_S, RIGHT

WORLD_FRAME = "odom"
CAMERA_FRAME = "camera_optical_frame"
SIDE_NUMBERS = {"left": LEFT, "right": RIGHT}


@dataclass(frozen=True)
class BagFormat:
    """How pictures are stored: `jpeg_quality` 1..100 for camera pictures, None for raw ones. Ready-made pictures are always raw."""

    jpeg_quality: int | None = 90

    def __post_init__(self) -> None:
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be in 1..100 or None, got {self.jpeg_quality}")


def write_bag(
    path: Path | str,
    conditions: Iterable[Condition],
    domain: str = UNKNOWN,
    description: Mapping[str, Any] | None = None,
    bag_format: BagFormat | None = None,
) -> int:
    """Writes conditions as messages on the nodes' default topics; returns how many.

    A path that ends in .mcap becomes that file, any other a rosbag2 folder. Hands go out as poses; a condition with a
    ready-made hand render and no hands sends the picture instead. Odometry is of the optical frame itself. Recordings
    that begin at stamp 0 are moved on by a second, because ROS reads a stamp of zero as "not filled in".
    """
    chosen = bag_format or BagFormat()
    count = 0
    with growing_bag(Path(path)) as writer:
        out = TopicSink(writer)
        for count, condition in enumerate(on_ros_clock(conditions), 1):
            if count == 1:
                out.send(RECORDING_INFO, condition.stamp_ns, recording_info_msg(domain, description))
            for topic, content in messages_of(condition, chosen):
                out.send(topic, condition.stamp_ns, content)
    return count


def on_ros_clock(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The same conditions; those of a recording that begins at stamp 0 or before are moved so that it begins at 1 s."""
    delay_ns = None
    for condition in conditions:
        if delay_ns is None:
            delay_ns = 0 if condition.stamp_ns > 0 else NS_PER_S - condition.stamp_ns
        yield replace(condition, stamp_ns=condition.stamp_ns + delay_ns)


def messages_of(condition: Condition, bag_format: BagFormat) -> Iterator[tuple[str, Any]]:
    """Topic and message of everything that a condition holds; numbers last, because they complete a moment."""
    if condition.image is not None and bag_format.jpeg_quality is not None:
        yield "/image_raw/compressed", compressed_msg(condition.image, condition.stamp_ns, bag_format.jpeg_quality)
    elif condition.image is not None:
        yield "/image_raw", image_msg(condition.image, condition.stamp_ns)
    if condition.static_render is not None:
        yield READY_MADE_SCENE, image_msg(condition.static_render, condition.stamp_ns, condition.static_known)
    yield "/camera_info", camera_info_msg(condition.camera, condition.stamp_ns)
    yield "/odometry", odometry_msg(condition.T_world_camera, condition.stamp_ns)
    if condition.hand_render is not None and not condition.hands:
        yield READY_MADE_HANDS, image_msg(condition.hand_render, condition.stamp_ns)
    else:
        yield "/hands", hands_msg(condition.hands, condition.stamp_ns)


def recording_info_msg(domain: str, description: Mapping[str, Any] | None) -> Any:
    """A std_msgs/String that says in JSON what a recording shows and where it comes from."""
    return message("std_msgs/msg/String", data=json.dumps({"domain": domain, "description": dict(description or {})}))


def message(kind: str, **fields: Any) -> Any:
    """A message of this type."""
    return ros_typestore().types[kind](**fields)


def header_msg(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    stamp = message("builtin_interfaces/msg/Time", sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image_msg(picture: Image, stamp_ns: int, known: Bool[ndarray, "_ _"] | None = None) -> Any:
    """A sensor_msgs/Image in rgb8; in rgba8 where the picture shows something in some places only, and is transparent elsewhere."""
    height_px, width_px, _ = picture.shape
    pixels = picture if known is None else np.dstack([picture, np.where(known, np.uint8(255), np.uint8(0))])
    return message(
        "sensor_msgs/msg/Image",
        header=header_msg(stamp_ns, CAMERA_FRAME),
        height=height_px,
        width=width_px,
        encoding="rgb8" if known is None else "rgba8",
        is_bigendian=0,
        step=pixels.shape[2] * width_px,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def compressed_msg(picture: Image, stamp_ns: int, quality: int) -> Any:
    """A sensor_msgs/CompressedImage with a JPEG."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    header = header_msg(stamp_ns, CAMERA_FRAME)
    return message("sensor_msgs/msg/CompressedImage", header=header, format="rgb8; jpeg compressed bgr8", data=encoded.reshape(-1))


def camera_info_msg(camera: Camera, stamp_ns: int) -> Any:
    """A sensor_msgs/CameraInfo of a pinhole; principal points count from the first pixel's centre there."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5
    return message(
        "sensor_msgs/msg/CameraInfo",
        header=header_msg(stamp_ns, CAMERA_FRAME),
        height=camera.height_px,
        width=camera.width_px,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]),
        r=np.eye(3).ravel(),
        p=np.array([fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]),
        binning_x=0,
        binning_y=0,
        roi=message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def odometry_msg(T_world_camera: geometry.Transform, stamp_ns: int) -> Any:
    """A nav_msgs/Odometry of the optical frame; velocities are zero with unknown (negative) covariance."""
    zero = message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    unknown = np.zeros(36)
    unknown[0] = -1.0
    return message(
        "nav_msgs/msg/Odometry",
        header=header_msg(stamp_ns, WORLD_FRAME),
        child_frame_id=CAMERA_FRAME,
        pose=message("geometry_msgs/msg/PoseWithCovariance", pose=pose_msg(T_world_camera), covariance=np.zeros(36)),
        twist=message(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=message("geometry_msgs/msg/Twist", linear=zero, angular=zero),
            covariance=unknown,
        ),
    )


def pose_msg(T_a_b: geometry.Transform) -> Any:
    """A geometry_msgs/Pose of b in a."""
    x, y, z, w = (float(number) for number in geometry.quaternion_from_rotation(T_a_b[:3, :3]))
    position = message("geometry_msgs/msg/Point", **dict(zip("xyz", map(float, T_a_b[:3, 3]), strict=True)))
    return message("geometry_msgs/msg/Pose", position=position, orientation=message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w))


def hands_msg(hands: tuple[HandPose, ...], stamp_ns: int) -> Any:
    """An h2w_msgs/Hands; without hands it says that none is seen."""
    return message("h2w_msgs/msg/Hands", header=header_msg(stamp_ns, WORLD_FRAME), hands=[_hand_msg(hand) for hand in hands])


def _hand_msg(hand: HandPose) -> Any:
    return message(
        "h2w_msgs/msg/HandPose",
        side=SIDE_NUMBERS[hand.side],
        wrist=pose_msg(hand.T_world_wrist),
        joint_angles_rad=hand.joint_angles_rad,
        betas=hand.betas,
        confidence=hand.confidence,
    )


class TopicSink:
    """Sends messages to topics, each opened when it is first used."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Any] = {}

    def send(self, topic: str, stamp_ns: int, content: Any) -> None:
        """Writes one message as recorded at this time."""
        kind = content.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=ros_typestore())
        self._writer.write(self._connections[topic], stamp_ns, ros_typestore().serialize_cdr(content, kind))


@contextmanager
def growing_bag(path: Path) -> Iterator[Writer]:
    """A bag that grows in a hidden folder and gets its name when it is whole."""
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.stem}.partial") / path.stem
    shutil.rmtree(folder.parent, ignore_errors=True)
    try:
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            yield writer
        grown = folder / f"{folder.name}.mcap" if path.suffix == ".mcap" else folder
        grown.rename(path)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)

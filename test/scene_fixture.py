"""A robot with a depth camera above a table, and the nodes that look at it."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from robot_fixture import OPTICAL
from ros_fixture import PERIOD_NS, START_NS, Ros, wait_until
from scenes import CAMERA, head, table_depth, table_picture
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Hands
from h2w_ros.depth_messages import COMPRESSED_HEADER
from h2w_ros.geometry import Transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.clouds import points_to_msg
from h2w_ros.nodes.images import bytes_field, header, image_to_msg
from h2w_ros.nodes.messages import camera_info, odometry_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.scene import Scene
from h2w_ros.scene.depth import surface_points

RELIABLE = {
    f"qos_overrides./{topic}.subscription.{policy}": value
    for topic in (*topics.INPUTS, topics.DEPTH, topics.DEPTH_COMPRESSED, topics.DEPTH_POINTS)
    if topic != topics.READY_MADE_HANDS
    for policy, value in (("reliability", "reliable"), ("depth", 50))
}


def place(number: int) -> Transform:
    """Where the head is at the moment of this number."""
    return head(0.01 * number)


def stamp(number: int) -> int:
    return START_NS + number * PERIOD_NS


def depth_msg(depth: np.ndarray, stamp_ns: int, encoding: str = "16UC1", frame: str = OPTICAL) -> ImageMsg:
    values = (depth * 1000).round().astype(np.uint16) if encoding == "16UC1" else depth.astype(np.float32)
    height, width = values.shape
    msg = ImageMsg(header=header(stamp_ns, frame), height=height, width=width, encoding=encoding, step=values.itemsize * width)
    msg.data = bytes_field(np.ascontiguousarray(values).view(np.uint8))
    return msg


def compressed_depth_msg(depth: np.ndarray, stamp_ns: int) -> CompressedImage:
    png = cv2.imencode(".png", (depth * 1000).round().astype(np.uint16))[1].tobytes()
    return CompressedImage(header=header(stamp_ns, OPTICAL), format="16UC1; compressedDepth png", data=COMPRESSED_HEADER.pack(0, 0.0, 0.0) + png)


def cloud_msg(depth: np.ndarray, T_world_camera: Transform, stamp_ns: int) -> PointCloud2:
    """What a depth camera's driver makes of its picture: points in the camera's frame."""
    points = surface_points(table_picture(T_world_camera), depth, CAMERA, np.eye(4))
    msg = points_to_msg(points, stamp_ns, OPTICAL)
    msg.fields = msg.fields[:4]  # drivers know no radius
    return msg


class DepthRobot:
    """Publishes what a robot with a depth camera publishes."""

    def __init__(self, ros: Ros, kind: type = ImageMsg, topic: str = topics.DEPTH) -> None:
        self.depth = ros.publisher(kind, topic)
        self.image = ros.publisher(ImageMsg, topics.IMAGE)
        self.info = ros.publisher(CameraInfo, topics.CAMERA_INFO)
        self.odometry = ros.publisher(Odometry, topics.ODOMETRY)
        self.hands = ros.publisher(Hands, topics.HANDS)
        outputs = (self.depth, self.image, self.info, self.odometry, self.hands)
        assert wait_until(lambda: all(output.get_subscription_count() for output in outputs))

    def look(self, number: int, depth: Any = None, parts: tuple[str, ...] = ("info", "image", "depth", "odometry")) -> None:
        """Everything of one moment; `depth` is a message instead of what would be measured."""
        T_world_camera, stamp_ns = place(number), stamp(number)
        if "info" in parts:
            self.info.publish(camera_info(CAMERA, stamp_ns, OPTICAL))
        if "image" in parts:
            self.image.publish(image_to_msg(table_picture(T_world_camera), stamp_ns, OPTICAL))
        if "depth" in parts:
            self.depth.publish(depth_msg(table_depth(T_world_camera), stamp_ns) if depth is None else depth)
        if "odometry" in parts:
            self.odometry.publish(odometry_to_msg(T_world_camera, stamp_ns, "odom", OPTICAL))
        time.sleep(0.03)


def scene_node(ros: Ros, **parameters: object) -> Scene:
    told = {"fuse_every_s": 0.0, "publish_every_s": 0.1, **RELIABLE, **parameters}
    return ros.add(Scene(context=ros.context, parameter_overrides=overrides(**told)))


def fused(node: Scene) -> int:
    return int(node._health().values["fused"])


def dropped(node: Any) -> dict[str, int]:
    """What a node counts, by reason."""
    return {key.removeprefix("dropped."): int(value) for key, value in node._health().values.items() if key.startswith("dropped.")}

"""A robot that publishes, and our nodes as tests start them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from ros_fixture import PATIENT, EchoSession, Ros, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Hands
from h2w_msgs.srv import ResetSession
from h2w_ros.condition import Condition
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import header, image_to_compressed, image_to_msg
from h2w_ros.nodes.messages import camera_info, hands_to_msg, odometry_to_msg, pose_to_msg
from h2w_ros.nodes.params import overrides

OPTICAL = "camera_optical_frame"


class Robot:
    """Publishes what a robot publishes; pictures before numbers, as a recording does."""

    def __init__(self, ros: Ros, is_compressed: bool = False, child_frame: str = OPTICAL, namespace: str = "", has_hands: bool = True) -> None:
        self.is_compressed, self.child_frame = is_compressed, child_frame
        kind, topic = (CompressedImage, topics.IMAGE_COMPRESSED) if is_compressed else (ImageMsg, topics.IMAGE)
        self.image = ros.publisher(kind, namespace + topic)
        self.info = ros.publisher(CameraInfo, namespace + topics.CAMERA_INFO)
        self.odometry = ros.publisher(Odometry, namespace + topics.ODOMETRY)
        self.hands = ros.publisher(Hands, namespace + topics.HANDS)
        outputs = (self.image, self.info, self.odometry, *((self.hands,) if has_hands else ()))
        assert wait_until(lambda: all(output.get_subscription_count() for output in outputs))

    def send(self, condition: Condition, hands_frame: str = "odom", has_pose: bool = True, has_hands: bool = True) -> None:
        stamp_ns = condition.stamp_ns
        self.info.publish(camera_info(condition.camera, stamp_ns, OPTICAL))
        if condition.image is not None:
            to_msg = image_to_compressed if self.is_compressed else image_to_msg
            self.image.publish(to_msg(condition.image, stamp_ns, OPTICAL))
        if has_pose:
            self.odometry.publish(odometry_to_msg(condition.T_world_camera, stamp_ns, "odom", self.child_frame))
        if has_hands:
            self.hands.publish(hands_to_msg(condition.hands, stamp_ns, hands_frame))

    def send_compressed(self, stamp_ns: int, data: bytes) -> None:
        """Any bytes in the place of a picture."""
        self.image.publish(CompressedImage(header=header(stamp_ns, OPTICAL), format="jpeg", data=data))

    def play(self, moments: list[Condition], period_s: float = 0.02) -> None:
        for moment in moments:
            self.send(moment)
            time.sleep(period_s)


def edge(parent: str, child: str, T_parent_child: np.ndarray) -> TransformStamped:
    msg, pose = TransformStamped(child_frame_id=child), pose_to_msg(T_parent_child)
    msg.header.frame_id, msg.transform.rotation = parent, pose.orientation
    for axis in "xyz":
        setattr(msg.transform.translation, axis, getattr(pose.position, axis))
    return msg


def values_of(msgs: list[DiagnosticArray], node: str) -> dict[str, str]:
    """The latest diagnostics of a node."""
    statuses = [status for msg in msgs for status in msg.status if status.name == f"/{node}"]
    return {item.key: item.value for item in statuses[-1].values} if statuses else {}


def message_of(msgs: list[DiagnosticArray], node: str) -> str:
    """What the node's latest status says."""
    statuses = [status for msg in msgs for status in msg.status if status.name == f"/{node}"]
    return statuses[-1].message if statuses else ""


def warnings_of(node: Any) -> list[str]:
    """Warnings of the node from now on."""
    warnings: list[str] = []
    node.get_logger().warning = warnings.append
    return warnings


def problem_of(msgs: list[DiagnosticArray], node: str) -> str:
    """The node's latest status when it is an error, else nothing."""
    statuses = [status for msg in msgs for status in msg.status if status.name == f"/{node}"]
    return statuses[-1].message if statuses and statuses[-1].level == statuses[-1].ERROR else ""


def conditioner(ros: Ros, **parameters: object) -> Conditioner:
    return ros.add(Conditioner(context=ros.context, parameter_overrides=overrides(**PATIENT, **parameters)))


def generator(ros: Ros, session: EchoSession, **parameters: object) -> Generator:
    parameters = {"inbox_length": 50, **parameters}
    return ros.add(Generator(lambda config: session, context=ros.context, parameter_overrides=overrides(**parameters)))


def call_reset(ros: Ros, **request: object) -> ResetSession.Response:
    client = ros.node.create_client(ResetSession, topics.RESET_SESSION)
    assert client.wait_for_service(5.0)
    future = client.call_async(ResetSession.Request(**request))
    assert wait_until(future.done)
    return future.result()

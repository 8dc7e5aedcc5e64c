"""Pictures of a camera through the real node; what MediaPipe would see is known."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import pytest

pytest.importorskip("rclpy")

from annotate_world import CAMERA, sighting_of
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from robot_fixture import message_of, values_of
from ros_fixture import START_NS, Ros, wait_until
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg
from test_annotate_hands import AT, waving
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Hands
from h2w_ros.geometry import apply, rotation_from_axis_angle, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.nodes import hand_tracker, topics
from h2w_ros.nodes.hand_tracker import MARKERS, HandTracker
from h2w_ros.nodes.images import header, image_to_msg
from h2w_ros.nodes.messages import camera_info, pose_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import hands_from_msgs

PERIOD_NS = 62_500_000
NUM_FRAMES = 8


class Seer:
    """Answers in MediaPipe's place."""

    def __init__(self, answers):
        self.answers, self.pictures, self.is_closed = deque(answers), [], False

    def find(self, picture):
        self.pictures.append(picture)
        return self.answers.popleft() if self.answers else ()

    def close(self):
        self.is_closed = True


def tracker(ros: Ros, seer: Seer, **parameters: object) -> HandTracker:
    return ros.add(HandTracker(lambda config: seer, context=ros.context, parameter_overrides=overrides(**parameters)))


def seen(*hands_of):
    rng = np.random.default_rng(0)
    return [tuple(sighting_of(hand, CAMERA, AT, rng) for hand in hands) for hands in zip(*hands_of, strict=True)]


def picture_msg(index: int) -> ImageMsg:
    picture = np.zeros((CAMERA.height_px, CAMERA.width_px, 3), np.uint8)
    picture[:, :10] = 255
    return image_to_msg(picture, START_NS + index * PERIOD_NS, "head_camera")


def points_of(hand):
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def show(ros: Ros, heard: list, number: int) -> None:
    """Pictures one by one, each once the one before was answered."""
    pictures = ros.publisher(ImageMsg, topics.IMAGE)
    assert wait_until(pictures.get_subscription_count)
    for index in range(number):
        pictures.publish(picture_msg(index))
        wait_until(lambda wanted=index + 1: len(heard) >= wanted, timeout_s=2.0)


def test_pictures_become_hands_in_the_cameras_frame(ros: Ros) -> None:
    heard, markers = ros.collect(Hands, topics.HANDS), ros.collect(MarkerArray, MARKERS)
    truth = waving("left", x_m=-0.12, num_frames=NUM_FRAMES), waving("right", x_m=0.12, num_frames=NUM_FRAMES, seed=2)
    seer = Seer(seen(*truth))
    node = tracker(ros, seer)
    infos = ros.publisher(CameraInfo, topics.CAMERA_INFO)
    assert wait_until(infos.get_subscription_count)
    infos.publish(camera_info(CAMERA, START_NS, "head_camera"))
    assert wait_until(lambda: node.knows_camera)
    show(ros, heard, NUM_FRAMES)
    assert wait_until(lambda: len(heard) == len(seer.pictures) > NUM_FRAMES // 2)  # those that come before the node listens are lost
    assert heard[-1].header.frame_id == "head_camera"
    found = hands_from_msgs(heard[-1].hands).hands
    last = len(seer.pictures) - 1
    for hand, wanted in zip(found, (truth[0][last], truth[1][last]), strict=True):
        assert np.linalg.norm(points_of(hand) - points_of(wanted), axis=1).mean() < 0.015
    assert wait_until(lambda: markers)
    assert {marker.ns for marker in markers[-1].markers} == {f"{side}/{part}" for side in ("left", "right") for part in ("bones", "joints")}
    joints = next(marker for marker in markers[-1].markers if marker.ns == "left/joints")
    assert len(joints.points) == 21
    assert joints.header.frame_id == "head_camera"


def test_hands_are_brought_into_the_world_by_tf(ros: Ros) -> None:
    heard = ros.collect(Hands, topics.HANDS)
    truth = waving("right", num_frames=NUM_FRAMES)
    tracker(ros, Seer(seen(truth)), view_deg=float(np.degrees(2 * np.arctan(CAMERA.width_px / 2 / CAMERA.fx))), world_frame="odom")
    T_odom_camera = transform(rotation_from_axis_angle(np.array([0.2, -0.4, 1.0])), np.array([1.0, 2.0, 3.0]))
    edge, pose = TransformStamped(header=header(START_NS, "odom"), child_frame_id="head_camera"), pose_to_msg(T_odom_camera)
    edge.transform.rotation = pose.orientation
    edge.transform.translation.x, edge.transform.translation.y, edge.transform.translation.z = pose.position.x, pose.position.y, pose.position.z
    frames = ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED)
    assert wait_until(frames.get_subscription_count)
    frames.publish(TFMessage(transforms=[edge]))
    show(ros, heard, NUM_FRAMES)
    assert heard
    assert heard[-1].header.frame_id == "odom"
    (hand,) = hands_from_msgs(heard[-1].hands).hands
    index = (heard[-1].header.stamp.sec * 10**9 + heard[-1].header.stamp.nanosec - START_NS) // PERIOD_NS
    assert np.linalg.norm(points_of(hand) - apply(T_odom_camera, points_of(truth[index])), axis=1).mean() < 0.05


def test_pictures_without_calibration_are_left_out_and_counted(ros: Ros) -> None:
    heard, diagnostics = ros.collect(Hands, topics.HANDS), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    seer = Seer([])
    node = tracker(ros, seer)
    show(ros, heard, 2)
    assert wait_until(lambda: int(values_of(diagnostics, "hand_tracker").get("dropped.no_camera_info", 0)) >= 1)
    assert not heard
    node.finish()
    assert seer.is_closed


def test_a_mirrored_picture_is_turned_before_it_is_looked_at(ros: Ros) -> None:
    heard = ros.collect(Hands, topics.HANDS)
    seer = Seer([])
    tracker(ros, seer, view_deg=60.0, is_mirrored=True)
    show(ros, heard, 1)
    assert wait_until(lambda: seer.pictures)
    assert seer.pictures[0][0, -1].tolist() == [255, 255, 255]
    assert seer.pictures[0][0, 0].tolist() == [0, 0, 0]


def test_pictures_that_cannot_be_read_are_left_out_and_counted(ros: Ros) -> None:
    diagnostics, seer = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), Seer([])
    node = tracker(ros, seer, view_deg=60.0)
    pictures = ros.publisher(ImageMsg, topics.IMAGE)
    assert wait_until(pictures.get_subscription_count)
    torn, strange, wide = picture_msg(0), picture_msg(1), picture_msg(2)
    torn.data, strange.encoding, wide.width = torn.data[:100], "yuv422_yuy2", 4_000_000_000
    for number, msg in enumerate((torn, strange, wide), 1):
        pictures.publish(msg)
        assert wait_until(lambda number=number: node._dropped["picture_unusable"] == number)
    pictures.publish(picture_msg(3))
    assert wait_until(lambda: len(seer.pictures) == 1)
    assert wait_until(lambda: values_of(diagnostics, "hand_tracker").get("dropped.picture_unusable") == "3")


class Dying(Seer):
    """Sees one picture, then its process is gone."""

    def find(self, picture):
        if self.pictures:
            raise OSError("MediaPipe's process has ended: killed")
        return super().find(picture)


def test_a_mediapipe_that_dies_is_said_and_started_again(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_tracker, "RESTART_S", 1.5)
    heard, diagnostics = ros.collect(Hands, topics.HANDS), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    started: list[Seer] = []

    def start(config: object) -> Seer:
        started.append(Seer([]) if started else Dying([]))
        return started[-1]

    ros.add(HandTracker(start, context=ros.context, parameter_overrides=overrides(view_deg=60.0)))
    pictures = ros.publisher(ImageMsg, topics.IMAGE)
    assert wait_until(pictures.get_subscription_count)
    said = []
    for index in range(100):
        pictures.publish(picture_msg(index))
        said.append(message_of(diagnostics, "hand_tracker"))
        if len(heard) >= 5 and any("has ended: killed" in text for text in said) and said[-1] == "ok":
            break
        time.sleep(0.1)
    assert len(started) == 2
    assert started[0].is_closed
    assert any("has ended: killed; it is started again" in text for text in said)
    assert said[-1] == "ok"
    assert len(heard) >= 5

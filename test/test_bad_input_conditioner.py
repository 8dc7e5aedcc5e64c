"""What the conditioner does with input that makes no sense, or does not come."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import OPTICAL, Robot, conditioner, values_of
from ros_fixture import Ros, conditions, hand, wait_until
from sensor_msgs.msg import CameraInfo

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_ros.nodes import topics
from h2w_ros.nodes.messages import hands_to_msg, odometry_to_msg


def test_bad_input_is_counted_by_reason_and_the_good_goes_through(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros)
    robot = Robot(ros)
    sent = conditions(12)
    robot.play(sent[:4])
    stamp_ns = sent[4].stamp_ns - 1_000_000
    crooked = odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL)
    crooked.pose.pose.orientation.w = 0.2
    robot.odometry.publish(crooked)
    lost = odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL)
    lost.pose.pose.position.x = float("nan")
    robot.odometry.publish(lost)
    robot.odometry.publish(odometry_to_msg(np.eye(4), 0, "odom", OPTICAL))
    elsewhere = hands_to_msg((hand(1),), stamp_ns, "tracker_base")
    robot.hands.publish(elsewhere)
    bad = hands_to_msg((hand(1), hand(2, "left")), sent[4].stamp_ns - 500_000, "odom")
    bad.hands[0].side = 0
    robot.hands.publish(bad)
    time.sleep(0.05)
    robot.play(sent[4:])
    assert wait_until(lambda: len(heard) == 12)
    assert wait_until(lambda: int(values_of(diagnostics, "conditioner").get("conditions", 0)) == 12)
    counts = {key: value for key, value in values_of(diagnostics, "conditioner").items() if key.startswith("dropped.")}
    assert counts == {"dropped.pose_invalid": "2", "dropped.pose_zero_stamp": "1", "dropped.hands_in_other_frame": "1", "dropped.hand_invalid": "1"}


def test_an_uncalibrated_camera_and_silent_topics_are_named(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = conditioner(ros)
    warnings: list[str] = []
    node.get_logger().warning = warnings.append
    info = ros.publisher(CameraInfo, topics.CAMERA_INFO)
    assert wait_until(info.get_subscription_count)
    info.publish(CameraInfo(width=64, height=48))
    assert wait_until(lambda: any("/camera_info" in text and "uncalibrated" in text for text in warnings))
    assert wait_until(lambda: any("/odometry" in text and "no conditions" in text for text in warnings))
    assert wait_until(lambda: values_of(diagnostics, "conditioner").get("dropped.camera_info_unusable") == "1")

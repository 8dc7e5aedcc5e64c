"""Conditioner and generator together."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot_fixture import Robot, conditioner, generator
from ros_fixture import PATIENT, EchoSession, Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.nodes import topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import stamp_to_ns


def test_both_nodes_in_one_process_hand_conditions_over_without_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    for node in compose(lambda config: session, context=ros.context, parameter_overrides=overrides(**PATIENT, inbox_length=50)):
        ros.add(node)
    sent = conditions(8)
    Robot(ros).play(sent)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert ros.node.count_subscribers(f"/{topics.CONDITION}") == 0


def test_nodes_apart_answer_the_same_moments_over_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    generator(ros, session)
    conditioner(ros)
    sent = conditions(8)
    Robot(ros).play(sent, period_s=0.04)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert all(np.array_equal(ours.image, original.image) for ours, original in zip(session.pushed, sent, strict=True))

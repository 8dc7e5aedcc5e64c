"""Nodes start, stop and start again."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from robot_fixture import generator
from ros_fixture import PERIOD_NS, START_NS, EchoSession, Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.nodes import topics
from h2w_ros.nodes.messages import Moment
from h2w_ros.ros_messages import stamp_to_ns


def test_a_lifecycle_manager_can_stop_and_start_the_nodes(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    node = generator(ros, EchoSession())
    node.trigger_deactivate()
    node.accept(Moment(conditions(1)[0]))
    node.trigger_cleanup()
    assert wait_until(lambda: ros.node.count_subscribers(f"/{topics.CONDITION}") == 0)
    node.start()
    node.accept(Moment(conditions(2)[1]))
    assert wait_until(lambda: len(images) == 1)
    assert stamp_to_ns(images[0].header.stamp) == START_NS + PERIOD_NS

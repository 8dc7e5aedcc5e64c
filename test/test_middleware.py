"""Pictures go through the middleware without holding up what is sent beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fixture import ros_graph, wait_until
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from h2w_ros.nodes.middleware import PROFILE_VARIABLES, make_room_for_pictures

SENDER = """
import time, numpy as np, rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from h2w_ros.nodes.images import header, image_to_msg
rclpy.init()
node = Node("sender")
pictures, stamps = node.create_publisher(Image, "pictures", 20), node.create_publisher(Header, "stamps", 20)
while not (pictures.get_subscription_count() and stamps.get_subscription_count()):
    time.sleep(0.02)
for k in range(1, 41):
    stamps.publish(header(time.time_ns(), ""))
    pictures.publish(image_to_msg(np.zeros((480, 672, 3), np.uint8), k, ""))
    time.sleep(0.0625)
time.sleep(1.0)
"""


@pytest.fixture
def environment():
    saved = dict(os.environ)
    for name in PROFILE_VARIABLES:
        os.environ.pop(name, None)
    yield os.environ
    os.environ.clear()
    os.environ.update(saved)


def test_a_profile_that_the_user_named_is_left_alone(environment) -> None:
    environment[PROFILE_VARIABLES[0]] = "mine.xml"
    make_room_for_pictures()
    assert environment[PROFILE_VARIABLES[0]] == "mine.xml"
    assert PROFILE_VARIABLES[1] not in environment


@pytest.mark.slow
def test_numbers_beside_large_pictures_arrive_at_once(environment) -> None:
    make_room_for_pictures()
    late_s: list[float] = []
    with ros_graph() as ros:
        pictures = ros.collect(ImageMsg, "pictures")
        ros.node.create_subscription(Header, "stamps", lambda msg: late_s.append(time.time() - msg.stamp.sec - msg.stamp.nanosec * 1e-9), 20)
        with subprocess.Popen([sys.executable, "-c", SENDER], env={**environment, "ROS_DOMAIN_ID": str(ros.domain)}):
            assert wait_until(lambda: len(pictures) == len(late_s) == 40, 60.0)
    # Without the profile they come in bursts, a second late.
    assert np.median(late_s) < 0.3

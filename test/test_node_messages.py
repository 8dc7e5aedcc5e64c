"""Our nouns survive their messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot_fixture import OPTICAL
from ros_fixture import conditions, hand, picture

from h2w_msgs.msg import PinholeCamera
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.nodes.images import stamp_from_ns
from h2w_ros.nodes.messages import Moment, condition_from_msg, condition_to_msg, pinhole_from_msg
from h2w_ros.ros_messages import stamp_to_ns


def test_a_condition_survives_its_message() -> None:
    original = replace(
        conditions(1)[0],
        T_world_camera=transform(rotation_from_axis_angle(np.array([0.1, -0.4, 0.2])), np.array([1.0, 2.0, 3.0])),
        hands=(hand(3, "left"), hand(4)),
        hand_render=picture(9),
    )
    moment = condition_from_msg(condition_to_msg(Moment(original, "odom", OPTICAL, 123)))
    assert (moment.world_frame, moment.camera_frame, moment.received_ns) == ("odom", OPTICAL, 123)
    assert moment.condition.camera == original.camera
    assert moment.condition.T_world_camera == pytest.approx(original.T_world_camera, abs=1e-12)
    assert [h.side for h in moment.condition.hands] == ["left", "right"]
    assert np.array_equal(moment.condition.hands[1].joint_angles_rad, original.hands[1].joint_angles_rad)
    assert np.array_equal(moment.condition.image, original.image)
    assert np.array_equal(moment.condition.hand_render, original.hand_render)
    assert moment.condition.static_render is None


def test_stamps_keep_every_nanosecond() -> None:
    stamp_ns = 1_700_000_123_456_789_001
    assert stamp_to_ns(stamp_from_ns(stamp_ns)) == stamp_ns


@pytest.mark.parametrize(("name", "value"), [("fx", 1e-320), ("fy", 1e300), ("cx", -1e200), ("fx", float("nan"))])
def test_a_camera_that_no_resized_picture_could_have_is_refused_at_the_door(name: str, value: float) -> None:
    msg = PinholeCamera(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)
    setattr(msg, name, value)
    with pytest.raises(ValueError, match=rf"{name} must be .* times the picture's size, got .* calibrated"):
        pinhole_from_msg(msg)

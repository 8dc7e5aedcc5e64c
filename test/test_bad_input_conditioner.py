"""What the conditioner does with input that makes no sense, comes at the wrong time, or does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import OPTICAL, Robot, conditioner, message_of, values_of, warnings_of
from ros_fixture import CAMERA, PERIOD_NS, START_NS, Ros, conditions, hand, wait_until
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_ros.geometry import transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.images import bytes_field, image_to_msg
from h2w_ros.nodes.messages import camera_info, condition_from_msg, hands_to_msg, odometry_to_msg
from h2w_ros.ros_messages import stamp_to_ns

NS_PER_S = 1_000_000_000


def dropped(node: Conditioner) -> dict[str, int]:
    """What the node counts, by reason."""
    values = node._health().values.items()
    return {key.removeprefix("dropped."): int(value) for key, value in values if key.startswith("dropped.")}


def moved(condition: Any, along_m: float) -> Any:
    return replace(condition, T_world_camera=transform(np.eye(3), np.array([along_m, 0.0, 0.0])))


def with_fields(msg: Any, **fields: object) -> Any:
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


def info_with(**fields: object) -> CameraInfo:
    return with_fields(camera_info(CAMERA, START_NS, OPTICAL), **fields)


UNUSABLE_INFOS = [
    (CameraInfo(width=64, height=48), "uncalibrated"),
    (info_with(distortion_model="thin_prism"), "thin_prism"),
    (info_with(width=0, height=0), "0x0"),
    (info_with(width=4_000_000_000), "4000000000x48"),
    (info_with(k=[float("nan")] * 9), "finite"),
    (info_with(p=[60.0, *[0.0] * 11]), "focal lengths"),
    (info_with(d=[0.1, 0.2]), "coefficients"),
    (info_with(binning_x=1000), "size must be positive"),
]


def test_a_camera_info_that_cannot_be_used_is_waited_out_with_a_warning_that_names_topic_and_fault(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros, warn_every_s=0.1)
    warnings = warnings_of(node)
    robot = Robot(ros)
    for msg, text in UNUSABLE_INFOS:
        robot.info.publish(msg)
        assert wait_until(lambda text=text: any("/camera_info" in warning and text in warning for warning in warnings)), text
        time.sleep(0.15)  # longer than the same warning is held back
    assert dropped(node)["camera_info_unusable"] == len(UNUSABLE_INFOS)
    assert not heard
    robot.play(conditions(4))
    assert wait_until(lambda: len(heard) == 4)


def test_the_same_warning_is_said_once_in_a_while_only(ros: Ros) -> None:
    node = conditioner(ros, warn_every_s=60.0)
    warnings = warnings_of(node)
    info = ros.publisher(CameraInfo, topics.CAMERA_INFO)
    assert wait_until(info.get_subscription_count)
    for _ in range(50):
        info.publish(CameraInfo(width=64, height=48))
    assert wait_until(lambda: dropped(node).get("camera_info_unusable") == 50)
    assert sum("uncalibrated" in warning for warning in warnings) == 1


def bad_picture(**fields: object) -> Callable[[int], ImageMsg]:
    return lambda stamp_ns: with_fields(image_to_msg(conditions(1)[0].image, stamp_ns, OPTICAL), **fields)


BAD_PICTURES = {
    "yuv422": bad_picture(encoding="yuv422_yuy2"),
    "step must be at least 192": bad_picture(step=10),
    "data must hold 48 rows": bad_picture(data=bytes_field(np.zeros(100, np.uint8))),
    "4000000000x48": bad_picture(width=4_000_000_000),
    "publish the camera_info of this picture": bad_picture(width=32, height=24, step=96),
}


def test_pictures_that_cannot_be_read_are_left_out_and_counted_and_the_node_lives(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros, warn_every_s=0.1)
    warnings = warnings_of(node)
    robot = Robot(ros)
    sent = conditions(20)
    robot.play(sent[:2])
    for number, (text, picture) in enumerate(BAD_PICTURES.items(), 2):
        robot.image.publish(picture(sent[number].stamp_ns))
        robot.send(replace(sent[number], image=None))
        assert wait_until(lambda text=text: any("/image_raw" in warning and text in warning for warning in warnings)), text
        time.sleep(0.15)  # longer than the same warning is held back
    robot.play(sent[7:10])
    assert wait_until(lambda: len(heard) == 10)
    assert [bool(msg.image.data) for msg in heard] == [True] * 2 + [False] * 5 + [True] * 3
    assert dropped(node) == {"image_unreadable": 5}


def test_compressed_pictures_that_are_torn_are_left_out_and_counted(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    robot = Robot(ros, is_compressed=True)
    sent = conditions(4)
    robot.play(sent[:1])
    for moment, data in zip(sent[1:3], (b"", b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff"), strict=True):
        robot.send_compressed(moment.stamp_ns, data)
        robot.send(replace(moment, image=None))
    robot.play(sent[3:])
    assert wait_until(lambda: len(heard) == 4)
    assert dropped(node) == {"image_unreadable": 2}


def bad_pose(stamp_ns: int, **numbers: float) -> Any:
    msg = odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL)
    for name, value in numbers.items():
        part, axis = name.split("_")
        setattr(getattr(msg.pose.pose, part), axis, value)
    return msg


def test_poses_that_make_no_sense_are_dropped_and_counted_by_reason_and_the_good_go_through(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros)
    robot = Robot(ros)
    sent = conditions(12)
    robot.play(sent[:4])
    between_ns = sent[3].stamp_ns + PERIOD_NS // 2
    bad = [
        {"position_x": np.nan},
        {"position_y": np.inf},
        {"position_z": 1e200},
        {"orientation_w": 0.2},
        {"orientation_w": 0.0},
        {"orientation_x": np.nan},
    ]
    for number, numbers in enumerate(bad):
        robot.odometry.publish(bad_pose(between_ns + number, **numbers))
    robot.odometry.publish(bad_pose(between_ns + 10, position_z=1.5))
    robot.odometry.publish(odometry_to_msg(np.eye(4), 0, "odom", OPTICAL))
    robot.hands.publish(hands_to_msg((hand(1),), between_ns, "tracker_base"))
    broken = hands_to_msg((hand(1), hand(2, "left")), between_ns + 1, "odom")
    broken.hands[0].side = 0
    robot.hands.publish(broken)
    far = replace(hand(3), T_world_wrist=transform(np.eye(3), np.array([5.0, 0.0, 0.5])))
    robot.hands.publish(hands_to_msg((far,), between_ns + 2, "odom"))
    time.sleep(0.05)
    robot.play(sent[4:])
    assert wait_until(lambda: len(heard) == 12)
    poses = [condition_from_msg(msg).condition.T_world_camera for msg in heard]
    assert np.allclose(poses, [condition.T_world_camera for condition in sent], atol=1e-9)
    expected = {"pose_invalid": 6, "pose_leap": 1, "pose_zero_stamp": 1, "hands_in_other_frame": 1, "hand_invalid": 1, "hand_leap": 1}
    assert wait_until(lambda: int(values_of(diagnostics, "conditioner").get("conditions", 0)) == 12)
    counts = {key.removeprefix("dropped."): int(value) for key, value in values_of(diagnostics, "conditioner").items() if key.startswith("dropped.")}
    assert counts == expected


def test_hands_of_numbers_that_no_hand_has_are_dropped_and_counted(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    robot = Robot(ros)
    sent = conditions(12)
    sizes = [{"joint_angles_rad": np.full(45, size)} for size in (1e200, np.nan)] + [{"betas": np.full(10, size)} for size in (1e200, np.inf)]
    sizes += [{"wrist": bad_pose(0, **numbers).pose.pose} for numbers in ({"position_x": np.nan}, {"orientation_w": 0.2}, {"orientation_z": np.inf})]
    robot.play(sent[:2])
    for condition, size in zip(sent[2:9], sizes, strict=True):
        msg = hands_to_msg((hand(0),), condition.stamp_ns, "odom")
        robot.send(replace(condition, hands=()))
        robot.hands.publish(with_fields(msg, hands=[with_fields(msg.hands[0], **size)]))
        time.sleep(0.02)
    robot.play(sent[9:])
    assert wait_until(lambda: len(heard) == 12)
    assert dropped(node)["hand_invalid"] == 7


def test_a_camera_that_is_elsewhere_for_good_begins_anew(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    robot = Robot(ros)
    sent = conditions(30)
    robot.play(sent[:5])
    robot.play([moved(condition, 3.0) for condition in sent[5:]])
    assert wait_until(lambda: heard and stamp_to_ns(heard[-1].header.stamp) == sent[-1].stamp_ns)
    places = [msg.camera_pose.position.x for msg in heard]
    assert all(place < 0.1 or place == pytest.approx(3.0) for place in places), "no pose between the two places"
    assert dropped(node)["pose_leap"] == 4
    assert node._health().values["clock_restarts"] == 1


def test_odd_stamps_are_dropped_and_counted_and_the_clock_goes_on(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    robot = Robot(ros)
    sent = conditions(12)
    robot.play(sent[:6])
    for stamp_ns in (0, -5 * NS_PER_S, sent[3].stamp_ns, sent[5].stamp_ns, START_NS + 3600 * NS_PER_S, START_NS - 3600 * NS_PER_S):
        robot.odometry.publish(odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL))
    robot.play(sent[6:])
    assert wait_until(lambda: len(heard) == 12)
    assert dropped(node) == {"pose_zero_stamp": 2, "pose_out_of_order": 1, "pose_duplicate": 1, "pose_clock_jump": 2}
    assert node._health().values["clock_restarts"] == 0


@pytest.mark.parametrize("jump_s", [-100.0, 100.0])
def test_a_clock_that_jumps_begins_anew_and_is_counted(ros: Ros, jump_s: float) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    robot = Robot(ros)
    robot.play(conditions(6))
    after = conditions(8, START_NS + int(jump_s * NS_PER_S))
    robot.play(after)
    assert wait_until(lambda: stamp_to_ns(heard[-1].header.stamp) == after[-1].stamp_ns)
    assert len(heard) >= 12
    assert node._health().values["clock_restarts"] == 1


def test_hands_of_which_the_tracker_is_not_sure_are_not_drawn_and_their_absence_is_said(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = conditioner(ros, stale_after_s=0.4)
    robot = Robot(ros)
    sent = [replace(condition, hands=(hand(0), replace(hand(0, "left"), confidence=0.1))) for condition in conditions(60)]
    robot.play(sent[:4])
    assert wait_until(lambda: len(heard) == 4)
    assert [[h.side for h in condition_from_msg(msg).condition.hands] for msg in heard] == [["right"]] * 4
    assert dropped(node)["hand_unsure"] == 4
    unsure = [replace(condition, hands=(replace(hand(0), confidence=0.1),)) for condition in sent[4:]]
    robot.play(unsure, period_s=0.03)
    assert wait_until(lambda: "stale" in message_of(diagnostics, "conditioner") and "usable hands" in message_of(diagnostics, "conditioner"))
    assert not condition_from_msg(heard[-1]).condition.hands


def test_when_hands_fall_silent_conditions_go_on_without_them_and_the_status_says_so(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros, stale_after_s=0.4, hands_hold_ms=125.0)
    robot = Robot(ros)
    sent = conditions(60)
    robot.play(sent[:5])
    for moment in sent[5:]:
        robot.send(moment, has_hands=False)
        time.sleep(0.03)
    assert wait_until(
        lambda: "nothing for" in message_of(diagnostics, "conditioner") and "on /hands: conditions" in message_of(diagnostics, "conditioner")
    )
    assert wait_until(lambda: len(heard) == 60)
    assert [bool(msg.hands) for msg in heard] == [True] * 7 + [False] * 53, "held for 125 ms: two more moments, then gone"


def test_when_odometry_stops_nothing_is_extrapolated_and_the_status_says_so(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = conditioner(ros, stale_after_s=0.4, pose_hold_ms=70.0)
    robot = Robot(ros)
    sent = conditions(70)
    robot.play(sent[:5])
    for moment in sent[5:60]:
        robot.send(moment, has_pose=False)
        time.sleep(0.03)
    assert wait_until(lambda: "stale" in message_of(diagnostics, "conditioner") and "/odometry" in message_of(diagnostics, "conditioner"))
    assert stamp_to_ns(heard[-1].header.stamp) <= sent[4].stamp_ns + 70_000_000
    assert dropped(node)["tick_without_pose"] > 0
    num_before = len(heard)
    robot.play(sent[60:])
    assert wait_until(lambda: len(heard) >= num_before + 8)


def test_topics_that_never_come_are_named_with_what_follows(ros: Ros) -> None:
    node = conditioner(ros, stale_after_s=0.1)
    warnings = warnings_of(node)
    assert wait_until(lambda: any("nothing yet on /odometry" in text and "no conditions" in text for text in warnings))
    assert any("nothing yet on /camera_info: no conditions" in text for text in warnings)

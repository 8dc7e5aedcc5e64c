"""A robot's topics in, conditions out: real messages through the real node."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import OPTICAL, Robot, conditioner, edge, generator, values_of
from ros_fixture import CAMERA, PERIOD_NS, START_NS, EchoSession, Ros, conditions, picture, reliable, wait_until
from sensor_msgs.msg import Image as ImageMsg
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Prediction
from h2w_ros.camera import plucker_rays, project
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.messages import condition_from_msg
from h2w_ros.ros_messages import image_from_msg, stamp_to_ns


def test_the_conditioner_gives_out_what_the_robot_sent(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    sent = conditions(8)
    Robot(ros).play(sent)
    assert wait_until(lambda: len(heard) == 8)
    for msg, original in zip(heard, sent, strict=True):
        condition = condition_from_msg(msg).condition
        assert condition.stamp_ns == original.stamp_ns
        assert condition.T_world_camera == pytest.approx(original.T_world_camera, abs=1e-9)
        assert np.array_equal(condition.image, original.image)
        assert condition.camera == original.camera
        assert condition.hands[0].joint_angles_rad == pytest.approx(original.hands[0].joint_angles_rad)


def test_compressed_pictures_are_found_and_used(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    smooth = np.tile(np.linspace(0, 255, CAMERA.width_px, dtype=np.uint8)[None, :, None], (CAMERA.height_px, 1, 3))
    Robot(ros, is_compressed=True).play([replace(c, image=smooth) for c in conditions(4)])
    assert wait_until(lambda: len(heard) == 4)
    assert np.abs(image_from_msg(heard[0].image).astype(int) - smooth).mean() < 3


def test_the_camera_mount_comes_from_tf_static(ros: Ros) -> None:
    T_base_optical = transform(rotation_from_axis_angle(np.array([-np.pi / 2, 0.0, 0.0])), np.array([0.1, 0.0, 1.5]))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED).publish(TFMessage(transforms=[edge("base_link", OPTICAL, T_base_optical)]))
    robot = Robot(ros, child_frame="base_link")
    time.sleep(0.2)
    sent = conditions(4)
    robot.play(sent)
    assert wait_until(lambda: len(heard) >= 3)
    first = condition_from_msg(heard[0]).condition
    original = next(c for c in sent if c.stamp_ns == first.stamp_ns)
    assert first.T_world_camera == pytest.approx(original.T_world_camera @ T_base_optical, abs=1e-9)


def test_hands_of_a_frame_fixed_to_the_world_are_taken_there(ros: Ros) -> None:
    T_odom_tracker = transform(rotation_from_axis_angle(np.array([0.0, 0.0, np.pi / 2])), np.array([1.0, 2.0, 0.0]))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    robot = Robot(ros)
    ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED).publish(TFMessage(transforms=[edge("odom", "tracker", T_odom_tracker)]))
    time.sleep(0.3)
    for moment in conditions(4):
        robot.send(moment, hands_frame="tracker")
        time.sleep(0.02)
    assert wait_until(lambda: len(heard) == 4)
    expected = T_odom_tracker @ conditions(4)[3].hands[0].T_world_wrist
    assert condition_from_msg(heard[3]).condition.hands[0].T_world_wrist == pytest.approx(expected, abs=1e-9)


def test_ready_made_pictures_of_the_scene_join_their_moments(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION, 100)
    conditioner(ros)
    robot, scenes = Robot(ros), ros.publisher(ImageMsg, topics.READY_MADE_SCENE)
    assert wait_until(scenes.get_subscription_count)
    sent = conditions(12)
    for number, moment in enumerate(sent):
        if number != 3:
            scenes.publish(image_to_msg(np.full_like(moment.image, 10 * number), moment.stamp_ns, "camera"))
            time.sleep(0.03)  # the scene comes first, on a busy machine too
        robot.send(moment)
        time.sleep(0.03)
    assert wait_until(lambda: len(heard) >= 10)
    shown = {stamp_to_ns(msg.header.stamp): condition_from_msg(msg).condition.static_render for msg in heard}
    for number, moment in enumerate(sent[:8]):
        scene = shown[moment.stamp_ns]
        assert (scene is None) == (number == 3)
        assert scene is None or int(scene.mean()) == 10 * number


def test_ready_made_hand_pictures_go_through_both_nodes_in_the_place_of_hands(ros: Ros) -> None:
    session, predictions = EchoSession(), ros.collect(Prediction, topics.PREDICTION)
    generator(ros, session)
    conditioner(ros, ready_made_hands=True, **reliable(topics.READY_MADE_HANDS))
    robot, hands = Robot(ros, has_hands=False), ros.publisher(ImageMsg, topics.READY_MADE_HANDS)
    assert wait_until(hands.get_subscription_count)
    sent = conditions(8)
    for number, moment in enumerate(sent):
        hands.publish(image_to_msg(picture(100 + number), moment.stamp_ns, OPTICAL))
        robot.send(moment, has_hands=False)
        time.sleep(0.02)
    assert wait_until(lambda: len(predictions) == 8)
    assert [condition.stamp_ns for condition in session.pushed] == [moment.stamp_ns for moment in sent]
    assert all(np.array_equal(condition.hand_render, picture(100 + number)) for number, condition in enumerate(session.pushed))
    assert not any(condition.hands for condition in session.pushed)


def test_rays_and_hand_pictures_are_those_of_the_condition(ros: Ros) -> None:
    rays, renders, heard = (
        ros.collect(ImageMsg, topics.PLUCKER_RAYS),
        ros.collect(ImageMsg, topics.HAND_RENDER),
        ros.collect(ConditionMsg, topics.CONDITION),
    )
    conditioner(ros)
    Robot(ros).play(conditions(4))
    assert wait_until(lambda: len(rays) == len(renders) == len(heard) == 4)
    assert (rays[3].encoding, rays[3].step, rays[3].width) == ("32FC6", 24 * CAMERA.width_px, CAMERA.width_px)
    values = np.frombuffer(rays[3].data, np.float32).reshape(CAMERA.height_px, CAMERA.width_px, 6)
    assert values == pytest.approx(plucker_rays(CAMERA, transform(np.eye(3), np.array([0.006, 0.0, 0.0]))), abs=1e-5)
    assert image_from_msg(renders[3]).max() > 0
    assert renders[3].header == heard[3].header.__class__(stamp=heard[3].header.stamp, frame_id=OPTICAL)


def test_viewers_get_rays_as_colours_and_the_scene_as_markers(ros: Ros) -> None:
    pictures, marker_sets = ros.collect(ImageMsg, topics.RAYS_PICTURE), ros.collect(MarkerArray, topics.CONDITION_MARKERS)
    conditioner(ros)
    Robot(ros).play(conditions(4))
    assert wait_until(lambda: len(pictures) == len(marker_sets) == 4)
    # The camera looks along z: blue is full where the ray through the principal point goes, red and green are in their middle.
    assert image_from_msg(pictures[0])[int(CAMERA.cy), int(CAMERA.cx)].tolist() == pytest.approx([128, 128, 255], abs=2)
    markers = {marker.ns: marker for marker in marker_sets[3].markers}
    assert set(markers) == {"right/bones", "right/joints", "camera/view", "camera/way"}
    assert {marker.header.frame_id for marker in markers.values()} == {"odom"}
    centres = [moment.T_world_camera[:3, 3] for moment in conditions(4)]
    assert [(point.x, point.y, point.z) for point in markers["camera/way"].points] == [pytest.approx(tuple(centre)) for centre in centres]
    ends = [(point.x, point.y, point.z) for point in markers["camera/view"].points]
    assert ends[0] == pytest.approx(tuple(centres[3]))
    corners = {(0, 0), (CAMERA.width_px, 0), (CAMERA.width_px, CAMERA.height_px), (0, CAMERA.height_px)}
    seen = project(CAMERA, np.array(ends[1:8:2]) - centres[3])
    assert {tuple(np.rint(pixel).astype(int)) for pixel in seen} == corners


def test_a_recording_that_loops_starts_the_clock_anew(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros)
    robot = Robot(ros)
    for _ in range(2):
        robot.play(conditions(48), period_s=0.01)
    assert wait_until(lambda: len(heard) > 90 and stamp_to_ns(heard[-1].header.stamp) == START_NS + 47 * PERIOD_NS)
    assert wait_until(lambda: values_of(diagnostics, "conditioner").get("clock_restarts") == "1")

"""What the scene node and the conditioner's scene do with depth and scenes that make no sense, lack something, or do not come."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import OPTICAL, Robot, conditioner, message_of, warnings_of
from ros_fixture import Ros, conditions, wait_until
from scene_fixture import DepthRobot, cloud_msg, compressed_depth_msg, depth_msg, dropped, fused, place, scene_node, stamp
from scenes import CAMERA, table_depth, table_picture
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_ros.geometry import transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.clouds import points_to_msg
from h2w_ros.nodes.images import bytes_field, image_to_msg
from h2w_ros.nodes.messages import hands_to_msg, odometry_to_msg
from h2w_ros.scene.depth import surface_points


def depth_with(**fields: object) -> ImageMsg:
    """What is measured at moment 1, except for these fields."""
    msg = depth_msg(table_depth(place(1)), stamp(1))
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


def scaled_depth(share: float, encoding: str) -> ImageMsg:
    return depth_msg(table_depth(place(1)) * share, stamp(1), encoding)


BAD_DEPTHS = {
    "metres in a picture of millimetres": (scaled_depth(1e-3, "16UC1"), "depth_implausible", "16UC1 must be in millimetres"),
    "millimetres in a picture of metres": (scaled_depth(1e3, "32FC1"), "depth_implausible", "32FC1 in metres"),
    "holes only": (depth_msg(np.zeros((72, 96), np.float32), stamp(1)), "depth_implausible", "holes only"),
    "nothing but nan": (depth_msg(np.full((72, 96), np.nan, np.float32), stamp(1), "32FC1"), "depth_implausible", "holes only"),
    "an unknown encoding": (depth_with(encoding="yuv422"), "depth_unreadable", "depth encoding must be one of"),
    "a torn picture": (depth_with(data=bytes_field(np.zeros(9, np.uint8))), "depth_unreadable", "must hold 72 rows"),
    "another size": (depth_msg(table_depth(place(1))[:36, :48], stamp(1)), "depth_unreadable", "register it to the picture"),
    "another frame": (depth_msg(table_depth(place(1)), stamp(1), frame="depth_optical"), "depth_not_registered", "align_depth"),
    "no stamp": (depth_msg(table_depth(place(1)), 0), "depth_zero_stamp", "without a stamp"),
}


@pytest.mark.parametrize("fault", BAD_DEPTHS)
def test_depth_that_makes_no_sense_is_left_out_counted_and_said_and_the_next_is_fused(ros: Ros, fault: str) -> None:
    bad, reason, text = BAD_DEPTHS[fault]
    node, robot = scene_node(ros), DepthRobot(ros)
    warnings = warnings_of(node)
    robot.look(0)
    assert wait_until(lambda: fused(node) == 1)
    robot.look(1, bad)
    assert wait_until(lambda: dropped(node) == {reason: 1})
    assert wait_until(lambda: any(text in warning for warning in warnings))
    robot.look(2)
    assert wait_until(lambda: fused(node) == 2)
    assert dropped(node) == {reason: 1}


def test_holes_in_depth_stay_holes_in_every_condition(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    node, robot = scene_node(ros), DepthRobot(ros)
    for number in range(10):
        depth = table_depth(place(number))
        depth[:, 48:] = 0.0
        robot.look(number, depth_msg(depth, stamp(number)))
        robot.hands.publish(hands_to_msg((), stamp(number), "odom"))
        time.sleep(0.03)
    assert wait_until(lambda: fused(node) == 10)
    assert wait_until(lambda: heard and heard[-1].static_render.encoding == "rgba8")
    known = np.frombuffer(heard[-1].static_render.data, np.uint8).reshape(72, 96, 4)[..., 3] > 0
    assert known[40:, :40].mean() > 0.9
    assert not known[:, 65:].any()


def test_depth_without_intrinsics_is_left_out_until_they_come(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    warnings = warnings_of(node)
    robot.info.publish(CameraInfo(width=CAMERA.width_px, height=CAMERA.height_px))
    robot.look(0, parts=("image", "depth", "odometry"))
    assert wait_until(lambda: dropped(node) == {"camera_info_unusable": 1, "depth_without_camera_info": 1})
    assert any("uncalibrated" in text for text in warnings)
    assert any("intrinsics are unknown" in text and "/camera_info" in text for text in warnings)
    robot.look(1)
    assert wait_until(lambda: fused(node) == 1)


def test_depth_without_a_picture_of_its_time_has_no_colors_and_is_left_out(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    robot.look(0)
    robot.look(2, parts=("depth", "odometry"))
    robot.look(9, parts=("odometry",))
    assert wait_until(lambda: dropped(node) == {"depth_without_picture": 1})
    assert fused(node) == 1


def test_pictures_that_cannot_be_read_cost_their_depth_only(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    torn = image_to_msg(table_picture(place(0)), stamp(0), OPTICAL)
    torn.encoding = "yuv422_yuy2"
    robot.image.publish(torn)
    robot.look(0, parts=("info", "depth", "odometry"))
    assert wait_until(lambda: dropped(node) == {"image_unreadable": 1})
    robot.look(1)
    assert wait_until(lambda: fused(node) == 1)


def test_depth_of_a_time_without_odometry_is_left_out(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    robot.look(0)
    robot.look(5, parts=("info", "image", "depth"))
    robot.look(10, parts=("odometry",))  # 0.6 s after the last one: nothing between is known
    assert wait_until(lambda: dropped(node) == {"depth_without_pose": 1})
    assert fused(node) == 1


def test_poses_that_make_no_sense_are_left_out(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    bad = odometry_to_msg(place(0), stamp(0), "odom", OPTICAL)
    bad.pose.pose.position.x = float("nan")
    robot.odometry.publish(bad)
    robot.odometry.publish(odometry_to_msg(place(0), 0, "odom", OPTICAL))
    assert wait_until(lambda: dropped(node) == {"pose_invalid": 1, "pose_zero_stamp": 1})
    robot.look(1)
    assert wait_until(lambda: fused(node) == 1)


def test_a_camera_that_nobody_connects_to_odometry_is_said(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    warnings = warnings_of(node)
    robot.look(0, parts=("info", "image", "depth"))
    robot.odometry.publish(odometry_to_msg(place(0), stamp(0), "odom", "base_link"))
    assert wait_until(lambda: dropped(node) == {"depth_without_mount": 1})
    assert any("T_child_optical" in text and "'base_link'" in text for text in warnings)


def test_a_recording_that_loops_goes_on_being_fused(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    for _ in range(2):
        for number in range(3):
            robot.look(number)
    assert wait_until(lambda: fused(node) == 6)


BAD_CLOUDS = {
    "no colors": (lambda msg: setattr(msg, "fields", msg.fields[:3]), "depth_unreadable"),
    "torn": (lambda msg: setattr(msg, "data", bytes_field(np.zeros(9, np.uint8))), "depth_unreadable"),
    "millimetres": (lambda msg: setattr(msg, "data", _in_millimetres(msg)), "depth_implausible"),
}


def _in_millimetres(msg: PointCloud2) -> object:
    table = np.frombuffer(msg.data, np.float32).reshape(-1, 5).copy()
    table[:, :3] *= 1000
    return bytes_field(table.view(np.uint8))


@pytest.mark.parametrize("fault", BAD_CLOUDS)
def test_clouds_that_make_no_sense_are_left_out_and_counted(ros: Ros, fault: str) -> None:
    spoil, reason = BAD_CLOUDS[fault]
    node, robot = scene_node(ros), DepthRobot(ros, PointCloud2, topics.DEPTH_POINTS)
    bad = cloud_msg(table_depth(place(0)), place(0), stamp(0))
    spoil(bad)
    robot.look(0, bad, parts=("depth", "odometry"))
    assert wait_until(lambda: dropped(node) == {reason: 1})
    robot.look(1, cloud_msg(table_depth(place(1)), place(1), stamp(1)), parts=("depth", "odometry"))
    assert wait_until(lambda: fused(node) == 1)


def test_compressed_depth_that_is_torn_is_left_out_and_counted(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros, CompressedImage, topics.DEPTH_COMPRESSED)
    robot.look(
        0, CompressedImage(header=compressed_depth_msg(table_depth(place(0)), stamp(0)).header, format="16UC1; compressedDepth png", data=b"x")
    )
    assert wait_until(lambda: dropped(node) == {"depth_unreadable": 1})


def test_what_does_not_come_is_named_with_what_follows(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    scene_node(ros, stale_after_s=0.2)
    assert wait_until(lambda: "nothing yet on /depth/image_raw: no scene" in message_of(diagnostics, "scene"))
    assert "/odometry" in message_of(diagnostics, "scene")
    assert "/hands" not in message_of(diagnostics, "scene"), "a robot without hands has a scene too"


def test_a_scene_that_cannot_be_read_leaves_the_one_before_and_conditions_go_on(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    warnings = warnings_of(node)
    robot = Robot(ros)
    publisher = ros.publisher(PointCloud2, topics.SCENE_POINTS, topics.SCENE)
    points = surface_points(table_picture(place(0)), table_depth(place(0)), CAMERA, np.eye(4))
    publisher.publish(points_to_msg(points, 1, "odom"))
    assert wait_until(lambda: node._scene._elsewhere is not None)
    torn = points_to_msg(points, 2, "odom")
    torn.fields = torn.fields[:3]
    publisher.publish(torn)
    assert wait_until(lambda: dropped(node) == {"scene_unreadable": 1})
    assert any("needs colors" in text for text in warnings)
    robot.play(conditions(3))
    assert wait_until(lambda: len(heard) == 3)
    assert heard[-1].static_render.data


def test_a_scene_in_a_frame_that_nothing_connects_is_not_drawn_anywhere(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    warnings = warnings_of(node)
    points = surface_points(table_picture(place(0)), table_depth(place(0)), CAMERA, np.eye(4))
    ros.publisher(PointCloud2, topics.SCENE_POINTS, topics.SCENE).publish(points_to_msg(points, 1, "map"))
    assert wait_until(lambda: node._scene._elsewhere is not None)
    Robot(ros).play(conditions(3))
    assert wait_until(lambda: len(heard) == 3)
    assert not heard[-1].static_render.data
    assert dropped(node) == {"scene_in_other_frame": 3}
    assert any("'map'" in text and "'odom'" in text for text in warnings)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"scene_file": "nowhere.npz"}, "No scene at nowhere.npz"),
        ({"scene_file": "setup.py"}, "must end with one of"),
        ({"T_world_scene": [1.0, 2.0]}, "T_world_scene must be 7 numbers"),
    ],
)
def test_a_scene_file_that_is_none_keeps_the_conditioner_from_starting_with_the_reason(ros: Ros, parameters: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        conditioner(ros, **parameters)


def test_settings_that_make_no_sense_keep_the_scene_node_from_starting(ros: Ros, tmp_path: Path) -> None:
    for parameters, text in (
        ({"path": str(tmp_path / "scene.ply")}, r"path must end with \.npz"),
        ({"min_depth_m": 3.0, "max_depth_m": 2.0}, "min_depth_m must be less"),
        ({"T_child_optical": [1.0]}, "T_child_optical must be 7 numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            scene_node(ros, **parameters)


def test_a_scene_goes_with_the_camera_that_odometry_moves_also_with_a_mount(ros: Ros) -> None:
    T_base_optical = transform(np.eye(3), np.array([0.1, 0.0, 0.2]))
    node, robot = scene_node(ros, T_child_optical=[0.1, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]), DepthRobot(ros)
    robot.look(0, parts=("info", "image", "depth"))
    robot.odometry.publish(odometry_to_msg(place(0) @ np.linalg.inv(T_base_optical), stamp(0), "odom", "base_link"))
    assert wait_until(lambda: fused(node) == 1)
    seen = node._scene.scene().render(CAMERA, place(0))
    assert np.square(seen.picture[seen.known].astype(float) - table_picture(place(0))[seen.known]).mean() < 60

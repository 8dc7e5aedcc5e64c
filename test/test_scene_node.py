"""Depth in, a scene out, and drawn into every condition: real messages through the real nodes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from nav_msgs.msg import Odometry
from robot_fixture import OPTICAL, Robot, conditioner, edge
from ros_fixture import CAMERA as ROBOTS_CAMERA
from ros_fixture import Ros, conditions, hand, wait_until
from scene_fixture import DepthRobot, cloud_msg, compressed_depth_msg, depth_msg, dropped, fused, place, scene_node, stamp
from scenes import CAMERA, head, square, table_depth, table_picture
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_ros.depth_messages import cloud_from_msg
from h2w_ros.geometry import transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.clouds import points_to_msg
from h2w_ros.nodes.messages import condition_from_msg, hands_to_msg, odometry_to_msg
from h2w_ros.ros_messages import image_from_msg, known_from_msg
from h2w_ros.scene.files import load_scene, save_scene
from h2w_ros.scene.points import Points
from h2w_ros.scene.sampled import sampled


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def seen_from(points: Points, T_world_camera: np.ndarray) -> float:
    """How well the points show the table from here [dB]; most of it must be known."""
    seen = points.render(CAMERA, T_world_camera)
    assert seen.known_share > 0.85
    return psnr_db(seen.picture[seen.known], table_picture(T_world_camera)[seen.known])


def scene_of(msg: PointCloud2) -> Points:
    cloud = cloud_from_msg(msg)
    return Points(cloud.points, cloud.colors, cloud.radii_m)


def call(ros: Ros, name: str) -> Trigger.Response:
    client = ros.node.create_client(Trigger, name)
    assert client.wait_for_service(5.0)
    future = client.call_async(Trigger.Request())
    assert wait_until(future.done)
    return future.result()


DEPTHS = {
    "raw": (ImageMsg, topics.DEPTH, lambda number: depth_msg(table_depth(place(number)), stamp(number))),
    "metres": (ImageMsg, topics.DEPTH, lambda number: depth_msg(table_depth(place(number)), stamp(number), "32FC1")),
    "compressed": (CompressedImage, topics.DEPTH_COMPRESSED, lambda number: compressed_depth_msg(table_depth(place(number)), stamp(number))),
}


@pytest.mark.parametrize("kind", DEPTHS)
def test_depth_images_become_a_scene_that_shows_what_the_camera_saw(ros: Ros, kind: str) -> None:
    message, topic, depth = DEPTHS[kind]
    heard = ros.collect(PointCloud2, topics.SCENE_POINTS, topics.SCENE)
    node, robot = scene_node(ros), DepthRobot(ros, message, topic)
    for number in (0, 4, 8):
        robot.look(number, depth(number))
    assert wait_until(lambda: fused(node) == 3)
    assert wait_until(lambda: heard and len(scene_of(heard[-1])) == node._health().values["points"])
    assert heard[-1].header.frame_id == "odom"
    assert seen_from(scene_of(heard[-1]), head(0.05, -0.43, 0.38)) > 28
    assert dropped(node) == {}


def test_clouds_become_a_scene_without_any_picture(ros: Ros) -> None:
    node = scene_node(ros, depth_transport="points")
    depth, odometry = ros.publisher(PointCloud2, topics.DEPTH_POINTS), ros.publisher(Odometry, topics.ODOMETRY)
    assert wait_until(lambda: depth.get_subscription_count() and odometry.get_subscription_count())
    for number in (0, 4):
        depth.publish(cloud_msg(table_depth(place(number)), place(number), stamp(number)))
        odometry.publish(odometry_to_msg(place(number), stamp(number), "odom", OPTICAL))
    assert wait_until(lambda: fused(node) == 2)
    assert seen_from(node._scene.scene(), head(0.02)) > 24


def test_depth_waits_for_the_pose_of_its_own_time(ros: Ros) -> None:
    node, robot = scene_node(ros), DepthRobot(ros)
    robot.look(0)
    assert wait_until(lambda: fused(node) == 1)
    robot.look(2, parts=("info", "image", "depth"))  # a moving head, whose odometry comes late
    time.sleep(0.2)
    assert fused(node) == 1
    robot.look(3, parts=("odometry",))
    assert wait_until(lambda: fused(node) == 2)
    assert seen_from(node._scene.scene(), place(1)) > 28, "between the poses before and after, not at either"


def test_a_hand_in_front_of_the_camera_is_no_part_of_the_scene(ros: Ros) -> None:
    node, robot = scene_node(ros, forgets=False), DepthRobot(ros)
    wrist = np.array([0.0, -0.08, 0.12])
    robot.hands.publish(hands_to_msg((hand(0),), stamp(0), "nowhere"))
    assert wait_until(lambda: node._hands)
    robot.look(0)
    assert wait_until(lambda: dropped(node) == {"hands_in_other_frame": 1}), "a hand of which nobody knows where it is hides nobody knows what"
    above = replace(hand(0), T_world_wrist=transform(np.eye(3), wrist))
    depth = table_depth(place(1))
    rows, columns = slice(30, 36), slice(46, 52)
    depth[rows, columns] = np.linalg.norm(place(1)[:3, 3] - wrist)
    robot.look(1, depth_msg(depth, stamp(1)))
    robot.hands.publish(hands_to_msg((above,), stamp(1), "odom"))  # trackers are slower than cameras: it is waited for
    assert wait_until(lambda: fused(node) == 1)
    points = node._scene.scene().points_world
    assert len(points) > 1000
    assert np.linalg.norm(points - wrist, axis=1).min() > 0.02


def test_a_scene_is_saved_kept_and_cleared_on_request(ros: Ros, tmp_path: Path) -> None:
    heard = ros.collect(PointCloud2, topics.SCENE_POINTS, topics.SCENE)
    node = scene_node(ros, path=str(tmp_path / "maps" / "scene.npz"))
    assert (call(ros, topics.SAVE_SCENE).success, "nothing has been fused" in call(ros, topics.SAVE_SCENE).message) == (False, True)
    robot = DepthRobot(ros)
    robot.look(0)
    assert wait_until(lambda: fused(node) == 1)
    assert call(ros, topics.SAVE_SCENE).success
    assert seen_from(load_scene(tmp_path / "maps" / "scene.npz"), place(0)) > 28
    node.set_parameters([node.get_parameter("fusing").__class__("fusing", value=False)])
    robot.look(1)
    robot.look(2)
    assert fused(node) == 1, "the scene stays as it is"
    assert "points are forgotten" in call(ros, topics.CLEAR_SCENE).message
    assert wait_until(lambda: heard and heard[-1].width == 0)


def test_a_disk_that_cannot_be_written_is_said_and_the_node_lives(ros: Ros, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    node = scene_node(ros, path=str(tmp_path / "file" / "scene.npz"))
    DepthRobot(ros).look(0)
    assert wait_until(lambda: fused(node) == 1)
    response = call(ros, topics.SAVE_SCENE)
    assert not response.success
    assert "could not be saved" in response.message


def test_depth_that_comes_faster_than_it_is_wanted_is_passed_over(ros: Ros) -> None:
    node, robot = scene_node(ros, fuse_every_s=0.25), DepthRobot(ros)
    for number in range(9):
        robot.look(number)
    assert wait_until(lambda: fused(node) == 3)
    assert dropped(node) == {}


def red_wall() -> Points:
    """A wall before the robot of `ros_fixture`, whose camera looks along the world's z axis."""
    wall = sampled(square(0.0, 0.3, (250, 20, 10)), 3000)
    return wall.moved(transform(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.array([0.0, 0.0, 1.0])))


def check_red_wall(msg: ConditionMsg) -> None:
    condition = condition_from_msg(msg).condition
    middle = condition.static_render[18:28, 28:38]
    assert np.abs(middle.astype(int) - (250, 20, 10)).max() <= 2
    assert not condition.static_known[:, 0].any(), "beside the wall nothing is known"
    assert 0.15 < condition.static_known.mean() < 0.6


def test_conditions_carry_a_scene_that_is_published_as_their_camera_sees_it_holes_and_all(ros: Ros) -> None:
    heard, renders = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(ImageMsg, topics.STATIC_RENDER)
    node = conditioner(ros)
    robot = Robot(ros)
    robot.play(conditions(2))
    assert wait_until(lambda: len(heard) == 2)
    assert not heard[-1].static_render.data
    publisher = ros.publisher(PointCloud2, topics.SCENE_POINTS, topics.SCENE)
    publisher.publish(points_to_msg(red_wall(), 1, "odom"))
    assert wait_until(lambda: node._scene._elsewhere is not None)
    robot.play(conditions(6)[2:])
    assert wait_until(lambda: len(heard) == 6 and len(renders) == 4)
    check_red_wall(heard[-1])
    assert np.array_equal(image_from_msg(renders[-1]), image_from_msg(heard[-1].static_render))
    assert np.array_equal(known_from_msg(renders[-1]), known_from_msg(heard[-1].static_render))
    publisher.publish(points_to_msg(None, 2, "odom"))
    assert wait_until(lambda: node._scene._here is None)
    robot.play(conditions(7)[6:])
    assert wait_until(lambda: len(heard) == 7 and not heard[-1].static_render.data)


def test_a_scene_published_before_the_conditioner_came_is_drawn_too_also_from_a_fixed_frame(ros: Ros) -> None:
    T_odom_map = transform(np.eye(3), np.array([0.5, -0.2, 0.1]))
    publisher = ros.publisher(PointCloud2, topics.SCENE_POINTS, topics.SCENE)
    publisher.publish(points_to_msg(red_wall().moved(np.linalg.inv(T_odom_map)), 1, "map"))
    ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED).publish(TFMessage(transforms=[edge("odom", "map", T_odom_map)]))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    node = conditioner(ros)
    assert wait_until(lambda: node._scene._elsewhere is not None and node._frames.find("odom", "map") is not None)
    Robot(ros).play(conditions(3))
    assert wait_until(lambda: len(heard) == 3)
    check_red_wall(heard[-1])


def test_a_scene_from_a_file_stands_where_it_is_said_to(ros: Ros, tmp_path: Path) -> None:
    save_scene(tmp_path / "scene.npz", red_wall().moved(transform(np.eye(3), np.array([0.0, 3.0, 0.0]))))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros, scene_file=str(tmp_path / "scene.npz"), T_world_scene=[0.0, -3.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    Robot(ros).play(conditions(3))
    assert wait_until(lambda: len(heard) == 3)
    check_red_wall(heard[-1])


def test_from_depth_to_conditions_all_in_one_graph(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    node, robot = scene_node(ros), DepthRobot(ros)
    for number in range(12):
        robot.look(number)
        robot.hands.publish(hands_to_msg((), stamp(number), "odom"))
        time.sleep(0.03)
    assert wait_until(lambda: fused(node) == 12)
    with_scene = [condition_from_msg(msg).condition for msg in heard if msg.static_render.data]
    assert with_scene
    last = with_scene[-1]
    assert last.static_known.mean() > 0.9
    assert psnr_db(last.static_render[last.static_known], last.image[last.static_known]) > 26
    assert last.camera == CAMERA != ROBOTS_CAMERA
    assert heard[-1].static_render.header.frame_id == OPTICAL

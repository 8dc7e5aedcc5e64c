"""Bags and Hand2World's examples kept as episodes, by the same rules as datasets."""

import json

import cv2
import numpy as np
from dataset_files import INDEX_TIP, SIDES, dot_in, dotted, head_poses
from hand_poses import random_hand
from import_checks import assert_tips_on_dots, import_all

from h2w_ros import geometry
from h2w_ros.camera import project
from h2w_ros.condition import Camera, Condition
from h2w_ros.episodes.bag_alignment import BagOptions
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.episodes.recording import open_recording
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.video import LOSSLESS, write_video

CAMERA = Camera(320, 240, 260.0, 262.0, 161.0, 118.0)
PERIOD_NS = 62_500_000


def moments(num_frames=6):
    """Conditions with both hands, and pictures in which their index fingertips are dots."""
    for index, T_world_camera in enumerate(head_poses(num_frames)):
        hands = [random_hand(seed, side) for seed, side in enumerate(SIDES)]
        hands = tuple(
            moved(hand, T_world_camera @ geometry.transform(np.eye(3), np.array([0.1 * (-1) ** seed, 0, 0]))) for seed, hand in enumerate(hands)
        )
        dots = {hand.side: tip_pixel(hand, T_world_camera) - 0.5 for hand in hands}
        yield Condition((index + 1) * PERIOD_NS, CAMERA, T_world_camera, hands, image=dotted(240, 320, dots))


def moved(hand, T):
    return type(hand)(hand.side, T @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)


def tip_pixel(hand, T_world_camera):
    tip = hand_joints_and_tips_world(load_hand_model(hand.side), hand)[INDEX_TIP]
    return project(CAMERA, geometry.apply(geometry.invert(T_world_camera), tip)[None])[0]


def test_hands_of_a_bag_lie_on_their_pixels_and_one_bad_bag_stops_no_other(tmp_path):
    write_bag(tmp_path / "src" / "good.mcap", moments())
    (tmp_path / "src" / "torn.mcap").write_bytes(b"\x89MCAP0\r\nnothing more")
    outcomes = import_all("rosbag", tmp_path / "src", tmp_path / "out")
    assert {name: outcome.status for name, outcome in outcomes.items()} == {"good.mcap": "done", "torn.mcap": "failed"}
    assert "torn.mcap" in outcomes["torn.mcap"].reason
    episode = open_recording(tmp_path / "out" / "good.mcap")
    assert episode.num_frames >= 5
    assert_tips_on_dots(episode, None, {"right": 0.5, "left": 0.5})


def test_a_bag_without_a_needed_topic_is_refused_with_the_topic_and_the_option_that_names_it(tmp_path):
    write_bag(tmp_path / "whole.mcap", moments())
    wanted = BagOptions(topics={"odometry": "/nowhere/odom"})
    refused = import_all("rosbag", tmp_path / "whole.mcap", tmp_path / "out", bag=wanted)["."]
    assert refused.status == "failed"
    assert "odometry" in refused.reason
    assert "--topic" in refused.reason


def test_a_hand2world_example_keeps_camera_and_hand_pictures_together(tmp_path):
    folder = tmp_path / "src" / "scene_01"
    folder.mkdir(parents=True)
    conditions = list(moments())
    cv2.imwrite(str(folder / "scene_image.png"), conditions[0].image[..., ::-1])
    write_video(folder / "hand_video.mp4", [condition.image for condition in conditions], 16.0, LOSSLESS)
    frames = [
        {
            "rotation": c.T_world_camera[:3, :3].ravel().tolist(),
            "translation": c.T_world_camera[:3, 3].tolist(),
            "intrinsics": {"fx": CAMERA.fx, "fy": CAMERA.fy, "cx": CAMERA.cx, "cy": CAMERA.cy},
        }
        for c in conditions
    ]
    (folder / "camera.json").write_text(json.dumps({"image_width": 320, "image_height": 240, "frames": frames}))
    assert import_all("hand2world", tmp_path / "src", tmp_path / "out")["scene_01"].status == "done"
    episode = open_recording(tmp_path / "out" / "scene_01")
    for kept, given in zip(episode.conditions(), conditions, strict=True):
        for hand in given.hands:
            tip = hand_joints_and_tips_world(load_hand_model(hand.side), hand)[INDEX_TIP]
            pixel = project(kept.camera, geometry.apply(geometry.invert(kept.T_world_camera), tip)[None])[0]
            np.testing.assert_allclose(pixel, dot_in(kept.hand_render, hand.side), atol=0.3)

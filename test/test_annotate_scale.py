"""The scale of a camera's path by hands that never rest, and the scene's points for paths that come without."""

from dataclasses import replace

import numpy as np
import pytest
from annotate_world import CAMERA
from hand_motion import curled_angles, hand_of_angles

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.points import TrackedPoints
from h2w_ros.annotate.cameras.touch import metres_beside_hands, scale_by_touch
from h2w_ros.annotate.cameras.triangulate import with_scene
from h2w_ros.annotate.cameras.turning import turning_off_px
from h2w_ros.annotate.hand_stage import FoundHand
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.camera import project
from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

NUM_FRAMES = 40
TABLE_M = 0.5  # beyond the first camera
DOWN = rotation_from_axis_angle(np.array([-np.pi / 2.0, 0.0, 0.0]))
TIMES_S = np.arange(NUM_FRAMES) / 16.0


def metric_poses():
    """A head that turns and moves by centimetres, looking along z."""
    turns = [rotation_from_axis_angle(np.array([0.05 * np.sin(t), 0.08 * np.sin(1.7 * t), 0.02])) for t in TIMES_S]
    return [transform(turn, np.array([0.03 * np.sin(2 * t), 0.02 * t, 0.02 * np.cos(t)])) for turn, t in zip(turns, TIMES_S, strict=True)]


def path_of(scale, points_world):
    poses = tuple(transform(pose[:3, :3], pose[:3, 3] / scale) for pose in metric_poses())
    always = np.tile((0, NUM_FRAMES - 1), (len(points_world), 1))
    return CameraPath(Intrinsics(CAMERA, "user"), poses, is_metric=False, source="test", points_world=points_world / scale, points_frames=always)


def table_points():
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 45), np.linspace(-0.4, 0.4, 35))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, TABLE_M)], axis=1)


def working_hands(lowest_m):
    """A flat hand over the table, its back to the camera, always on its way; its lowest joint comes down to a finger's half above `lowest_m`."""
    flat = hand_of_angles("right", curled_angles(np.zeros(5), np.zeros(5)), transform(DOWN, np.zeros(3)), np.zeros(10))
    depth_m = hand_joints_and_tips_world(load_hand_model("right"), flat)[:, 2].max()
    frames = []
    for T_world_camera, t in zip(metric_poses(), TIMES_S, strict=True):
        above_m = lowest_m + 0.08 * (1.0 + np.sin(5.0 * t))
        place = np.array([0.12 * np.sin(3.0 * t), 0.1 * np.cos(4.0 * t), TABLE_M - 0.01 - depth_m - above_m])
        hand = replace(flat, T_world_wrist=invert(T_world_camera) @ transform(DOWN, place))
        frames.append({"right": FoundHand(hand, 1.0, 120.0)})
    return frames


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_hands_that_never_rest_tell_the_scale_where_they_touch(scale):
    found = scale_by_touch(working_hands(0.0), path_of(scale, table_points()))
    assert found.scale == pytest.approx(scale, rel=0.06)
    assert found.spread < 1.15
    assert "hover" in found.source


def test_hands_that_hover_tell_a_scale_that_is_too_small_never_too_large():
    scales = [scale_by_touch(working_hands(above_m), path_of(1.0, table_points())).scale for above_m in (0.0, 0.05, 0.1)]
    assert 1.06 > scales[0] > scales[1] > scales[2] > 0.7


def test_few_points_that_are_wrong_change_little():
    rng = np.random.default_rng(0)
    wrong = rng.uniform((-0.2, -0.2, 0.1), (0.2, 0.2, 2.0), (80, 3))
    found = scale_by_touch(working_hands(0.0), path_of(1.0, np.concatenate([table_points(), wrong])))
    assert found.scale == pytest.approx(1.0, rel=0.1)


def test_points_that_something_carried_put_at_a_wrong_place_matter_only_while_it_moved():
    clean = path_of(1.0, table_points())
    carried = 0.2 * table_points()
    late = np.tile((NUM_FRAMES - 8, NUM_FRAMES - 1), (len(carried), 1))
    points, frames = np.concatenate([clean.points_world, carried]), np.concatenate([clean.points_frames, late])
    metres = metres_beside_hands(working_hands(0.0), replace(clean, points_world=points, points_frames=frames))
    wanted = metres_beside_hands(working_hands(0.0), clean)
    np.testing.assert_array_equal(metres[: NUM_FRAMES - 24], wanted[: NUM_FRAMES - 24])
    assert metres[-8:].min() > 3.0 * wanted.max()


def test_without_points_before_which_hands_are_nothing_is_said():
    assert np.isnan(scale_by_touch(working_hands(0.0), path_of(1.0, np.zeros((0, 3)))).scale)
    far_aside = table_points() + np.array([3.0, 0.0, 0.0])
    assert np.isnan(scale_by_touch(working_hands(0.0), path_of(1.0, far_aside)).scale)
    assert np.isnan(scale_by_touch(working_hands(0.0)[:5] + [{}] * (NUM_FRAMES - 5), path_of(1.0, table_points())).scale)


def followed(path, points, rng):
    """What is followed of a cloud of points, the first of which moves on its own."""
    tracks = []
    for pose in path.poses:
        places = project(CAMERA, apply(invert(pose), points)) + rng.normal(scale=0.3, size=(len(points), 2))
        places[0] = rng.uniform((0, 0), (640, 480))
        tracks.append(TrackedPoints(np.arange(len(points)), places))
    return tracks


def test_points_that_are_followed_are_put_where_their_rays_meet():
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.3, -0.2, 0.4), (0.3, 0.2, 0.8), (30, 3))
    path = path_of(1.0, np.zeros((0, 3)))
    found = with_scene(path, followed(path, points, rng))
    assert found.agreement == pytest.approx(29 / 30)
    assert found.parallax_agreement == pytest.approx(29 / 30, abs=0.01)
    np.testing.assert_allclose(found.points_world, points[1:], atol=0.02)


def test_points_do_not_agree_with_a_path_that_is_wrong_and_have_no_place_where_nothing_moved():
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.3, -0.2, 0.4), (0.3, 0.2, 0.8), (30, 3))
    path = path_of(1.0, np.zeros((0, 3)))
    tracks = followed(path, points, rng)
    inverse = replace(path, poses=tuple(invert(pose) for pose in path.poses))
    assert with_scene(inverse, tracks).agreement < 0.3
    assert with_scene(replace(path, poses=path.poses[::-1]), tracks).agreement < 0.3
    still = with_scene(replace(path, poses=(path.poses[0],) * NUM_FRAMES), [tracks[0]] * NUM_FRAMES)
    assert still.points_world.shape == (0, 3)
    assert still.agreement == 1.0
    assert np.isnan(still.parallax_agreement)
    assert np.isnan(with_scene(path, tracks[:3] + [TrackedPoints(np.zeros(0, int), np.zeros((0, 2)))] * (NUM_FRAMES - 3)).agreement)


def turning_only(points, rng, noise_px):
    """What a head that turns and does not move sees of a cloud of points."""
    turned = tuple(transform(pose[:3, :3], np.zeros(3)) for pose in metric_poses())
    places = [project(CAMERA, apply(invert(pose), points)) for pose in turned]
    return turned, [TrackedPoints(np.arange(len(points)), place + rng.normal(scale=noise_px, size=place.shape)) for place in places]


def test_a_camera_that_only_turned_explains_its_points_and_one_that_moved_does_not():
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.3, -0.2, 0.4), (0.3, 0.2, 0.8), (60, 3))
    turned = turning_off_px(turning_only(points, rng, 0.3)[1], CAMERA)
    assert len(turned) == 60
    assert max(turned.values()) < 0.6
    moved = turning_off_px(followed(path_of(1.0, np.zeros((0, 3))), points, rng), CAMERA)
    assert np.median(list(moved.values())) > 3.0
    assert turning_off_px([TrackedPoints(np.zeros(0, int), np.zeros((0, 2)))] * 3, CAMERA) == {}


def test_a_path_that_was_made_up_for_a_still_head_agrees_with_most_points_and_not_with_those_that_moved():
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.3, -0.2, 0.4), (0.3, 0.2, 0.8), (120, 3))
    turned, tracks = turning_only(points, rng, 0.3)
    for frame, track in enumerate(tracks):  # somebody pushes what the first forty lie on, there and back
        track.places_px[:40] += 12.0 * np.sin(0.4 * frame) * np.array([1.0, 0.4])
    made_up = [transform(T[:3, :3], 0.001 * np.array([np.sin(0.9 * t), np.cos(0.7 * t), 0.0])) for t, T in enumerate(turned)]
    found = with_scene(replace(path_of(1.0, np.zeros((0, 3))), poses=tuple(made_up)), tracks)
    assert found.agreement > 0.6
    assert found.parallax_agreement < 0.1

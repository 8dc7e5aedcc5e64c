"""Which pose a stream's rays are anchored to, and how far their motion is amplified."""

from itertools import pairwise

import numpy as np
import pytest

from h2w_ros.camera import PluckerMap, plucker_rays, relative_to, scaled, scaled_as_released
from h2w_ros.condition import Camera
from h2w_ros.generator.config import RaysConfig
from h2w_ros.generator.rays import RayTrack, amplified
from h2w_ros.geometry import rotation_angle_rad, rotation_from_axis_angle, transform

CAMERA = Camera(32, 24, 25.0, 25.0, 16.0, 12.0)


def walk(num_poses: int, turn_rad: float = 0.02) -> list[np.ndarray]:
    """A head that walks away from where it began, 3 cm at a time, every step the same seen from the head."""
    step = transform(rotation_from_axis_angle(np.array([0.0, turn_rad, 0.0])), np.array([0.03, 0.0, 0.01]))
    return [np.linalg.matrix_power(step, i) for i in range(num_poses)]


def rays_of(config: RaysConfig, poses: list[np.ndarray]) -> list[PluckerMap]:
    track = RayTrack(config, CAMERA.width_px, CAMERA.height_px)
    return [track.push(CAMERA, pose).plucker for pose in poses]


@pytest.mark.parametrize("config", [RaysConfig(), RaysConfig(anchor_lag=1), RaysConfig(anchor_lag=3, motion_gain=8.0)])
def test_a_streams_first_rays_have_no_moment_and_the_cameras_directions(config: RaysConfig) -> None:
    first = rays_of(config, walk(5)[3:])[0]
    np.testing.assert_array_equal(first, plucker_rays(CAMERA, np.eye(4)))


def test_without_a_lag_every_frame_is_anchored_to_the_first() -> None:
    poses = walk(6)
    for pose, rays in zip(poses, rays_of(RaysConfig(), poses), strict=True):
        np.testing.assert_array_equal(rays, plucker_rays(CAMERA, relative_to(poses[0], pose)))


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_with_a_lag_a_frame_is_anchored_so_many_frames_back_or_to_the_first(lag: int) -> None:
    poses = walk(8)
    for i, rays in enumerate(rays_of(RaysConfig(anchor_lag=lag), poses)):
        np.testing.assert_array_equal(rays, plucker_rays(CAMERA, relative_to(poses[max(0, i - lag)], poses[i])))


@pytest.mark.parametrize("gain", [0.5, 1.0, 8.0])
def test_the_gain_multiplies_angle_and_distance(gain: float) -> None:
    motion = transform(rotation_from_axis_angle(np.array([0.02, -0.05, 0.01])), np.array([0.01, 0.02, -0.03]))
    larger = amplified(motion, gain)
    assert rotation_angle_rad(larger[:3, :3]) == pytest.approx(gain * rotation_angle_rad(motion[:3, :3]), rel=1e-6)
    np.testing.assert_allclose(larger[:3, 3], gain * motion[:3, 3], rtol=1e-12)


def test_a_camera_at_rest_stays_at_rest_whatever_the_gain() -> None:
    resting = rays_of(RaysConfig(anchor_lag=1, motion_gain=8.0), [walk(8)[-1]] * 3)
    np.testing.assert_array_equal(resting[2], resting[0])


def test_sliding_rays_stay_bounded_on_an_endless_walk() -> None:
    """At constant speed they do not even change; rays anchored to frame 0 grow without end."""
    poses = walk(200, turn_rad=0.0)
    sliding, anchored = rays_of(RaysConfig(anchor_lag=2, motion_gain=8.0), poses), rays_of(RaysConfig(), poses)
    np.testing.assert_allclose(sliding[-1], sliding[2], atol=1e-5)
    largest = [np.abs(anchored[i][..., :3]).max() for i in (10, 50, 100, 199)]
    assert all(later > 1.5 * earlier for earlier, later in pairwise(largest))


def test_focal_lengths_follow_the_configs_aspect_rule() -> None:
    wide = Camera(64, 24, 50.0, 25.0, 32.0, 12.0)
    for aspect, rule in (("per_axis", scaled), ("released", scaled_as_released)):
        rays = RayTrack(RaysConfig(aspect=aspect), 32, 24).push(wide, np.eye(4)).plucker
        np.testing.assert_array_equal(rays, plucker_rays(rule(wide, 32, 24), np.eye(4)))
    assert scaled(wide, 32, 24) != scaled_as_released(wide, 32, 24)

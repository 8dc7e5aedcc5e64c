"""Pixels and intrinsics agree through every resize, and rays are what Plücker says."""

import json
from fractions import Fraction

import numpy as np
import pytest
from golden import GOLDEN, needs_golden
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from h2w_ros.camera import (
    Resize,
    from_pixel_centres,
    pack_plucker,
    plucker_rays,
    project,
    relative_to,
    scaled,
    scaled_as_released,
    unit_rays_camera,
)
from h2w_ros.condition import Camera
from h2w_ros.geometry import apply, rotation_from_axis_angle, transform

CAMERA = Camera(64, 48, 50.0, 55.0, 30.0, 26.0)

number = st.floats(-2.0, 2.0)
vectors = st.tuples(number, number, number).map(np.array)
poses = st.builds(lambda turn_rad, origin: transform(rotation_from_axis_angle(turn_rad), origin), vectors, vectors)
any_pose = settings(max_examples=25, deadline=None)


def spot(height_px: int, width_px: int, u: float, v: float) -> np.ndarray:
    """A picture with a soft white spot at (u, v), corner origin."""
    rows, columns = np.mgrid[:height_px, :width_px] + 0.5
    bright = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 50.0)
    return np.repeat((255 * bright).astype(np.uint8)[..., None], 3, axis=2)


def centre_of_light(picture: np.ndarray) -> np.ndarray:
    """(u, v) of the brightness' centre, corner origin."""
    weight = picture[..., 0].astype(float)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("policy", ["squash", "crop"])
@pytest.mark.parametrize("size", [(160, 120), (160, 160), (400, 200), (101, 77)])
def test_a_projected_point_lands_where_the_resized_picture_shows_it(policy: str, size: tuple[int, int]) -> None:
    camera = Camera(320, 240, 250.0, 240.0, 150.0, 126.0)
    point_camera = np.array([[0.03, -0.04, 0.5]])
    resize = Resize(*size, policy=policy)
    shown = centre_of_light(resize.picture(spot(240, 320, *project(camera, point_camera)[0])))
    np.testing.assert_allclose(project(resize.camera(camera), point_camera)[0], shown, atol=0.15)


@pytest.mark.parametrize("policy", ["squash", "crop"])
def test_the_resized_camera_has_the_size_of_the_resized_picture(policy: str) -> None:
    resize = Resize(128, 96, policy=policy)
    picture, camera = resize.picture(spot(90, 160, 80, 45)), resize.camera(Camera(160, 90, 100.0, 100.0, 80.0, 45.0))
    assert picture.shape == (96, 128, 3)
    assert (camera.width_px, camera.height_px) == (128, 96)


def test_cropping_keeps_pixels_square_and_the_middle() -> None:
    camera = Resize(100, 100, policy="crop").camera(Camera(400, 200, 300.0, 300.0, 200.0, 100.0))
    assert camera == Camera(100, 100, 150.0, 150.0, 50.0, 50.0)


def test_the_camera_before_its_resize_gives_the_same_resized_camera() -> None:
    """A ray rule that scales by itself starts from what is kept of the picture."""
    for policy in ("squash", "crop"):
        resize = Resize(128, 96, policy=policy)
        assert scaled(resize.kept(CAMERA), 128, 96) == resize.camera(CAMERA)


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = spot(48, 64, 10, 10)
    assert np.array_equal(Resize(64, 48).picture(picture), picture)


def test_ros_counts_pixels_from_the_centre_of_the_first() -> None:
    """A point on the optical axis of a camera whose principal point is ROS's (0, 0) falls on the first pixel's centre."""
    camera = from_pixel_centres(640, 480, 500.0, 500.0, 0.0, 0.0)
    np.testing.assert_allclose(project(camera, np.array([[0.0, 0.0, 1.0]])), [[0.5, 0.5]])


def test_rays_pass_through_the_centres_of_their_pixels() -> None:
    rays = unit_rays_camera(CAMERA).astype(np.float64)
    pixels = project(CAMERA, rays).reshape(CAMERA.height_px, CAMERA.width_px, 2)
    rows, columns = np.mgrid[: CAMERA.height_px, : CAMERA.width_px] + 0.5
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=-1), atol=1e-4)


def test_rays_that_all_share_cannot_be_changed_by_one() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unit_rays_camera(CAMERA)[:] = 0.0


@any_pose
@given(poses)
def test_moments_stand_on_directions_and_on_the_cameras_place(T_anchor_camera: np.ndarray) -> None:
    rays = plucker_rays(CAMERA, T_anchor_camera)
    moment, direction = rays[..., :3], rays[..., 3:]
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose((moment * direction).sum(-1), 0.0, atol=1e-5)
    np.testing.assert_allclose(moment @ T_anchor_camera[:3, 3], 0.0, atol=1e-5)


@any_pose
@given(poses, st.floats(0.1, 10.0))
def test_every_point_of_a_ray_has_the_rays_moment(T_anchor_camera: np.ndarray, depth_m: float) -> None:
    point_camera = depth_m * unit_rays_camera(CAMERA)[1000].astype(np.float64)
    ray = plucker_rays(CAMERA, T_anchor_camera).reshape(-1, 6)[1000]
    np.testing.assert_allclose(np.cross(apply(T_anchor_camera, point_camera), ray[3:]), ray[:3], atol=1e-4)


@any_pose
@given(poses)
def test_a_frame_anchored_to_itself_has_no_moment(T_world_camera: np.ndarray) -> None:
    assert not plucker_rays(CAMERA, relative_to(T_world_camera, T_world_camera))[..., :3].any()


@any_pose
@given(poses, poses, poses)
def test_rays_do_not_know_where_the_world_began(T_other_world: np.ndarray, T_world_anchor: np.ndarray, T_world_camera: np.ndarray) -> None:
    here = plucker_rays(CAMERA, relative_to(T_world_anchor, T_world_camera))
    there = plucker_rays(CAMERA, relative_to(T_other_world @ T_world_anchor, T_other_world @ T_world_camera))
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_the_released_rule_agrees_with_ours_only_where_the_aspect_is_kept() -> None:
    assert scaled_as_released(CAMERA, 128, 96) == scaled(CAMERA, 128, 96)
    wide = scaled_as_released(CAMERA, 128, 48)
    assert (wide.fx, wide.fy, wide.cx, wide.cy) == (100.0, 110.0, 60.0, 26.0)
    high = scaled_as_released(CAMERA, 64, 96)
    assert (high.fx, high.fy, high.cx, high.cy) == (100.0, 110.0, 30.0, 52.0)


def test_with_stride_one_every_frame_is_a_latent() -> None:
    rays = np.random.default_rng(0).normal(size=(5, 4, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(pack_plucker(rays, 1), rays.transpose(3, 0, 1, 2))


def test_with_stride_four_a_latent_holds_its_four_frames_component_by_component() -> None:
    rays = np.random.default_rng(0).normal(size=(9, 4, 6, 6)).astype(np.float32)
    packed = pack_plucker(rays, 4)
    assert packed.shape == (24, 3, 4, 6)
    for component in range(6):
        for place in range(4):
            channel = packed[4 * component + place]
            np.testing.assert_array_equal(channel[0], rays[0, ..., component])
            np.testing.assert_array_equal(channel[2], rays[5 + place, ..., component])


@pytest.mark.parametrize("num_frames", [2, 4, 8])
def test_frames_that_do_not_fill_a_latent_are_refused(num_frames: int) -> None:
    with pytest.raises(ValueError, match=rf"1 \+ 4 n to pack by 4, got {num_frames}"):
        pack_plucker(np.zeros((num_frames, 2, 2, 6), np.float32), 4)


@needs_golden
def test_rays_and_their_packing_equal_the_release() -> None:
    meta, theirs = json.loads((GOLDEN / "meta.json").read_text()), load_file(GOLDEN / "inputs.safetensors")
    recorded, size = meta["camera"], (meta["width"], meta["height"])
    poses, cameras = [], []
    for frame in recorded["frames"][: len(theirs["plucker"])]:
        poses.append(transform(np.array(frame["rotation"]).reshape(3, 3), np.array(frame["translation"])))
        camera = Camera(recorded["image_width"], recorded["image_height"], **frame["intrinsics"])
        cameras.append(scaled_as_released(camera, *size))
    rays = np.stack([plucker_rays(camera, relative_to(poses[0], pose)) for camera, pose in zip(cameras, poses, strict=True)])
    np.testing.assert_allclose(rays, theirs["plucker"], atol=1e-5)
    np.testing.assert_allclose(pack_plucker(rays, 4), theirs["plucker_latent"][0], atol=1e-5)


def test_a_squashed_picture_is_shown_as_wide_as_its_source() -> None:
    assert Resize(128, 128).pixel_aspect(256, 192) == Fraction(4, 3)
    assert Resize(128, 96).pixel_aspect(256, 192) == 1
    assert Resize(128, 128, "crop").pixel_aspect(256, 192) == 1

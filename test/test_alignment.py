"""Pictures of a plane whose texture is known, from cameras whose motion is known: alignment finds it, whatever moves by itself."""

import cv2
import numpy as np
import pytest

from h2w_ros.condition import Camera
from h2w_ros.evaluation.alignment import KnownDepth, Sight
from h2w_ros.geometry import Transform, invert, rotation_angle_rad, rotation_from_axis_angle, transform

CAMERA = Camera(128, 96, 100.0, 95.0, 66.0, 47.0)
WIDER = Camera(128, 96, 80.0, 80.0, 62.0, 50.0)
DEPTH_M = 0.6
NOWHERE = np.zeros((96, 128), bool)
MOVED = transform(rotation_from_axis_angle(np.array([0.05, -0.04, 0.06])), np.array([0.02, 0.01, -0.03]))
"""T_first_other."""


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(240, 320, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 4.0)
    return np.asarray((128 + 45 * soft / soft.std()).clip(0, 255), np.uint8)


def seen_from(T_first_other: Transform, camera: Camera = CAMERA, seed: int = 0) -> np.ndarray:
    """A plane that faces the first camera: the homography that a plane induces (Hartley and Zisserman 2004)."""
    T = invert(T_first_other)
    on_plane = T[:3, :3] + np.outer(T[:3, 3], (0.0, 0.0, 1.0 / DEPTH_M))
    to_plane = np.linalg.inv(intrinsics(CAMERA)) @ np.array([[1.0, 0.0, -96.0], [0.0, 1.0, -72.0], [0.0, 0.0, 1.0]])
    return cv2.warpPerspective(texture(seed), intrinsics(camera) @ on_plane @ to_plane, (128, 96), borderValue=(90, 90, 90))


def intrinsics(camera: Camera) -> np.ndarray:
    """Of pixel indices: the centre of the first pixel is (0, 0)."""
    return np.array([[camera.fx, 0.0, camera.cx - 0.5], [0.0, camera.fy, camera.cy - 0.5], [0.0, 0.0, 1.0]])


def known(picture: np.ndarray | None = None, hidden: np.ndarray = NOWHERE) -> KnownDepth:
    first = seen_from(np.eye(4)) if picture is None else picture
    return KnownDepth(Sight.of(first, CAMERA, hidden), np.full((96, 128), DEPTH_M), hidden)


def off(found: Transform, T_first_other: Transform = MOVED) -> tuple[float, float]:
    """How wrong T_other_first is: degrees and metres."""
    wrong = found @ T_first_other
    return float(np.degrees(rotation_angle_rad(wrong[:3, :3]))), float(np.linalg.norm(wrong[:3, 3]))


@pytest.mark.parametrize("camera", [CAMERA, WIDER])
def test_a_cameras_motion_is_found_to_a_tenth_of_a_degree(camera: Camera) -> None:
    found = known().aligned(Sight.of(seen_from(MOVED, camera), camera, NOWHERE), [np.eye(4)])
    degrees, metres = off(found)
    assert degrees < 0.2
    assert metres < 0.003


def test_what_moves_by_itself_or_hides_the_scene_does_not_bend_it() -> None:
    picture, hidden = seen_from(MOVED), NOWHERE.copy()
    picture[10:50, 60:90] = texture(1)[:40, :30]  # a thing that stood elsewhere
    picture[60:, :40] = (200, 150, 120)  # a hand
    hidden[60:, :40] = True
    degrees, metres = off(known().aligned(Sight.of(picture, CAMERA, hidden), [np.eye(4)]))
    assert degrees < 0.3
    assert metres < 0.004


def test_a_camera_that_went_too_far_to_be_found_is_found_from_a_better_start() -> None:
    far = transform(rotation_from_axis_angle(np.array([0.0, 0.35, 0.0])), np.zeros(3))
    sight = Sight.of(seen_from(far), CAMERA, NOWHERE)
    near = transform(rotation_from_axis_angle(np.array([0.02, -0.3, 0.0])), np.zeros(3))
    assert off(known().aligned(sight, [np.eye(4)]), far)[0] > 5.0
    assert off(known().aligned(sight, [np.eye(4), near]), far)[0] < 1.0


def test_pictures_that_show_nothing_say_that_the_camera_stands() -> None:
    grey = np.full((96, 128, 3), 90, np.uint8)
    assert known(grey).aligned(Sight.of(grey, CAMERA, NOWHERE), [np.eye(4)]) == pytest.approx(np.eye(4), abs=1e-9)


def test_a_picture_that_is_hidden_altogether_says_nothing() -> None:
    everywhere = ~NOWHERE
    found = known(hidden=everywhere).aligned(Sight.of(seen_from(MOVED), CAMERA, everywhere), [np.eye(4)])
    assert np.isfinite(found).all()
    assert off(found, np.eye(4))[0] < 1e-6

"""Pictures of a plane whose texture is known, from cameras whose motion is known: alignment finds it, whatever moves by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from h2w_ros.condition import Camera, Image
from h2w_ros.evaluation.alignment import KnownDepth, Sight
from h2w_ros.evaluation.estimator_network import EstimatorNetwork
from h2w_ros.evaluation.estimators import Estimators, Watched
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
    return KnownDepth(Sight.of(first, CAMERA, hidden), np.full((96, 128), DEPTH_M))


def off(found: Transform, T_first_other: Transform = MOVED) -> tuple[float, float]:
    """How wrong T_other_first is: degrees and metres."""
    wrong = found @ T_first_other
    return float(np.degrees(rotation_angle_rad(wrong[:3, :3]))), float(np.linalg.norm(wrong[:3, 3]))


@pytest.mark.parametrize("camera", [CAMERA, WIDER])
def test_a_cameras_motion_is_found_to_a_tenth_of_a_degree(camera: Camera) -> None:
    degrees, metres = off(known().aligned(Sight.of(seen_from(MOVED, camera), camera, NOWHERE), [np.eye(4)]))
    assert degrees < 0.1
    assert metres < 0.002


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 12.0), (0.85, 0.0), (1.1, -15.0)])
def test_a_picture_that_is_brighter_or_darker_has_not_moved(gain: float, offset: float) -> None:
    picture = (gain * seen_from(MOVED) + offset).clip(0, 255).astype(np.uint8)
    degrees, metres = off(known().aligned(Sight.of(picture, CAMERA, NOWHERE), [np.eye(4)]))
    assert degrees < 0.3
    assert metres < 0.004


def test_what_moves_by_itself_or_hides_the_scene_does_not_bend_it() -> None:
    picture, hidden = seen_from(MOVED), NOWHERE.copy()
    picture[10:50, 60:90] = texture(1)[:40, :30]  # a thing that stood elsewhere
    picture[60:, :40] = (200, 150, 120)  # a hand
    hidden[60:, :40] = True
    degrees, metres = off(known().aligned(Sight.of(picture, CAMERA, hidden), [np.eye(4)]))
    assert degrees < 0.3
    assert metres < 0.004


@pytest.mark.parametrize("turn_rad", [-0.6, 0.45])
def test_a_hand_before_half_of_the_scene_is_no_reason_to_look_away_from_it(turn_rad: float) -> None:
    picture, hidden = seen_from(MOVED), NOWHERE.copy()
    hidden[:, 40:95] = True
    picture[hidden] = (200, 150, 120)
    away = transform(rotation_from_axis_angle(np.array([0.0, turn_rad, 0.0])), np.zeros(3))
    degrees, _ = off(known().aligned(Sight.of(picture, CAMERA, hidden), [away, invert(MOVED)]))
    assert degrees < 0.3


def test_what_is_hidden_in_the_known_picture_is_not_compared() -> None:
    picture, hidden = seen_from(np.eye(4)), NOWHERE.copy()
    hidden[:, :70] = True
    picture[:, :70] = np.roll(seen_from(np.eye(4)), 6, axis=1)[:, :70]  # a large hand, as it were, that stays in the picture
    other = seen_from(MOVED)
    degrees, _ = off(known(picture, hidden).aligned(Sight.of(other, CAMERA, NOWHERE), [np.eye(4)]))
    assert degrees < 0.3


def test_a_camera_that_went_too_far_to_be_found_is_found_from_a_better_start() -> None:
    far = transform(rotation_from_axis_angle(np.array([0.0, 0.35, 0.0])), np.zeros(3))
    sight = Sight.of(seen_from(far), CAMERA, NOWHERE)
    near = transform(rotation_from_axis_angle(np.array([0.02, -0.3, 0.0])), np.zeros(3))
    assert off(known().aligned(sight, [np.eye(4)]), far)[0] > 5.0
    assert off(known().aligned(sight, [np.eye(4), near]), far)[0] < 1.0


def test_pictures_that_show_nothing_say_that_the_camera_stands() -> None:
    grey = np.full((96, 128, 3), 90, np.uint8)
    assert known(grey).aligned(Sight.of(grey, CAMERA, NOWHERE), [np.eye(4)]) == pytest.approx(np.eye(4), abs=1e-9)
    moved = known(grey).aligned(Sight.of(grey, CAMERA, NOWHERE), [invert(MOVED)])
    assert off(moved, np.eye(4))[0] < 0.1  # heads hardly turn, unless something tells that they did


@pytest.mark.parametrize("hides", ["the known one", "the other one"])
def test_a_picture_that_is_hidden_altogether_leaves_the_camera_where_it_was_thought_to_be(hides: str) -> None:
    everywhere = ~NOWHERE
    this, other = (everywhere, NOWHERE) if hides == "the known one" else (NOWHERE, everywhere)
    found = known(hidden=this).aligned(Sight.of(seen_from(MOVED), CAMERA, other), [invert(MOVED), np.eye(4)])
    assert found == pytest.approx(invert(MOVED))


def test_depth_that_nobody_knows_is_left_out() -> None:
    depth_m = np.full((96, 128), DEPTH_M)
    depth_m[:, 100:], depth_m[:10], depth_m[90:] = np.inf, np.nan, 0.0
    degrees, _ = off(
        KnownDepth(Sight.of(seen_from(np.eye(4)), CAMERA, NOWHERE), depth_m).aligned(Sight.of(seen_from(MOVED), CAMERA, NOWHERE), [np.eye(4)])
    )
    assert degrees < 0.2


class _Matches(Estimators):
    """Estimators of known depth that see no hands; cells are found again as if the camera had gone so."""

    def __init__(self, T_start_other: Transform) -> None:
        super().__init__(EstimatorNetwork())
        self._matches = T_start_other

    def watch(self, pictures: Sequence[Image], cameras: Sequence[Camera]) -> Watched:
        clip = super().watch(pictures, cameras)
        surfaces = torch.stack([torch.full((96, 128), -9.0), torch.full((96, 128), float(np.log(DEPTH_M)))]).expand(len(pictures), -1, -1, -1)
        return replace(clip, seen=replace(clip.seen, surfaces=surfaces), sights=[Sight.of(picture, CAMERA, NOWHERE) for picture in pictures])

    def _matched(self, start: Watched, clip: Watched) -> Iterator[Transform]:
        return iter([self._matches] * len(clip.sights))


def test_the_estimators_follow_a_camera_from_picture_to_picture() -> None:
    step = transform(rotation_from_axis_angle(np.array([0.0, 0.06, 0.0])), np.array([0.005, 0.0, 0.0]))
    poses = [np.linalg.matrix_power(step, k) for k in range(6)]
    estimators = _Matches(np.eye(4))
    clip = estimators.watch([seen_from(pose) for pose in poses], [CAMERA] * 6)
    for pose, found in zip(poses, estimators.motions(clip, clip), strict=True):
        assert off(invert(found), pose)[0] < 0.3


def test_the_estimators_find_a_camera_again_where_matched_cells_say_it_is() -> None:
    far = transform(rotation_from_axis_angle(np.array([0.0, 0.35, 0.0])), np.zeros(3))
    near = transform(rotation_from_axis_angle(np.array([-0.02, 0.3, 0.0])), np.zeros(3))
    estimators = _Matches(near)
    start = estimators.watch([seen_from(np.eye(4))], [CAMERA])
    (found,) = estimators.motions(start, estimators.watch([seen_from(far)], [CAMERA]))
    assert off(invert(found), far)[0] < 1.0

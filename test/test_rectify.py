"""Rectified pictures agree with the pinhole camera that they claim."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from h2w_ros.camera import project
from h2w_ros.rectify import Lens, Rectifier

K = (150.0, 155.0, 161.0, 118.0)
LENSES = {
    "plumb_bob": Lens(320, 240, K, "plumb_bob", (-0.25, 0.08, 0.001, -0.002, -0.01)),
    "rational_polynomial": Lens(320, 240, K, "rational_polynomial", (0.3, -0.1, 0.001, 0.0005, 0.01, 0.6, -0.2, 0.02)),
    "equidistant": Lens(320, 240, K, "equidistant", (-0.02, 0.01, -0.004, 0.001)),
}
POINTS = np.array([[0.2, 0.1, 1.0], [-0.35, 0.2, 1.0], [0.1, -0.3, 1.0], [-0.3, -0.25, 1.0]])


def distorted(lens: Lens, points: np.ndarray) -> np.ndarray:
    matrix = np.array([[lens.K[0], 0, lens.K[2]], [0, lens.K[1], lens.K[3]], [0, 0, 1.0]])
    coefficients = np.array(lens.coefficients)
    if lens.model == "equidistant":
        return cv2.fisheye.projectPoints(points[None], np.zeros(3), np.zeros(3), matrix, coefficients)[0].reshape(-1, 2)
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, coefficients)[0].reshape(-1, 2)


def spot(shape: tuple[int, int], uv: np.ndarray) -> np.ndarray:
    """A smooth bright spot at this pixel position (origin: first pixel's centre)."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    bright = 255 * np.exp(-((u - uv[0]) ** 2 + (v - uv[1]) ** 2) / (2 * 2.0**2))
    return np.repeat(bright.astype(np.uint8)[..., None], 3, axis=2)


def centre_of_mass(picture: np.ndarray) -> np.ndarray:
    weights = picture[..., 0].astype(float)
    v, u = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(u * weights).sum(), (v * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("model", sorted(LENSES))
def test_what_a_lens_bends_lands_where_its_pinhole_camera_projects_it(model: str) -> None:
    rectifier = Rectifier(LENSES[model])
    expected = project(rectifier.camera, POINTS) - 0.5
    for raw_uv, straight_uv in zip(distorted(LENSES[model], POINTS), expected, strict=True):
        assert np.linalg.norm(raw_uv - straight_uv) > 0.5
        found = centre_of_mass(rectifier(spot((240, 320), raw_uv)))
        assert np.abs(found - straight_uv).max() < 0.3


@pytest.mark.parametrize("model", sorted(LENSES))
def test_rectified_pictures_have_no_blank_border(model: str) -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    assert Rectifier(LENSES[model])(white)[1:-1, 1:-1].min() == 255


def test_a_calibrations_own_pinhole_is_used() -> None:
    lens = Lens(320, 240, K, "plumb_bob", (-0.2, 0.0, 0.0, 0.0, 0.0), pinhole=(120.0, 121.0, 160.0, 119.0))
    camera = Rectifier(lens).camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (120.0, 121.0, 160.5, 119.5)


def test_a_straight_lens_hands_the_picture_on_without_a_copy() -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    assert Rectifier(Lens(320, 240, K))(picture) is picture


def test_a_binned_part_of_the_sensor_sees_the_same_rays() -> None:
    full = Lens(320, 240, K)
    part = full.cut(40, 20, 200, 160, binning_x=2, binning_y=2)
    assert (part.width_px, part.height_px) == (100, 80)
    corner = project(Rectifier(full).camera, POINTS)
    assert project(Rectifier(part).camera, POINTS) == pytest.approx((corner - (40, 20)) / 2)


def test_unknown_models_and_uncalibrated_cameras_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"distortion model must be one of .* got 'omni'"):
        Lens(320, 240, K, "omni")
    with pytest.raises(ValueError, match="not calibrated"):
        Lens(320, 240, (0.0, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"takes .* coefficients, got 3"):
        Lens(320, 240, K, "plumb_bob", (0.1, 0.2, 0.3))


def test_a_picture_of_another_size_than_its_calibration_is_refused() -> None:
    with pytest.raises(ValueError, match="like its camera_info"):
        Rectifier(Lens(320, 240, K))(np.zeros((120, 160, 3), np.uint8))

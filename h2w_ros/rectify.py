"""Pictures of distorted lenses made into pictures of a pinhole camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from h2w_ros.camera import from_pixel_centres
from h2w_ros.condition import Camera, Image

Maps = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Lens:
    """A calibrated camera with distortion, in ROS's and OpenCV's pixels: the origin is the first pixel's centre.

    `K`: fx, fy, cx, cy of the raw picture. `coefficients` in the order of the distortion model. `pinhole`: fx, fy, cx,
    cy of the rectified picture where the calibration chose them (CameraInfo's P); None leaves the choice to us.
    """

    width_px: int
    height_px: int
    K: tuple[float, float, float, float]
    model: str = "plumb_bob"
    coefficients: tuple[float, ...] = ()
    pinhole: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"distortion model must be one of {sorted(MODELS)}, got {self.model!r}: rectify the pictures before they come here")
        allowed = MODELS[self.model].num_coefficients
        if len(self.coefficients) not in allowed:
            raise ValueError(f"distortion model {self.model} takes {allowed} coefficients, got {len(self.coefficients)}")
        numbers = (*self.K, *self.coefficients, *(self.pinhole or ()))
        if not np.isfinite(numbers).all():
            raise ValueError(f"calibration must be finite, got K={self.K} coefficients={self.coefficients} pinhole={self.pinhole}")
        if self.K[0] <= 0 or self.K[1] <= 0:
            raise ValueError(f"focal lengths must be positive, got fx={self.K[0]} fy={self.K[1]}: the camera is not calibrated")

    def cut(self, left_px: int, top_px: int, width_px: int, height_px: int, binning_x: int = 1, binning_y: int = 1) -> Lens:
        """The lens of a part of the sensor, binned: offsets and size in full pixels, as CameraInfo's roi and binning.

        ValueError for a part that is not within the sensor, or so binned that nothing is left.
        """
        if left_px + width_px > self.width_px or top_px + height_px > self.height_px:
            part = f"{width_px}x{height_px} px at ({left_px}, {top_px})"
            raise ValueError(f"roi must lie within the {self.width_px}x{self.height_px} px of camera_info, got {part}")
        if min(width_px // binning_x, height_px // binning_y) < 1:
            raise ValueError(f"binning must leave a pixel of {width_px}x{height_px} px, got {binning_x}x{binning_y}: size must be positive")
        offset, binning = np.array([left_px, top_px]), np.array([binning_x, binning_y])

        def moved(numbers: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
            # The corner of a picture is where binned pixels stay aligned; centres move by half a pixel.
            focal, principal = np.array(numbers[:2]) / binning, (np.array(numbers[2:]) + 0.5 - offset) / binning - 0.5
            return (float(focal[0]), float(focal[1]), float(principal[0]), float(principal[1]))

        pinhole = moved(self.pinhole) if self.pinhole else None
        return replace(self, width_px=width_px // binning_x, height_px=height_px // binning_y, K=moved(self.K), pinhole=pinhole)

    @property
    def is_straight(self) -> bool:
        """Whether the raw picture already is a pinhole's."""
        # With all four coefficients zero the equidistant model still bends: r = f theta.
        return self.model != "equidistant" and not any(self.coefficients) and self.pinhole in (None, self.K)


@dataclass(frozen=True)
class DistortionModel:
    """How OpenCV undoes one model: which lengths of coefficients it knows, a pinhole that sees no blank border, the maps."""

    num_coefficients: tuple[int, ...]
    pinhole: Callable[[Lens], Float[ndarray, "3 3"]]
    maps: Callable[[Lens, Float[ndarray, "3 3"]], Maps]


def _matrix(numbers: tuple[float, float, float, float]) -> Float[ndarray, "3 3"]:
    fx, fy, cx, cy = numbers
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _coefficients(lens: Lens) -> np.ndarray:
    return np.array(lens.coefficients or (0.0,) * 4, dtype=np.float64)


def _brown_pinhole(lens: Lens) -> Float[ndarray, "3 3"]:
    size = (lens.width_px, lens.height_px)
    return cv2.getOptimalNewCameraMatrix(_matrix(lens.K), _coefficients(lens), size, alpha=0.0)[0]


def _brown_maps(lens: Lens, K_new: Float[ndarray, "3 3"]) -> Maps:
    size = (lens.width_px, lens.height_px)
    return cv2.initUndistortRectifyMap(_matrix(lens.K), _coefficients(lens), np.eye(3), K_new, size, cv2.CV_16SC2)


def _fisheye_pinhole(lens: Lens) -> Float[ndarray, "3 3"]:
    size = (lens.width_px, lens.height_px)
    return cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(_matrix(lens.K), _coefficients(lens), size, np.eye(3), balance=0.0)


def _fisheye_maps(lens: Lens, K_new: Float[ndarray, "3 3"]) -> Maps:
    size = (lens.width_px, lens.height_px)
    return cv2.fisheye.initUndistortRectifyMap(_matrix(lens.K), _coefficients(lens), np.eye(3), K_new, size, cv2.CV_16SC2)


MODELS = {
    "plumb_bob": DistortionModel((0, 4, 5), _brown_pinhole, _brown_maps),
    "rational_polynomial": DistortionModel((0, 8, 12, 14), _brown_pinhole, _brown_maps),
    "equidistant": DistortionModel((0, 4), _fisheye_pinhole, _fisheye_maps),
}


@contextmanager
def _as_value_error() -> Iterator[None]:
    """What OpenCV says of numbers that no lens has."""
    try:
        yield
    except cv2.error as error:
        raise ValueError(f"calibration cannot be used, OpenCV says: {error.err}; calibrate the camera again") from error


class Rectifier:
    """Takes pictures of one lens to its pinhole camera; the maps are made once, with the first picture."""

    def __init__(self, lens: Lens) -> None:
        self.lens = lens

    @cached_property
    def camera(self) -> Camera:
        """The pinhole camera of the rectified pictures, in the same optical frame as the lens."""
        K = self._K_new
        return from_pixel_centres(self.lens.width_px, self.lens.height_px, K[0, 0], K[1, 1], K[0, 2], K[1, 2])

    @cached_property
    def _K_new(self) -> Float[ndarray, "3 3"]:
        if self.lens.pinhole is not None:
            return _matrix(self.lens.pinhole)
        with _as_value_error():
            return _matrix(self.lens.K) if self.lens.is_straight else MODELS[self.lens.model].pinhole(self.lens)

    @cached_property
    def _maps(self) -> Maps:
        with _as_value_error():
            return MODELS[self.lens.model].maps(self.lens, self._K_new)

    def __call__(self, picture: Image) -> Image:
        """The rectified picture, of the same size; a lens without distortion gives the picture itself."""
        expected = (self.lens.height_px, self.lens.width_px, 3)
        if picture.shape != expected:
            raise ValueError(f"picture must be {expected} like its camera_info, got {picture.shape}: publish the camera_info of this picture")
        return picture if self.lens.is_straight else cv2.remap(picture, *self._maps, interpolation=cv2.INTER_LINEAR)

    def nearest(self, depth_m: Float32[ndarray, "_ _"]) -> Float32[ndarray, "_ _"]:
        """The rectified depth image, no two measurements mixed; 0 where the lens saw nothing."""
        if depth_m.shape != (self.lens.height_px, self.lens.width_px):
            got = f"{depth_m.shape[1]}x{depth_m.shape[0]} px"
            raise ValueError(f"depth must be {self.lens.width_px}x{self.lens.height_px} px like camera_info, got {got}: register it to the picture")
        if self.lens.is_straight:
            return depth_m
        return np.asarray(cv2.remap(depth_m, *self._maps, interpolation=cv2.INTER_NEAREST), dtype=np.float32)

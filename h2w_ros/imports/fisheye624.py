"""The fisheye lens of Aria and Quest headsets (FISHEYE624) made into a pinhole camera.

Six radial, two tangential and four thin-prism coefficients over the angle from the optical axis. Source: the lens model of
Project Aria's documentation. Pixels count from the first pixel's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import from_pixel_centres, unit_rays_camera
from h2w_ros.condition import Camera, Image

NUM_COEFFICIENTS = 12
MODEL_NAMES = ("CameraModelType.FISHEYE624", "OculusVisionFishEye624")


@dataclass(frozen=True)
class Fisheye624:
    """A calibrated fisheye: `K` is fx, fy, cx, cy; `coefficients` k0..k5, p0, p1, s0..s3."""

    width_px: int
    height_px: int
    K: tuple[float, float, float, float]
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.coefficients) != NUM_COEFFICIENTS:
            raise ValueError(
                f"a FISHEYE624 lens has {NUM_COEFFICIENTS} coefficients after its focal lengths and centre, got {len(self.coefficients)}"
            )
        if not np.isfinite((*self.K, *self.coefficients)).all() or min(self.K[:2]) <= 0.0:
            raise ValueError(f"calibration must be finite, its focal lengths positive, got K={self.K} coefficients={self.coefficients}")

    def project(self, points_camera: Float[ndarray, "n 3"]) -> Float[ndarray, "n 2"]:
        """Pixels of points in the camera's optical frame."""
        fx, fy, cx, cy = self.K
        radial, p, s = self.coefficients[:6], self.coefficients[6:8], self.coefficients[8:]
        flat = np.linalg.norm(points_camera[:, :2], axis=1)
        angle = np.arctan2(flat, points_camera[:, 2])
        # In radians from the axis: theta (1 + k0 theta^2 + k1 theta^4 + ...).
        grown = angle * np.polyval([*radial[::-1], 1.0], angle**2)
        x, y = points_camera[:, :2].T * (grown / np.maximum(flat, 1e-12))
        r2 = x * x + y * y
        u = x + 2.0 * p[1] * x * y + p[0] * (r2 + 2.0 * x * x) + s[0] * r2 + s[1] * r2 * r2
        v = y + 2.0 * p[0] * x * y + p[1] * (r2 + 2.0 * y * y) + s[2] * r2 + s[3] * r2 * r2
        return np.stack([fx * u + cx, fy * v + cy], axis=1)


class FisheyeRectifier:
    """Takes pictures of one fisheye to a pinhole of the same size, focal lengths and centre."""

    def __init__(self, lens: Fisheye624) -> None:
        self.lens = lens
        self.camera: Camera = from_pixel_centres(lens.width_px, lens.height_px, *lens.K)

    @cached_property
    def _maps(self) -> tuple[ndarray, ndarray]:
        pixels = self.lens.project(unit_rays_camera(self.camera).astype(np.float64)).astype(np.float32)
        grid = pixels.reshape(self.lens.height_px, self.lens.width_px, 2)
        return cv2.convertMaps(grid[..., 0], grid[..., 1], cv2.CV_16SC2)

    def __call__(self, picture: Image) -> Image:
        """The rectified picture; ValueError when it is not of the lens's size."""
        expected = (self.lens.height_px, self.lens.width_px, 3)
        if picture.shape != expected:
            raise ValueError(f"picture must be {expected} like its calibration, got {picture.shape}")
        return np.asarray(cv2.remap(picture, *self._maps, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

"""The camera of an episode: varied intrinsics, and a head that drifts and looks around."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import project
from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, apply, invert, look_at, rotation_from_axis_angle, transform
from h2w_ros.world.motion import UP
from h2w_ros.world.spec import WorldSpec

MIN_DEPTH_M = 0.12
"""What is nearer than this to the camera does not count as seen."""

ASPECT = (4, 3)
"""Width to height of what cameras see."""


def pixel_aspect(width_px: int, height_px: int) -> Fraction:
    """How much wider than high the pixels of pictures of this size are to be shown."""
    return Fraction(ASPECT[0] * height_px, ASPECT[1] * width_px)


@dataclass(frozen=True, eq=False)
class HeadPath:
    """Eye, gaze point and roll as slow sums of sines around their means."""

    eye_m: Float[ndarray, "3"]
    gaze_m: Float[ndarray, "3"]
    roll_rad: float
    amplitudes: Float[ndarray, "7 2"]
    """Of eye x, y, z, gaze x, y, z [m] and roll [rad]; two sines each."""
    frequencies_hz: Float[ndarray, "7 2"]
    phases_rad: Float[ndarray, "7 2"]

    def T_world_camera(self, time_s: float) -> Transform:
        """The camera's optical frame at this time."""
        sway = (self.amplitudes * np.sin(2 * np.pi * self.frequencies_hz * time_s + self.phases_rad)).sum(axis=1)
        T = look_at(self.eye_m + sway[:3], self.gaze_m + sway[3:6], UP)
        roll = rotation_from_axis_angle(np.array([0.0, 0.0, self.roll_rad + sway[6]]))
        return transform(T[:3, :3] @ roll, T[:3, 3])


@dataclass(frozen=True, eq=False)
class View:
    """Through which camera an episode is seen, and how that camera moves."""

    camera: Camera
    head: HeadPath
    is_fixed: bool

    def sees(self, points_world: Float[ndarray, "n 3"]) -> float:
        """Share of the points [m] that are in the first picture, whatever stands before them."""
        points = apply(invert(self.head.T_world_camera(0.0)), points_world)
        pixels = project(self.camera, np.maximum(points, (-np.inf, -np.inf, 1e-3)))
        inside = (pixels > 0).all(axis=1) & (pixels < (self.camera.width_px, self.camera.height_px)).all(axis=1)
        return float(np.mean(inside & (points[:, 2] > MIN_DEPTH_M)))


def sample_view(rng: np.random.Generator, spec: WorldSpec) -> View:
    """A camera and a head path within the spec's variety."""
    camera = sample_camera(rng, spec)
    is_fixed = bool(rng.uniform() < spec.fixed_camera)
    return View(camera, sample_head(rng, camera, 0.0 if is_fixed else rng.uniform(0.3, 1.0)), is_fixed)


def sample_camera(rng: np.random.Generator, spec: WorldSpec) -> Camera:
    """A pinhole camera of varied width that sees about 4:3, with an axis that is not quite in the middle.

    In a picture of other proportions it is squashed, as `camera.Resize` squashes: the same seed sees the same world at any size.
    """
    fx = spec.width_px / (2 * np.tan(np.radians(rng.uniform(*spec.hfov_deg)) / 2))
    off_x, off_y = np.clip(rng.normal(0, 0.5, 2), -1, 1) * spec.off_centre
    fy = float(pixel_aspect(spec.width_px, spec.height_px)) * fx * np.exp(np.clip(rng.normal(0, 0.5), -1, 1) * np.log1p(spec.anisotropy))
    return Camera(spec.width_px, spec.height_px, fx, fy, (0.5 + off_x) * spec.width_px, (0.5 + off_y) * spec.height_px)


def sample_head(rng: np.random.Generator, camera: Camera, liveliness: float) -> HeadPath:
    """A head over the near edge of the table, 0 still to 1 lively; nearer for wide cameras, so that hands keep their size."""
    gaze = rng.uniform((-0.07, -0.02, 0.0), (0.07, 0.08, 0.03))
    distance_m = 0.39 + 0.15 * camera.fx / camera.width_px * rng.uniform(0.9, 1.25)
    elevation, azimuth = rng.uniform(0.75, 1.15), rng.uniform(-0.3, 0.3)
    back = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    reach = np.array([0.045, 0.03, 0.03, 0.07, 0.06, 0.01, 0.05])[:, None]
    return HeadPath(
        eye_m=gaze + distance_m * back,
        gaze_m=gaze,
        roll_rad=float(rng.normal(0, 0.03)),
        amplitudes=liveliness * reach * rng.uniform(0.3, 1.0, (7, 2)) * (1.0, 0.3),
        frequencies_hz=rng.uniform(0.08, 0.35, (7, 2)) * (1.0, 2.0),
        phases_rad=rng.uniform(0, 2 * np.pi, (7, 2)),
    )

"""Smooth motion: minimum-jerk hand moves between waypoints, and a head that drifts and looks around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, interpolate, look_at, rotation_from_axis_angle, transform

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Waypoint:
    """Where a hand goes next, how long that takes, and what happens on arrival."""

    duration_s: float
    T_world_wrist: Transform
    joint_angles_rad: Float[ndarray, "45"]
    arc_m: float = 0.0
    """How far the path bulges upwards at half-way."""
    on_arrival: Literal["nothing", "grasp", "release"] = "nothing"
    object_name: str = ""
    task: str = "idle"


def minimum_jerk(share: float) -> float:
    """Progress 0..1 at this share of the time, with speed and acceleration zero at both ends (Flash and Hogan 1985)."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (10 + s * (6 * s - 15))


def between(start: Waypoint, end: Waypoint, share: float) -> tuple[Transform, Float[ndarray, "45"]]:
    """Wrist pose and joint angles at this share of the time from start to end."""
    progress = minimum_jerk(share)
    T_world_wrist = interpolate(start.T_world_wrist, end.T_world_wrist, progress)
    T_world_wrist[2, 3] += end.arc_m * 16 * progress**2 * (1 - progress) ** 2
    return T_world_wrist, start.joint_angles_rad + progress * (end.joint_angles_rad - start.joint_angles_rad)


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


def sample_camera(rng: np.random.Generator, width_px: int, height_px: int, hfov_deg: tuple[float, float]) -> Camera:
    """A pinhole camera of varied width, up to 6% anisotropic and up to 5% of the picture off-centre."""
    fx = width_px / (2 * np.tan(np.radians(rng.uniform(*hfov_deg)) / 2))
    off_x, off_y = rng.uniform(-0.05, 0.05, 2)
    return Camera(width_px, height_px, fx, fx * rng.uniform(0.94, 1.06), (0.5 + off_x) * width_px, (0.5 + off_y) * height_px)


def sample_head(rng: np.random.Generator, camera: Camera) -> HeadPath:
    """A head over the near edge of the table; nearer for wide cameras, so that hands keep their size; one in ten is fixed."""
    gaze = rng.uniform((-0.07, -0.02, 0.0), (0.07, 0.08, 0.03))
    distance_m = 0.36 + 0.15 * camera.fx / camera.width_px * rng.uniform(0.9, 1.25)
    elevation, azimuth = rng.uniform(0.7, 1.1), rng.uniform(-0.3, 0.3)
    back = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    liveliness = 0.0 if rng.uniform() < 0.1 else rng.uniform(0.3, 1.0)
    reach = np.array([0.045, 0.03, 0.03, 0.07, 0.06, 0.01, 0.05])[:, None]
    return HeadPath(
        eye_m=gaze + distance_m * back,
        gaze_m=gaze,
        roll_rad=float(rng.normal(0, 0.03)),
        amplitudes=liveliness * reach * rng.uniform(0.3, 1.0, (7, 2)) * (1.0, 0.3),
        frequencies_hz=rng.uniform(0.08, 0.35, (7, 2)) * (1.0, 2.0),
        phases_rad=rng.uniform(0, 2 * np.pi, (7, 2)),
    )

"""Smooth motion of hands: minimum-jerk moves between waypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, interpolate

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Waypoint:
    """Where a hand goes next, how long that takes, and what happens on arrival."""

    duration_s: float
    T_world_wrist: Transform
    joint_angles_rad: Float[ndarray, "45"]
    arc_m: float = 0.0
    """How far the path bulges upwards at half-way."""
    on_arrival: Literal["nothing", "grasp", "operate", "release"] = "nothing"
    """`grasp` takes the object along from here, `operate` its lid, drawer or cover only."""
    object_name: str = ""
    task: str = "idle"
    path: Callable[[float], Transform] | None = None
    """T_world_wrist by progress 0..1, where it is no straight line."""
    passes: bool = False
    """Whether the hand's bones leave its object in peace on this way, because fingers are being laid on it."""


def minimum_jerk(share: float) -> float:
    """Progress 0..1 at this share of the time, with speed and acceleration zero at both ends (Flash and Hogan 1985)."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (10 + s * (6 * s - 15))


def between(start: Waypoint, end: Waypoint, share: float) -> tuple[Transform, Float[ndarray, "45"]]:
    """Wrist pose and joint angles at this share of the time from start to end."""
    progress = minimum_jerk(share)
    T_world_wrist = end.path(progress).copy() if end.path else interpolate(start.T_world_wrist, end.T_world_wrist, progress)
    T_world_wrist[2, 3] += end.arc_m * 16 * progress**2 * (1 - progress) ** 2
    return T_world_wrist, start.joint_angles_rad + progress * (end.joint_angles_rad - start.joint_angles_rad)

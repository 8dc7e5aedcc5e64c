"""One hand as joints in space, however a tracker reported it: what is fitted, before there is a hand model's pose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.condition import Side

NUM_POINTS = 21
NUM_JOINTS = 16


def _no_orientations() -> ndarray:
    return np.full((NUM_JOINTS, 3, 3), np.nan)


@dataclass(frozen=True, eq=False)
class HandSkeleton:
    """Joints and tips of one hand in the world frame [m], smplx's order: 16 joints of MANO, then thumb, index, middle, ring, pinky tip.

    A missing point is NaN or has weight 0. `R_world_joint` turns each joint as OpenXR does: -z along the bone towards the
    tip, +y out of the back of the hand; missing ones are NaN. `weights` say how sure each point is, in [0, 1];
    `confidence` is that of the whole hand.
    """

    side: Side
    points_world: Float[ndarray, "21 3"]
    weights: Float[ndarray, "21"] = field(default_factory=lambda: np.ones(NUM_POINTS))
    R_world_joint: Float[ndarray, "16 3 3"] = field(default_factory=_no_orientations)
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if self.side not in ("left", "right"):
            raise ValueError(f"a hand's side must be 'left' or 'right', got {self.side!r}")
        for name, shape in (("points_world", (NUM_POINTS, 3)), ("weights", (NUM_POINTS,)), ("R_world_joint", (NUM_JOINTS, 3, 3))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
            object.__setattr__(self, name, value)
        if np.isinf(self.points_world).any():
            raise ValueError("points_world must be finite, or NaN where a point is missing; it holds infinite numbers")
        if not ((self.weights >= 0.0) & (self.weights <= 1.0)).all():
            raise ValueError(f"weights must be in [0, 1], got {self.weights}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")

    @property
    def is_seen(self) -> Bool[ndarray, "21"]:
        """Which points are there."""
        return np.isfinite(self.points_world).all(axis=1) & (self.weights > 0.0)

    @property
    def is_turned(self) -> Bool[ndarray, "16"]:
        """Which joints come with an orientation."""
        return np.isfinite(self.R_world_joint).all(axis=(1, 2))

    def without_orientations(self) -> HandSkeleton:
        """The same points alone."""
        return replace(self, R_world_joint=_no_orientations()) if self.is_turned.any() else self

    def without_point(self, point: int) -> HandSkeleton:
        """The same hand, one of its 21 points not seen."""
        return replace(self, weights=np.where(np.arange(NUM_POINTS) == point, 0.0, self.weights))

    def scaled(self, scale: float) -> HandSkeleton:
        """The same hand, `scale` times as large about its wrist, or about its first point where the wrist is missing."""
        centre = self.points_world[np.argmax(self.is_seen)]
        return self if scale == 1.0 else replace(self, points_world=centre + scale * (self.points_world - centre))

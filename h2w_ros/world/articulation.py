"""A lid's or cover's hinge, a drawer's slide: how far it is open, and where that puts its moving part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, apply, rotation_from_axis_angle, transform


@dataclass(frozen=True, eq=False)
class Articulation:
    """One degree of freedom of an object, in the object's frame. The opening [rad or m] is 0 when closed."""

    joint: Literal["hinge", "slide"]
    axis: Float[ndarray, "3"]
    """Unit: what a hinge turns about, by the right-hand rule, as it opens; the way that a drawer comes out."""
    anchor_m: Float[ndarray, "3"]
    """A point of the hinge's axis."""
    max_opening: float
    """[rad] or [m]."""
    grip_m: Float[ndarray, "3"]
    """Where a hand takes the moving part when it is closed."""

    def T_object_link(self, opening: float) -> Transform:
        """The moving part's frame, which is the object's when closed."""
        if self.joint == "slide":
            return transform(np.eye(3), self.axis * opening)
        turn = rotation_from_axis_angle(self.axis * opening)
        return transform(turn, self.anchor_m - turn @ self.anchor_m)

    def grip_at(self, opening: float) -> Float[ndarray, "3"]:
        """Where the grip is at this opening, in the object's frame [m]."""
        return apply(self.T_object_link(opening), self.grip_m)

    def opening_of(self, grip_object_m: Float[ndarray, "3"]) -> float:
        """The opening that brings the grip nearest to this point."""
        if self.joint == "slide":
            wanted = float((grip_object_m - self.grip_m) @ self.axis)
        else:
            arm, across = self.grip_m - self.anchor_m, grip_object_m - self.anchor_m
            sideways = np.cross(self.axis, arm)
            angle = float(np.arctan2(across @ sideways, across @ (arm - (arm @ self.axis) * self.axis)))
            wanted = angle if angle > -np.pi / 2 else angle + 2 * np.pi
        return float(np.clip(wanted, 0.0, self.max_opening))

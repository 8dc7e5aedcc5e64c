"""The primitives that things are made of: how far they reach, and how far from them a point is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Kind = Literal["box", "cylinder", "capsule", "ellipsoid"]
Paint = Literal["main", "trim", "paper"]
Triple = tuple[float, float, float]

AXIS_LAST = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}
"""Order of the coordinates that puts a solid's own axis last."""


@dataclass(frozen=True)
class Solid:
    """One primitive of an object, its sides along the axes of the object's frame."""

    kind: Kind
    half_size_m: Triple
    """Half its bounding box."""
    centre_m: Triple = (0.0, 0.0, 0.0)
    axis: Literal["x", "y", "z"] = "z"
    """Where a cylinder or a capsule points."""
    paint: Paint = "main"
    moves: bool = False
    """Whether it belongs to the hinged or sliding part."""
    is_seen: bool = True
    """False where a mesh is drawn in its place."""
    collides: bool = True


def support_m(solid: Solid, direction: Float[ndarray, "3"]) -> float:
    """How far the solid reaches along a unit direction from the origin of its frame."""
    half, unit = (np.asarray(v, dtype=np.float64)[AXIS_LAST[solid.axis]] for v in (solid.half_size_m, direction))
    across, along = float(np.hypot(unit[0], unit[1])), abs(float(unit[2]))
    reach = {
        "box": float(np.abs(unit) @ half),
        "cylinder": half[0] * across + half[2] * along,
        "capsule": half[0] + (half[2] - half[0]) * along,
        "ellipsoid": float(np.linalg.norm(half * unit)),
    }[solid.kind]
    return float(np.dot(solid.centre_m, direction) + reach)


def distance_to_solid_m(solid: Solid, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n"]:
    """Signed distance, negative inside; approximate around ellipsoids that are not spheres."""
    half = np.array(solid.half_size_m)[AXIS_LAST[solid.axis]]
    local = (points - solid.centre_m)[:, AXIS_LAST[solid.axis]]
    if solid.kind == "ellipsoid":
        return (np.linalg.norm(local / half, axis=1) - 1) * half.min()
    if solid.kind == "capsule":
        nearest = np.clip(local[:, 2:], half[0] - half[2], half[2] - half[0]) * (0, 0, 1)
        return np.linalg.norm(local - nearest, axis=1) - half[0]
    if solid.kind == "box":
        beyond = np.abs(local) - half
    else:
        beyond = np.stack([np.hypot(local[:, 0], local[:, 1]) - half[0], np.abs(local[:, 2]) - half[2]], axis=1)
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)

"""Surfaces that no primitive has: turned vessels and bent tubes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

Mesh = tuple[Float[ndarray, "v 3"], Int[ndarray, "f 3"]]
"""Vertices [m] and outward faces."""

PROFILES = {
    "cup": ((0, -1), (0.78, -1), (0.86, -0.9), (1, 0.95), (0.99, 1), (0.9, 1), (0.78, -0.8), (0, -0.85)),
    "mug": ((0, -1), (0.95, -1), (1, -0.93), (1, 0.97), (0.97, 1), (0.88, 1), (0.86, -0.8), (0, -0.85)),
    "bowl": ((0, -1), (0.45, -1), (0.5, -0.9), (0.8, -0.3), (1, 0.95), (0.98, 1), (0.92, 0.95), (0.72, -0.2), (0.4, -0.75), (0, -0.8)),
    "bottle": ((0, -1), (0.95, -1), (1, -0.95), (1, 0.15), (0.9, 0.35), (0.45, 0.6), (0.36, 0.7), (0.36, 0.9), (0.42, 0.9), (0.42, 1), (0, 1)),
}
"""Outlines (radius, height) from the middle of the foot to the middle of the inside or top, within the unit box -1..1."""


def lathe(profile: Float[ndarray, "n 2"], num_sides: int = 24) -> Mesh:
    """The profile turned about z."""
    angle = np.arange(num_sides) * 2 * np.pi / num_sides
    radius, height = profile[:, :1], np.repeat(profile[:, 1:], num_sides, axis=1)
    rings = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1)
    return rings.reshape(-1, 3), tube_faces(len(profile), num_sides)


def handle(reach_m: float, half_height_m: float, radius_m: float, start_x_m: float, num_rings: int = 10, num_sides: int = 8) -> Mesh:
    """A cup's handle: half an ellipse in the xz plane, from a wall at `start_x_m` and back to it."""
    bend = np.linspace(-np.pi / 2, np.pi / 2, num_rings)[:, None]
    around = np.arange(num_sides) * 2 * np.pi / num_sides
    out = np.concatenate([np.cos(bend), np.sin(bend)], axis=1)
    centres = out * (reach_m, half_height_m) + (start_x_m, 0.0)
    x = centres[:, :1] + radius_m * np.cos(around) * out[:, :1]
    z = centres[:, 1:] + radius_m * np.cos(around) * out[:, 1:]
    y = np.broadcast_to(radius_m * np.sin(around), x.shape)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), tube_faces(num_rings, num_sides)


def tube_faces(num_rings: int, num_sides: int) -> Int[ndarray, "f 3"]:
    """Faces between rings of vertices that run counter-clockwise about the way from the first ring to the last."""
    base = np.arange(num_rings - 1)[:, None] * num_sides
    here, after = np.arange(num_sides), (np.arange(num_sides) + 1) % num_sides
    a, b, c, d = (np.ravel(base + i) for i in (here, after, here + num_sides, after + num_sides))
    return np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])

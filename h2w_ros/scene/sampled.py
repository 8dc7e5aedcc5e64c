"""A mesh as points of its surface: what is drawn fast when triangles are smaller than pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.points import Points

COVERING = 1.2
"""Radius of a point's disc, in square roots of the area that it stands for: samples are not a grid."""
ROOTS = (0.7548776662466927, 0.5698402909980532)
"""Steps of a sequence that fills a square evenly: inverse powers of the plastic number (Roberts 2018)."""


def sampled(mesh: Mesh, num_points: int) -> Points:
    """Points spread evenly over the mesh's area."""
    corners = mesh.vertices_world[mesh.faces]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).astype(np.float64)
    total = float(areas.sum())
    if not total > 0.0:
        raise ValueError("a mesh must have an area, and all of its triangles have none")
    faces = np.searchsorted(np.cumsum(areas), (np.arange(num_points) + 0.5) / num_points * total).clip(0, len(areas) - 1)
    shares = _shares(num_points)
    points = np.einsum("nc,ncx->nx", shares, corners[faces]).astype(np.float32)
    radius_m = COVERING * np.sqrt(total / num_points)
    return Points(points, mesh.colors_at(faces, shares), np.full(num_points, radius_m, np.float32))


def _shares(num_points: int) -> Float32[ndarray, "n 3"]:
    """Places within a triangle as shares of its corners, evenly spread."""
    index: Int[ndarray, "n"] = np.arange(num_points)
    a, b = ((index * root) % 1.0 for root in ROOTS)
    outside = a + b > 1.0
    a, b = np.where(outside, 1.0 - a, a), np.where(outside, 1.0 - b, b)
    return np.stack([1.0 - a - b, a, b], axis=1).astype(np.float32)

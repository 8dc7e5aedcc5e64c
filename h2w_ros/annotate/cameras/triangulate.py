"""Points of the still scene for a path that came without any: followed through the pictures, and put where their rays meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.points import TrackedPoints, rays
from h2w_ros.geometry import Transform

# A point is put where rays meet that come from so many frames and under such an angle, and pass it no further off than this.
LEAST_SIGHTS, LEAST_ANGLE_DEG, MOST_OFF_PX = 4, 1.0, 3.0


def triangulated(tracks: Sequence[TrackedPoints], path: CameraPath) -> Float[ndarray, "n 3"]:
    """The points that are seen well enough, in the path's world and unit."""
    sights: dict[int, list[tuple[Transform, ndarray]]] = defaultdict(list)
    for points, T_world_camera in zip(tracks, path.poses, strict=True):
        if T_world_camera is not None and len(points.ids):
            directions = rays(points.places_px, path.intrinsics.camera) @ T_world_camera[:3, :3].T
            for number, direction in zip(points.ids.tolist(), directions, strict=True):
                sights[number].append((T_world_camera, direction))
    found = (_meeting(seen, path.intrinsics.camera.fx) for seen in sights.values() if len(seen) >= LEAST_SIGHTS)
    return np.array([point for point in found if point is not None]).reshape(-1, 3)


def _meeting(seen: Sequence[tuple[Transform, ndarray]], focal_px: float) -> Float[ndarray, "3"] | None:
    """Least squares over the distances from the rays; None where they are almost parallel, or do not meet before the cameras."""
    centres, directions = np.array([T[:3, 3] for T, _ in seen]), np.array([direction for _, direction in seen])
    if float((directions @ directions.T).min()) > np.cos(np.radians(LEAST_ANGLE_DEG)):
        return None
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    point: ndarray = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, centres), rcond=None)[0]
    towards = point - centres
    depths = np.einsum("ni,ni->n", towards, directions)
    if depths.min() <= 0.0:
        return None
    off_px = focal_px * np.linalg.norm(towards - depths[:, None] * directions, axis=1) / depths
    return point if float(np.median(off_px)) <= MOST_OFF_PX else None

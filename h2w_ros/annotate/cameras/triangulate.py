"""Points of the still scene: followed through the pictures, and put where their rays meet; how many meet tells whether a path fits its video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.points import TrackedPoints, rays
from h2w_ros.geometry import Transform

# A point that is seen in so many frames says whether rays meet: these pass it, as a median, no further off than this.
LEAST_SIGHTS, MOST_OFF_PX = 16, 1.0
# Of those that meet, the ones with rays under such an angle have a place; others are only far.
LEAST_ANGLE_DEG = 1.5
# Fewer of them say nothing about a path.
LEAST_TRACKS = 20


class Meeting(NamedTuple):
    """Where the rays to one point meet best, how far they pass it [px], and the widest angle between two of them [deg]."""

    point: Float[ndarray, "3"]
    off_px: float
    angle_deg: float


def with_scene(path: CameraPath, tracks: Sequence[TrackedPoints]) -> CameraPath:
    """The path with the scene's points, in its world and unit, and the share of long tracks that agree with it."""
    found = [meeting(seen, path.intrinsics.camera.fx) for seen in _sights(path, tracks) if len(seen) >= LEAST_SIGHTS]
    agreeing = [each for each in found if each.off_px <= MOST_OFF_PX]
    points = np.array([each.point for each in agreeing if each.angle_deg >= LEAST_ANGLE_DEG]).reshape(-1, 3)
    return replace(path, points_world=points, agreement=len(agreeing) / len(found) if len(found) >= LEAST_TRACKS else float("nan"))


def meeting(seen: Sequence[tuple[Transform, ndarray]], focal_px: float) -> Meeting:
    """Least squares over the distances from the rays, each of a camera `T_world_camera` and a unit direction in the world."""
    centres, directions = np.array([T[:3, 3] for T, _ in seen]), np.array([direction for _, direction in seen])
    angle_deg = float(np.degrees(np.arccos(np.clip((directions @ directions.T).min(), -1.0, 1.0))))
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    point: ndarray = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, centres), rcond=None)[0]
    towards = point - centres
    depths = np.einsum("ni,ni->n", towards, directions)
    if depths.min() <= 0.0:
        return Meeting(point, float("inf"), angle_deg)
    off_px = focal_px * np.linalg.norm(towards - depths[:, None] * directions, axis=1) / depths
    return Meeting(point, float(np.median(off_px)), angle_deg)


def _sights(path: CameraPath, tracks: Sequence[TrackedPoints]) -> list[list[tuple[Transform, ndarray]]]:
    """For every followed point, the cameras that saw it and in which direction."""
    sights: dict[int, list[tuple[Transform, ndarray]]] = defaultdict(list)
    for points, T_world_camera in zip(tracks, path.poses, strict=True):
        if T_world_camera is not None and len(points.ids):
            directions = rays(points.places_px, path.intrinsics.camera) @ T_world_camera[:3, :3].T
            for number, direction in zip(points.ids.tolist(), directions, strict=True):
                sights[number].append((T_world_camera, direction))
    return list(sights.values())

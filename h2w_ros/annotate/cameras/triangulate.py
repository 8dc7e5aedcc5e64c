"""Points of the still scene: followed through the pictures, and put where their rays meet; how many meet tells whether a path fits its video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.points import TrackedPoints, rays
from h2w_ros.annotate.cameras.turning import turning_off_px
from h2w_ros.geometry import Transform

# A point that is seen in so many frames says whether rays meet: these pass it, as a median, no further off than this.
LEAST_SIGHTS, MOST_OFF_PX = 16, 1.0
# Of those that meet, the ones with rays under such an angle have a place; others are only far.
LEAST_ANGLE_DEG = 1.5
# Fewer of them say nothing about a path.
LEAST_TRACKS = 20


class Meeting(NamedTuple):
    """Where the rays to one point meet best, how far they pass it [px], and the widest angle between two of them [deg]; 0 for a point at infinity."""

    point: Float[ndarray, "3"]
    off_px: float
    angle_deg: float


def with_scene(path: CameraPath, tracks: Sequence[TrackedPoints]) -> CameraPath:
    """The path with the scene's points, in its world and unit, and the shares of long tracks that agree with it."""
    camera = path.intrinsics.camera
    found = {number: meeting(seen, camera.fx) for number, seen in _sights(path, tracks).items() if len(seen) >= LEAST_SIGHTS}
    placed = [number for number, each in found.items() if each.off_px <= MOST_OFF_PX and each.angle_deg >= LEAST_ANGLE_DEG]
    points = np.array([found[number].point for number in placed]).reshape(-1, 3)
    frames = _first_and_last(placed, tracks)
    if_turned_px = turning_off_px(tracks, camera)
    shifted = [each for number, each in found.items() if if_turned_px[number] > MOST_OFF_PX]
    agreement, parallax_agreement = _agreeing(list(found.values())), _agreeing(shifted)
    return replace(path, points_world=points, points_frames=frames, agreement=agreement, parallax_agreement=parallax_agreement)


def _first_and_last(numbers: Sequence[int], tracks: Sequence[TrackedPoints]) -> Int[ndarray, "n 2"]:
    spans: dict[int, tuple[int, int]] = {}
    for frame, points in enumerate(tracks):
        for number in points.ids.tolist():
            spans[number] = (spans.get(number, (frame, frame))[0], frame)
    return np.array([spans[number] for number in numbers], dtype=np.int64).reshape(-1, 2)


def _agreeing(found: Sequence[Meeting]) -> float:
    return float(np.mean([each.off_px <= MOST_OFF_PX for each in found])) if len(found) >= LEAST_TRACKS else float("nan")


def meeting(seen: Sequence[tuple[Transform, ndarray]], focal_px: float) -> Meeting:
    """Least squares over the distances from the rays, each of a camera `T_world_camera` and a unit direction in the world.

    Squares of distances favour points between the cameras; where rays are rather parallel, the point is at infinity.
    """
    centres, directions = np.array([T[:3, 3] for T, _ in seen]), np.array([direction for _, direction in seen])
    angle_deg = float(np.degrees(np.arccos(np.clip((directions @ directions.T).min(), -1.0, 1.0))))
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    point: ndarray = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, centres), rcond=None)[0]
    towards = point - centres
    depths = np.einsum("ni,ni->n", towards, directions)
    parallel = _at_infinity(directions, focal_px)
    if depths.min() <= 0.0:
        return parallel
    off_px = focal_px * np.linalg.norm(towards - depths[:, None] * directions, axis=1) / depths
    return min(Meeting(point, float(np.median(off_px)), angle_deg), parallel, key=lambda each: each.off_px)


def _at_infinity(directions: Float[ndarray, "n 3"], focal_px: float) -> Meeting:
    """As if the rays were parallel: then they show no distance."""
    towards = directions.mean(axis=0)
    off_px = focal_px * np.linalg.norm(directions - towards / np.linalg.norm(towards), axis=1)
    return Meeting(np.full(3, np.inf), float(np.median(off_px)), 0.0)


def _sights(path: CameraPath, tracks: Sequence[TrackedPoints]) -> Mapping[int, list[tuple[Transform, ndarray]]]:
    """For every followed point, the cameras that saw it and in which direction."""
    sights: dict[int, list[tuple[Transform, ndarray]]] = defaultdict(list)
    for points, T_world_camera in zip(tracks, path.poses, strict=True):
        if T_world_camera is not None and len(points.ids):
            directions = rays(points.places_px, path.intrinsics.camera) @ T_world_camera[:3, :3].T
            for number, direction in zip(points.ids.tolist(), directions, strict=True):
                sights[number].append((T_world_camera, direction))
    return sights

"""Points of the still scene, followed from frame to frame (Lucas and Kanade), hands left out: cheap, and exact where video moves little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.hand_masks import hands_mask
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Camera

PICTURE_NAME = "{:06d}.png"
WINDOW_PX, LEVELS = (21, 21), 3
QUALITY, SPACING_PX = 0.005, 8
# Followed forth and back, a point must return this near [px].
RETURN_PX = 0.7
# A turn is told by at least so many common points, in rounds that let points that move on their own count less.
LEAST_COMMON, TURN_ROUNDS = 20, 6


class TrackedPoints(NamedTuple):
    """Points of one frame: numbers that stay with them, and where they are (corner origin)."""

    ids: Int[ndarray, "n"]
    places_px: Float[ndarray, "n 2"]


def follow_points(clip: Clip, sightings: Sequence[Sightings], max_points: int, pictures: Path | None = None) -> list[TrackedPoints]:
    """The points of every frame; new ones where old ones were lost. Writes frames to `pictures`, where that is asked for."""
    followed: list[TrackedPoints] = []
    before: np.ndarray | None = None
    next_id = 0
    for frame, (picture, hands) in enumerate(zip(clip.pictures(), sightings, strict=True)):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if pictures is not None:
            cv2.imwrite(str(pictures / PICTURE_NAME.format(frame)), grey)
        is_scene = ~hands_mask(hands, clip.width_px, clip.height_px)
        old = TrackedPoints(np.zeros(0, np.int64), np.zeros((0, 2))) if before is None else _followed(before, grey, followed[-1], is_scene)
        new = _new_places(grey, is_scene, old.places_px, max_points - len(old.ids))
        ids = np.concatenate([old.ids, np.arange(next_id, next_id + len(new))])
        followed.append(TrackedPoints(ids, np.concatenate([old.places_px, new])))
        next_id, before = next_id + len(new), grey
    return followed


def _followed(before: ndarray, grey: ndarray, points: TrackedPoints, is_scene: Bool[ndarray, "H W"]) -> TrackedPoints:
    """Where points went; those that do not find back, or go behind a hand, are lost."""
    if not len(points.ids):
        return points
    start = (points.places_px - 0.5).astype(np.float32)
    there, is_found, _ = cv2.calcOpticalFlowPyrLK(before, grey, start, np.empty_like(start), winSize=WINDOW_PX, maxLevel=LEVELS)
    back, is_back, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, np.empty_like(start), winSize=WINDOW_PX, maxLevel=LEVELS)
    returns = np.linalg.norm(back - start, axis=1) < RETURN_PX
    places = there.astype(np.float64) + 0.5
    kept = returns & (is_found.ravel() == 1) & (is_back.ravel() == 1) & _is_on(is_scene, places)
    return TrackedPoints(points.ids[kept], places[kept])


def _new_places(grey: ndarray, is_scene: Bool[ndarray, "H W"], known_px: Float[ndarray, "n 2"], number: int) -> Float[ndarray, "m 2"]:
    """Corners apart from the known points."""
    if number <= 0:
        return np.zeros((0, 2))
    free = is_scene.astype(np.uint8)
    for x, y in known_px.astype(int).tolist():
        cv2.circle(free, (x, y), SPACING_PX, 0, -1)
    corners = cv2.goodFeaturesToTrack(grey, number, QUALITY, SPACING_PX, mask=free)
    return np.zeros((0, 2)) if corners is None else corners.reshape(-1, 2).astype(np.float64) + 0.5


def _is_on(mask: Bool[ndarray, "H W"], places_px: Float[ndarray, "n 2"]) -> Bool[ndarray, "n"]:
    height, width = mask.shape
    x, y = np.floor(places_px).astype(int).T
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return is_inside & mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]


def beyond_turning_deg(tracks: Sequence[TrackedPoints], camera: Camera, span: int) -> float:
    """How far points move, at most over pairs of frames `span` apart, in a way that no turning of the camera explains: a median angle.

    What only turns sees the same rays turned; that needs no model of the scene, which turning could not give.
    """
    shifts = [_beyond_turning_deg(a, b, camera) for a, b in zip(tracks, tracks[span:], strict=False)]
    return max(shifts, default=0.0)


def _beyond_turning_deg(a: TrackedPoints, b: TrackedPoints, camera: Camera) -> float:
    _, of_a, of_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
    if len(of_a) < LEAST_COMMON:
        return 0.0
    _, gaps = turn_between(rays(a.places_px[of_a], camera), rays(b.places_px[of_b], camera))
    return float(np.degrees(np.median(gaps)))


def turn_between(rays_a: Float[ndarray, "n 3"], rays_b: Float[ndarray, "n 3"]) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "n"]]:
    """`R_a_b` of least sum of distances between the ends of unit rays, and these distances: points that move on their own count less."""
    weights = np.ones(len(rays_a))
    for _ in range(TURN_ROUNDS):
        U, _, Vt = np.linalg.svd(rays_a.T @ (weights[:, None] * rays_b))
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        gaps = np.linalg.norm(rays_b @ R.T - rays_a, axis=1)
        weights = 1.0 / np.maximum(gaps, 1e-4)
    return R, gaps


def rays(places_px: Float[ndarray, "n 2"], camera: Camera) -> Float[ndarray, "n 3"]:
    """Unit directions in the camera's frame through points of the picture."""
    flat = (places_px - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    directions = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)

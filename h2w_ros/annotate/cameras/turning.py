"""What a camera that only turns would have seen: the evidence that a path must beat before it is one.

A still head shows no distances, yet structure from motion may fit a path to the noise of its points and to whatever moves on its own.
Points that turning explains agree with any path, put far enough away; so a path is told by the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.annotate.cameras.points import TrackedPoints, rays, turn_between
from h2w_ros.condition import Camera

# Directions of points and turns of the camera are found in turn; so many rounds end within hundredths of a pixel.
NUM_ROUNDS = 8
LEAST_COMMON = 10


def turning_off_px(tracks: Sequence[TrackedPoints], camera: Camera) -> dict[int, float]:
    """How far every point falls, as a median over the frames that see it, from where a camera that only turns would have seen it [px]."""
    ids, places = np.unique(np.concatenate([points.ids for points in tracks]), return_inverse=True)
    if not len(ids):
        return {}
    seen = np.split(places, np.cumsum([len(points.ids) for points in tracks])[:-1])
    directions = [rays(points.places_px, camera) for points in tracks]
    turns, points_world = _first_turns(seen, directions, len(ids))
    for _ in range(NUM_ROUNDS):
        points_world = _mean_directions(seen, [ray @ R.T for ray, R in zip(directions, turns, strict=True)], len(ids))
        turns = [_turn(ray, points_world[place], R) for ray, place, R in zip(directions, seen, turns, strict=True)]
    gaps = [np.linalg.norm(ray @ R.T - points_world[place], axis=1) for ray, R, place in zip(directions, turns, seen, strict=True)]
    return dict(zip(ids.tolist(), (camera.fx * _medians(seen, gaps, len(ids))).tolist(), strict=True))


def _first_turns(
    seen: Sequence[Int[ndarray, "_"]], directions: Sequence[Float[ndarray, "_ 3"]], num_points: int
) -> tuple[list[Float[ndarray, "3 3"]], Float[ndarray, "p 3"]]:
    """Frame by frame, against the directions in which points were seen first."""
    points_world, is_known = np.zeros((num_points, 3)), np.zeros(num_points, dtype=bool)
    turns: list[ndarray] = []
    for place, ray in zip(seen, directions, strict=True):
        common = is_known[place]
        R: ndarray = _turn(ray[common], points_world[place[common]], turns[-1] if turns else np.eye(3))
        new = place[~common]
        points_world[new], is_known[new] = ray[~common] @ R.T, True
        turns.append(R)
    return turns, points_world


def _turn(ray: Float[ndarray, "n 3"], wanted: Float[ndarray, "n 3"], otherwise: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    return turn_between(wanted, ray)[0] if len(ray) >= LEAST_COMMON else otherwise


def _mean_directions(seen: Sequence[Int[ndarray, "_"]], turned: Sequence[Float[ndarray, "_ 3"]], num_points: int) -> Float[ndarray, "p 3"]:
    sums = np.zeros((num_points, 3))
    for place, ray in zip(seen, turned, strict=True):
        sums[place] += ray
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def _medians(seen: Sequence[Int[ndarray, "_"]], gaps: Sequence[Float[ndarray, "_"]], num_points: int) -> Float[ndarray, "p"]:
    """Of every point's gaps, at least one; sorted in one row, as a table of points and frames would fill the memory over a long clip."""
    place, gap = np.concatenate(seen), np.concatenate(gaps)
    rows = gap[np.lexsort((gap, place))]
    counts = np.bincount(place, minlength=num_points)
    first = np.cumsum(counts) - counts
    return np.asarray(0.5 * (rows[first + (counts - 1) // 2] + rows[first + counts // 2]))

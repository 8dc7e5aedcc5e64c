"""Whether points can be a hand at all: its size, its bones, and its side. What cannot be is refused with the remedy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Side
from h2w_ros.hands.anatomy import FIRST_JOINTS, TIP_POINTS, rest_points
from h2w_ros.hands.calibrate import RIGID_PAIRS
from h2w_ros.hands.model import HandModel
from h2w_ros.hands.skeleton import HandSkeleton

# Hands of children and of large men, as shares of the mean hand.
SMALLEST, LARGEST = 0.55, 1.6
# Adjacent joints nearer than this [m] are one joint sent twice.
SHORTEST_BONE_M = 0.003
# Units by how many times too large a hand in them is.
_UNITS = ((1000.0, "millimetres", 0.001), (100.0, "centimetres", 0.01), (39.4, "inches", 0.0254))
# The thumb's base, and all that bends, lie on the palm's side of wrist and knuckles, by more than this [m; the latter in sum].
CLEAR_BASE_M, CLEAR_BEND_M = 0.004, 0.08

_INDEX, _PINKY, _THUMB_BASE = 1, 7, 13
_BENDING = np.array([*FIRST_JOINTS + 1, *FIRST_JOINTS + 2, *TIP_POINTS])


def size_against(model: HandModel, skeleton: HandSkeleton) -> float:
    """How many times as large the hand is as the model's mean one, by the lengths that do not change; NaN when none was seen."""
    ratios = _lengths(np.where(skeleton.is_seen[:, None], skeleton.points_world, np.nan)) / _mean_lengths(model)
    return float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else float("nan")


def check_size(model: HandModel, skeleton: HandSkeleton) -> None:
    """ValueError for a hand that is too large or small, with the unit that it seems to come in."""
    size = size_against(model, skeleton)
    if not size < SMALLEST and not size > LARGEST:
        return
    for times, unit, metres in _UNITS:
        if SMALLEST <= size / times <= LARGEST:
            raise ValueError(
                f"positions must be in metres, this hand is {size:.0f} times too large: they seem to be {unit}; set metres_per_unit to {metres}"
            )
    raise ValueError(f"a hand must be {SMALLEST} to {LARGEST} times as large as the mean one, this one is {size:.3g} times: check metres_per_unit")


def check_bones(skeleton: HandSkeleton) -> None:
    """ValueError when bones have no length: joints that the tracker filled with one value."""
    bones = RIGID_PAIRS[15:]
    lengths = np.linalg.norm(skeleton.points_world[bones[:, 0]] - skeleton.points_world[bones[:, 1]], axis=1)
    short = np.flatnonzero(lengths < SHORTEST_BONE_M)
    if len(short):
        pairs = [tuple(pair) for pair in bones[short].tolist()]
        raise ValueError(f"bones must be at least {1e3 * SHORTEST_BONE_M:.0f} mm long; those between the points {pairs} are not: were they tracked?")


def side_by_shape(skeleton: HandSkeleton) -> Side | None:
    """The side that the points show by what lies before the palm; None for a hand too flat, or seen too little, to tell."""
    points = np.where(skeleton.is_seen[:, None], skeleton.points_world, np.nan)
    normal = np.cross(points[_INDEX] - points[0], points[_PINKY] - points[0])
    depths_m = (points - points[0]) @ (normal / np.maximum(np.linalg.norm(normal), 1e-12))
    base, bent = float(depths_m[_THUMB_BASE]), float(np.nansum(depths_m[_BENDING]))
    # Flat fingers may bend back a little and a thumb's base may be off; both at once hardly.
    if not min(base / CLEAR_BASE_M, bent / CLEAR_BEND_M) > 1.0 and not max(base / CLEAR_BASE_M, bent / CLEAR_BEND_M) < -1.0:
        return None
    return "right" if base > 0 else "left"


def check_side(skeleton: HandSkeleton) -> None:
    """ValueError when the points are plainly those of the other hand: mirrored pictures, or left-handed axes."""
    shown = side_by_shape(skeleton)
    if shown is not None and shown != skeleton.side:
        raise ValueError(
            f"a hand that is called {skeleton.side} has the shape of a {shown} one: set axes to 'unity' if the tracker's are left-handed,"
            " or swap_sides if it names the hands of a mirrored picture"
        )


@lru_cache(maxsize=8)
def _mean_lengths(model: HandModel) -> Float[ndarray, "30"]:
    return _lengths(rest_points(model, np.zeros(model.shape_directions.shape[-1])))


def _lengths(points: Float[ndarray, "21 3"]) -> Float[ndarray, "30"]:
    return np.linalg.norm(points[RIGID_PAIRS[:, 0]] - points[RIGID_PAIRS[:, 1]], axis=1)

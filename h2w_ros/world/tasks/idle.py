"""Hands that touch nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import transform
from h2w_ros.world.grasp import hand_points_world, hand_rotation
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import Waypoint
from h2w_ros.world.tasks.moves import loose_fingers, raised
from h2w_ros.world.tasks.table import SIDE_SIGN, Table

HOVER_TRIES = 12
START_TRIES = 10
HAND_REACH_M = 0.21
"""From the wrist, fingers are at most this far away."""
IN_VIEW = 0.75
"""A hand is in the picture when this share of its joints and tips is."""

Sees = Callable[[Float[ndarray, "n 3"]], float]
"""Share of these points that is in the first picture."""


def idle(rng: np.random.Generator, shape: HandShape, table: Table, last: Waypoint | None = None) -> list[Waypoint]:
    """Hovers somewhere above the things, fingers moving a little; touches nothing, on the way from the last waypoint neither."""
    sign = SIDE_SIGN[shape.side]
    spots = [np.array([rng.uniform(-0.12, 0.24) * sign, rng.uniform(-0.22, 0.04)]) for _ in range(HOVER_TRIES)]
    heights = [_clear_height(table, spot if last is None else np.linspace(last.T_world_wrist[:2, 3], spot, 5)) for spot in spots]
    best = int(np.argmin(heights))
    place = np.array([*spots[best], 0.0])
    R = hand_rotation(shape, place, rng.uniform(-0.4, 0.4), rng.uniform(-0.1, 0.4), rng.uniform(-0.1, 1.2))
    over = Waypoint(rng.uniform(0.6, 1.4), transform(R, place), loose_fingers(rng, shape), arc_m=rng.uniform(0, 0.03))
    hover = raised(shape, over, heights[best] + rng.uniform(0.01, 0.08))
    if last is None or (risen := raised(shape, last, heights[best])) is last:
        return [hover]
    return [Waypoint(rng.uniform(0.3, 0.5), risen.T_world_wrist, risen.joint_angles_rad), hover]


def start_waypoint(rng: np.random.Generator, shape: HandShape, table: Table, sees: Sees | None, in_view: float) -> Waypoint:
    """Where a hand is when the episode begins: in the picture with the share `in_view`, else still out of it."""
    if rng.uniform() >= in_view:
        away = idle(rng, shape, table)[0]
        T_world_wrist = away.T_world_wrist.copy()
        T_world_wrist[:3, 3] = (0.2 * SIDE_SIGN[shape.side], -0.44, 0.2)
        return replace(away, T_world_wrist=T_world_wrist)
    tries = [idle(rng, shape, table)[0] for _ in range(START_TRIES if sees else 1)]
    seen = [min(sees(hand_points_world(shape, over.T_world_wrist, over.joint_angles_rad)), IN_VIEW) for over in tries] if sees else [1.0]
    return tries[int(np.argmax(seen))]


def _clear_height(table: Table, spots: Float[ndarray, "*n 2"]) -> float:
    """Height over everything that stands within a hand's length of these places [m]."""
    places = np.atleast_2d(spots)
    tops = [table.top_m(name) for name in table.things if _reaches_under(table.discs(name), places)]
    return max(tops, default=0.0) + 0.015


def _reaches_under(discs: Float[ndarray, "n 3"], places: Float[ndarray, "m 2"]) -> bool:
    apart = np.linalg.norm(discs[:, None, :2] - places[None], axis=-1) - discs[:, None, 2]
    return bool(apart.min() < HAND_REACH_M)

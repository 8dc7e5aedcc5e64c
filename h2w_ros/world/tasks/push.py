"""Moving things without holding them: sliding them over the table, or pushing them over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import transform
from h2w_ros.world.grasp import evenly_curled, hand_rotation, raised_above_table
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.objects import WORKSPACE_X_M, WORKSPACE_Y_M, TableObject, extent_m
from h2w_ros.world.tasks.moves import plan, retreat, shifted
from h2w_ros.world.tasks.table import Plan, Table

Grip = tuple[Float[ndarray, "3 3"], Float[ndarray, "3"], Float[ndarray, "3"], float]
"""R_world_wrist, the touching point in the wrist's frame, the level push direction, and how far the fingers are closed."""

PUSH_WAYS = {"palm": 0.35, "back": 0.2, "tips": 0.25, "hook": 0.2}
TOPPLE_WAYS = {"palm": 0.4, "back": 0.25, "tips": 0.35}
HOOK_TOP_M = 0.09
"""Hands do not reach over what is taller than this to pull it."""
TOPPLE_AT = 0.72
"""Share of the half height over the middle where a hand pushes a thing over."""


@dataclass(frozen=True, eq=False)
class Shove:
    """Straight through a target, from a little before the object."""

    target_m: Float[ndarray, "3"]
    gap_m: float
    """Between the hand and the object at the start."""
    length_m: float
    duration_s: float


def push(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Slides an object away with the palm, the back of the hand, the finger tips, or towards the person with hooked fingers."""
    name = table.choose(rng)
    if name is None:
        return Plan()
    start_m = table.position(name)
    grip = _push_grip(rng, shape, start_m, PUSH_WAYS if table.top_m(name) < HOOK_TOP_M else TOPPLE_WAYS)
    gap_m = rng.uniform(0.02, 0.05)
    shove = Shove(start_m, gap_m, _push_length(rng, start_m, grip[2], gap_m), rng.uniform(0.6, 1.1))
    return plan("push", name, *_steps(rng, shape, table, name, grip, shove))


def topple(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Pushes over a tall thing that stands, near its top."""
    name = table.choose(rng, lambda thing: thing.is_tall and _stands(thing, table))
    if name is None:
        return Plan()
    high_m = table.position(name) + UP * TOPPLE_AT * table.things[name].half_size_m[2]
    gap_m = rng.uniform(0.02, 0.04)
    length_m = gap_m + rng.uniform(0.07, 0.1)
    grip = _push_grip(rng, shape, high_m, TOPPLE_WAYS)
    return plan("topple", name, *_steps(rng, shape, table, name, grip, Shove(high_m, gap_m, length_m, rng.uniform(0.45, 0.7))))


def _stands(thing: TableObject, table: Table) -> bool:
    return bool(table.T_world_object[thing.name][2, 2] > 0.95)


def _steps(rng: np.random.Generator, shape: HandShape, table: Table, name: str, grip: Grip, shove: Shove) -> list[Waypoint]:
    """Behind the object as the hand pushes, through it, and away."""
    R, contact, direction, curl = grip
    angles = evenly_curled(shape, curl)
    reach_m = extent_m(table.things[name], table.T_world_object[name][:3, :3], direction, table.openings.get(name, 0.0)) + 0.012
    behind = shove.target_m - direction * (reach_m + shove.gap_m) - R @ contact
    start = raised_above_table(shape, transform(R, behind), angles)
    over_m = table.top_m(name) if direction[1] < 0 else 0.0  # what is pulled is reached over
    approach = Waypoint(rng.uniform(0.3, 0.6) + 2 * over_m, start, angles, arc_m=0.05 + over_m)
    through = Waypoint(shove.duration_s, shifted(start, direction * shove.length_m), angles)
    return [approach, through, retreat(rng, shape, through)]


def _push_grip(rng: np.random.Generator, shape: HandShape, target_m: Float[ndarray, "3"], ways: dict[str, float]) -> Grip:
    way = str(rng.choice(list(ways), p=list(ways.values())))
    pitch, roll = {"palm": (0.1, 1.45), "back": (0.1, 1.45), "tips": (0.45, 0.2), "hook": (1.2, 0.0)}[way]
    R = hand_rotation(shape, target_m, rng.uniform(-0.5, 0.5), pitch + rng.uniform(-0.1, 0.1), roll + rng.uniform(-0.1, 0.1))
    facing = shape.axes[:, 0] if way == "tips" else shape.axes[:, 1]
    direction = R @ facing * (-1 if way == "back" else 1) * (1, 1, 0)
    contact = shape.points[17 if way == "tips" else 5] * (1.0 if way == "tips" else 0.95)
    return R, contact, direction / np.linalg.norm(direction), {"palm": 0.1, "back": 0.15, "tips": 0.12, "hook": 0.2}[way]


def _push_length(rng: np.random.Generator, start_m: Float[ndarray, "3"], direction: Float[ndarray, "3"], gap_m: float) -> float:
    """Far enough to be seen, not so far that the object leaves the workspace [m]."""
    wanted = rng.uniform(0.07, 0.2)
    low, high = np.array([WORKSPACE_X_M[0], WORKSPACE_Y_M[0]]) - 0.06, np.array([WORKSPACE_X_M[1], WORKSPACE_Y_M[1]]) + 0.08
    room = np.where(direction[:2] > 0, high - start_m[:2], start_m[:2] - low) / np.maximum(np.abs(direction[:2]), 1e-3)
    return float(gap_m + np.clip(room.min(), 0.03, wanted))

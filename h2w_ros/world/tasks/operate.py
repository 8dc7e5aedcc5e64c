"""Opening and closing lids, drawers and books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, apply, rotation_from_axis_angle, transform
from h2w_ros.world.articulation import Articulation
from h2w_ros.world.grasp import hand_rotation, pinch_point, pinching, raised_above_table
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.objects import TableObject
from h2w_ros.world.tasks.moves import plan, retreat, shifted
from h2w_ros.world.tasks.table import SIDE_SIGN, Plan, Table


@dataclass(frozen=True)
class Handling:
    """How a hand takes what opens on one kind of thing."""

    pinch: str
    pitch_rad: tuple[float, float]
    roll_rad: tuple[float, float]
    turns: float
    """Share of the hinge's turn that the hand takes part in."""
    closed_to: float
    """Share of the opening from which a lid or cover falls shut."""
    opened_to: float
    """Share of the opening from which it falls open."""


HANDLINGS = {
    "lid_box": Handling("knob", (0.25, 0.55), (-0.1, 0.35), turns=-0.1, closed_to=0.2, opened_to=0.93),
    "drawer": Handling("knob", (0.1, 0.45), (-0.1, 0.3), turns=0.0, closed_to=0.0, opened_to=0.55),
    "book": Handling("edge", (0.0, 0.35), (1.0, 1.35), turns=0.5, closed_to=0.3, opened_to=0.7),
}


def operate(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Takes a lid, a drawer or a cover by its grip, opens it or closes it, and lets go."""
    name = table.choose(rng, lambda thing: _is_at_hand(thing, shape, table))
    articulation = None if name is None else table.things[name].articulation
    if name is None or articulation is None:
        return Plan()
    handling, T_world_object = HANDLINGS[table.things[name].shape], table.T_world_object[name]
    start, goal = table.openings[name], _goal(rng, table.openings[name] / articulation.max_opening, handling) * articulation.max_opening
    task = "open" if goal > start else "close"
    facing = apply(T_world_object, articulation.grip_m)
    R_closed = hand_rotation(shape, facing, rng.uniform(-0.3, 0.3), rng.uniform(*handling.pitch_rad), rng.uniform(*handling.roll_rad))
    path = _along(shape, articulation, T_world_object, R_closed, handling)
    at, end = path(start), path(goal)
    loose, tight = pinching(shape, handling.pinch, 0.0), pinching(shape, handling.pinch)
    before = Waypoint(rng.uniform(0.4, 0.65), raised_above_table(shape, shifted(at, _clear_of(shape, at)), loose), loose, arc_m=rng.uniform(0, 0.03))
    on = Waypoint(rng.uniform(0.15, 0.3), at, loose, passes=True)
    closed = Waypoint(rng.uniform(0.12, 0.2), at, tight, on_arrival="operate", passes=True)
    moved = Waypoint(rng.uniform(0.6, 1.1), end, tight, on_arrival="release", path=lambda share: path(start + share * (goal - start)), passes=True)
    opened = Waypoint(rng.uniform(0.1, 0.18), end, loose, passes=True)
    return plan(task, name, before, on, closed, moved, opened, replace(retreat(rng, shape, opened), passes=True))


def _is_at_hand(thing: TableObject, shape: HandShape, table: Table) -> bool:
    """Whether it opens, stands upright, and shows its grip to this hand: books to the hand on the grip's side."""
    if thing.articulation is None or table.T_world_object[thing.name][2, 2] < 0.98:
        return False
    R_world_object = table.T_world_object[thing.name][:3, :3]
    if thing.shape == "book":
        outwards = R_world_object @ (thing.articulation.grip_at(table.openings[thing.name]) - thing.articulation.anchor_m)
        return bool(outwards[0] * SIDE_SIGN[shape.side] > 0)
    return bool(R_world_object[1, 1] > 0.7)


def _goal(rng: np.random.Generator, start: float, handling: Handling) -> float:
    """Share of the opening to move to: far enough that it stays, or falls, open or shut."""
    return float(rng.uniform(handling.opened_to, 1.0)) if start < 0.5 else float(rng.uniform(0.0, handling.closed_to))


def _along(
    shape: HandShape, articulation: Articulation, T_world_object: Transform, R_world_wrist_closed: Float[ndarray, "3 3"], handling: Handling
) -> Callable[[float], Transform]:
    """T_world_wrist by opening, with the pinching fingers on the grip."""
    axis, pinch = T_world_object[:3, :3] @ articulation.axis, pinch_point(shape, handling.pinch)

    def T_world_wrist(opening: float) -> Transform:
        angle = handling.turns * opening if articulation.joint == "hinge" else 0.0
        R = rotation_from_axis_angle(axis * angle) @ R_world_wrist_closed
        return transform(R, apply(T_world_object, articulation.grip_at(opening)) - R @ pinch)

    return T_world_wrist


def _clear_of(shape: HandShape, T_world_wrist: Transform) -> Float[ndarray, "3"]:
    """The way off the grip: against the palm, back along the fingers, and up [m]."""
    fingers, palm, _ = (T_world_wrist[:3, :3] @ shape.axes).T
    return -0.025 * fingers - 0.025 * palm + 0.02 * UP

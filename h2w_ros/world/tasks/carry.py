"""Taking things: reaching for them, and carrying them to another place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from h2w_ros.geometry import Transform, invert, rotation_from_axis_angle, transform
from h2w_ros.world.grasp import closing_angles
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.objects import WORKSPACE_X_M, WORKSPACE_Y_M, TableObject, discs_world, gap_m
from h2w_ros.world.tasks.moves import approach, plan, retreat
from h2w_ros.world.tasks.table import SIDE_SIGN, Plan, Table

PLACE_TRIES = 30
MIN_CARRY_M = 0.09
PLACE_GAP_M = 0.03


def is_portable(thing: TableObject) -> bool:
    """Whether one hand can lift it."""
    return thing.articulation is None


def reach(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Goes to an object as if to take it, waits, and comes back."""
    name = table.choose(rng)
    if name is None:
        return Plan()
    before, at = approach(rng, shape, table, name)
    return plan("reach", name, before, replace(before, duration_s=rng.uniform(0.2, 0.5)), retreat(rng, shape, at))


def carry(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Grasps an object, lifts it, carries it to a free place, sets it down and lets go."""
    name = table.choose(rng, is_portable)
    T_world_placed = None if name is None else free_place(rng, shape, table, name)
    if name is None or T_world_placed is None:
        return Plan()
    before, at, closed = grasp_steps(rng, shape, table, name)
    T_object_wrist = invert(table.T_world_object[name]) @ at.T_world_wrist
    placed = place_step(rng, T_world_placed @ T_object_wrist, closed)
    opened = Waypoint(rng.uniform(0.12, 0.2), placed.T_world_wrist, at.joint_angles_rad)
    return plan("carry", name, before, at, closed, placed, opened, retreat(rng, shape, opened))


def grasp_steps(
    rng: np.random.Generator, shape: HandShape, table: Table, name: str, T_world_object: Transform | None = None
) -> tuple[Waypoint, Waypoint, Waypoint]:
    """Off the object, palm on it, fingers closed and holding; where it is now, or where it will be."""
    T = table.T_world_object[name] if T_world_object is None else T_world_object
    before, at = approach(rng, shape, table, name, T_world_object)
    held = closing_angles(shape, at.T_world_wrist, table.things[name], T)
    return before, at, Waypoint(rng.uniform(0.12, 0.22), at.T_world_wrist, held, on_arrival="grasp")


def place_step(rng: np.random.Generator, T_world_wrist: Transform, holding: Waypoint) -> Waypoint:
    """Carries what is held there, over an arc, and lets it go."""
    return Waypoint(rng.uniform(0.7, 1.3), T_world_wrist, holding.joint_angles_rad, arc_m=rng.uniform(0.04, 0.13), on_arrival="release")


def free_place(rng: np.random.Generator, shape: HandShape, table: Table, name: str) -> Transform | None:
    """T_world_object at a free spot on the table, turned a little about the vertical, or None."""
    thing, T_world_object = table.things[name], table.T_world_object[name]
    others = [table.discs(other) for other in table.things if other != name]
    for _ in range(PLACE_TRIES):
        spot = np.array([rng.uniform(*WORKSPACE_X_M), rng.uniform(*WORKSPACE_Y_M), T_world_object[2, 3] + 0.002])
        turn = rotation_from_axis_angle(UP * rng.uniform(-0.6, 0.6))
        T_world_placed = transform(turn @ T_world_object[:3, :3], spot)
        far_enough = np.linalg.norm((spot - T_world_object[:3, 3])[:2]) > MIN_CARRY_M and spot[0] * SIDE_SIGN[shape.side] > -0.15
        discs = discs_world(thing, T_world_placed)
        if far_enough and all(gap_m(discs, other) > PLACE_GAP_M for other in others):
            return T_world_placed
    return None

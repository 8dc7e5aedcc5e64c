"""One hand takes a thing to the other, which puts it down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from h2w_ros.geometry import Transform, invert, rotation_from_axis_angle, transform
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.tasks.carry import free_place, grasp_steps, is_portable, place_step
from h2w_ros.world.tasks.moves import as_task, retreat
from h2w_ros.world.tasks.table import SIDE_SIGN, Plan, Table

SLACK_S = 0.12
"""Both hands hold the thing at least this long."""


def hand_over(rng: np.random.Generator, shape: HandShape, table: Table) -> Plan:
    """Grasps a thing, brings it to the middle, where the other hand takes it and puts it down on its own side."""
    partner, name = table.partner, table.choose(rng, is_portable)
    if partner is None or name is None:
        return Plan()
    T_world_placed = free_place(rng, partner.shape, table, name)
    if T_world_placed is None:
        return Plan()
    before, at, closed = grasp_steps(rng, shape, table, name)
    T_world_met = _meeting_place(rng, shape, table.T_world_object[name])
    T_object_wrist = invert(table.T_world_object[name]) @ at.T_world_wrist
    met = Waypoint(rng.uniform(0.6, 0.9), T_world_met @ T_object_wrist, closed.joint_angles_rad, arc_m=rng.uniform(0.0, 0.05))
    giving_s = sum(step.duration_s for step in (before, at, closed, met))
    near, on, taken = grasp_steps(rng, partner.shape, table, name, T_world_met)
    waiting = replace(near, duration_s=max(giving_s - partner.free_in_s - 0.1, near.duration_s))
    taking_s = partner.free_in_s + waiting.duration_s + on.duration_s + taken.duration_s
    hold = replace(met, duration_s=max(taking_s - giving_s, 0.0) + SLACK_S, arc_m=0.0, on_arrival="release")
    opened = Waypoint(rng.uniform(0.12, 0.2), met.T_world_wrist, at.joint_angles_rad)
    stay = replace(taken, duration_s=hold.duration_s + giving_s - taking_s + opened.duration_s, on_arrival="nothing")
    placed = place_step(rng, T_world_placed @ invert(T_world_met) @ on.T_world_wrist, taken)
    let_go = Waypoint(rng.uniform(0.12, 0.2), placed.T_world_wrist, on.joint_angles_rad)
    giving = (before, at, closed, met, hold, opened, retreat(rng, shape, opened))
    taking = (waiting, on, taken, stay, placed, let_go, retreat(rng, partner.shape, let_go))
    return Plan(as_task("hand_over", name, *giving), as_task("hand_over", name, *taking))


def _meeting_place(rng: np.random.Generator, shape: HandShape, T_world_object: Transform) -> Transform:
    """T_world_object over the table's middle, a little on the giving hand's side."""
    spot = np.array([0.02 * SIDE_SIGN[shape.side], rng.uniform(-0.08, 0.06), rng.uniform(0.12, 0.2)])
    return transform(rotation_from_axis_angle(UP * rng.uniform(-0.4, 0.4)) @ T_world_object[:3, :3], spot)

"""Moves that several tasks are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform
from h2w_ros.world.grasp import (
    evenly_curled,
    grasp_pose,
    hand_points_world,
    hand_rotation,
    pinch_pose,
    pinch_ways,
    pinching,
    raised_above_table,
    yaw_towards,
)
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import Waypoint
from h2w_ros.world.tasks.table import Plan, Table

TALL_M = 0.085
"""Hands come to taller things from the side."""
MAX_PINCH_YAW_RAD = 0.9
"""A hand turns no further to lay its fingers across a thing."""


def as_task(task: str, object_name: str, *steps: Waypoint) -> list[Waypoint]:
    """The steps, marked as belonging to this task on this object."""
    return [replace(step, task=task, object_name=object_name) for step in steps]


def plan(task: str, object_name: str, *steps: Waypoint) -> Plan:
    """A plan of these steps for one hand."""
    return Plan(as_task(task, object_name, *steps))


def loose_fingers(rng: np.random.Generator, shape: HandShape) -> Float[ndarray, "45"]:
    """A relaxed hand; now and then pointing, flat or a fist."""
    share = float(rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.0, 0.1), rng.uniform(0.6, 0.9)], p=[0.7, 0.15, 0.15]))
    angles = evenly_curled(shape, share)
    if rng.uniform() < 0.1:
        angles[:9] *= 0.1
    return angles + rng.normal(0, 0.04, 45)


def raised(shape: HandShape, waypoint: Waypoint, height_m: float) -> Waypoint:
    """The waypoint, lifted until every joint and tip is at least this high; itself when they are."""
    lift = height_m - hand_points_world(shape, waypoint.T_world_wrist, waypoint.joint_angles_rad)[:, 2].min()
    return waypoint if lift <= 0 else replace(waypoint, T_world_wrist=shifted(waypoint.T_world_wrist, np.array([0.0, 0.0, lift])))


def shifted(T_world_a: Transform, by_world_m: Float[ndarray, "3"]) -> Transform:
    """The pose moved by this much, in the world's axes."""
    moved = T_world_a.copy()
    moved[:3, 3] += by_world_m
    return moved


def approach(
    rng: np.random.Generator, shape: HandShape, table: Table, name: str, T_world_object: Transform | None = None
) -> tuple[Waypoint, Waypoint]:
    """A pose off the object with an open hand, and the pose with palm or finger tips on it; where it is now, or where it will be."""
    T = table.T_world_object[name] if T_world_object is None else T_world_object
    ways = pinch_ways(table.things[name], T)
    yaw = yaw_towards(shape, T[:3, 3], ways) if ways else 0.0
    if ways and abs(yaw) < MAX_PINCH_YAW_RAD:
        T_world_wrist, open_hand = _pinched(rng, shape, T[:3, 3], yaw), pinching(shape, "knob", 0.0)
    else:
        T_world_wrist, open_hand = _palmed(rng, shape, table, name, T_world_object), evenly_curled(shape, rng.uniform(0.1, 0.2))
    fingers, palm = (T_world_wrist[:3, :3] @ shape.axes)[:, :2].T
    off = shifted(T_world_wrist, -palm * rng.uniform(0.03, 0.06) - fingers * rng.uniform(0.0, 0.04))
    before = Waypoint(rng.uniform(0.35, 0.65), off, open_hand, arc_m=rng.uniform(0.0, 0.04))
    return before, Waypoint(rng.uniform(0.15, 0.3), T_world_wrist, open_hand)


def _pinched(rng: np.random.Generator, shape: HandShape, place_m: Float[ndarray, "3"], yaw_rad: float) -> Transform:
    """T_world_wrist of a hand over a small thing, fingers beyond it, thumb before it."""
    R = hand_rotation(shape, place_m, yaw_rad, rng.uniform(0.2, 0.5), rng.uniform(-0.1, 0.25))
    return pinch_pose(shape, R, place_m)


def _palmed(rng: np.random.Generator, shape: HandShape, table: Table, name: str, T_world_object: Transform | None) -> Transform:
    """T_world_wrist with the palm on a thing, from above, or from the side where it is tall or in the air."""
    T = table.T_world_object[name] if T_world_object is None else T_world_object
    from_the_side = table.top_m(name) > TALL_M or T_world_object is not None
    roll, pitch = (rng.uniform(1.0, 1.5), rng.uniform(-0.1, 0.25)) if from_the_side else (rng.uniform(0.0, 0.8), rng.uniform(0.25, 0.8))
    R = hand_rotation(shape, T[:3, 3], rng.uniform(-0.35, 0.35), pitch, roll)
    return grasp_pose(shape, R, table.things[name], T)


def retreat(rng: np.random.Generator, shape: HandShape, last: Waypoint) -> Waypoint:
    """Back off the way the palm came, and up."""
    away = -last.T_world_wrist[:3, :3] @ shape.axes[:, 1] * rng.uniform(0.04, 0.08) + (0, rng.uniform(-0.06, 0), rng.uniform(0.02, 0.06))
    off = raised_above_table(shape, shifted(last.T_world_wrist, away), last.joint_angles_rad)
    return Waypoint(rng.uniform(0.3, 0.6), off, loose_fingers(rng, shape))

"""What hands do: each task is a function from the table as it is now to the hand's next waypoints.

A new interaction is one more function and one more row in TASKS; `idle` is what remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, invert, rotation_from_axis_angle, transform
from h2w_ros.world.grasp import closing_angles, evenly_curled, extent_m, grasp_pose, hand_points_world, hand_rotation, raised_above_table
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.objects import WORKSPACE_X_M, WORKSPACE_Y_M, TableObject

SIDE_SIGN = {"right": 1.0, "left": -1.0}
PLACE_TRIES = 30
MIN_CARRY_M = 0.09
HOVER_TRIES = 12
HAND_REACH_M = 0.21
"""From the wrist, fingers are at most this far away."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a planning hand knows: the things, where they are now, and which of them it may use."""

    things: Mapping[str, TableObject]
    T_world_object: Mapping[str, Transform]
    usable: Sequence[str]

    def position(self, name: str) -> Float[ndarray, "3"]:
        """The object's centre in the world [m]."""
        return self.T_world_object[name][:3, 3]

    def top_m(self, name: str) -> float:
        """Height of the object's highest point over the table."""
        return float(self.position(name)[2]) + extent_m(self.things[name], self.T_world_object[name][:3, :3], UP)


Task = Callable[[np.random.Generator, HandShape, Table], list[Waypoint]]


def idle(rng: np.random.Generator, shape: HandShape, table: Table, last: Waypoint | None = None) -> list[Waypoint]:
    """Hovers somewhere above the things, fingers moving a little; touches nothing, on the way from the last waypoint neither."""
    sign = SIDE_SIGN[shape.side]
    spots = [np.array([rng.uniform(-0.12, 0.24) * sign, rng.uniform(-0.22, 0.04)]) for _ in range(HOVER_TRIES)]
    heights = [_clear_height(table, spot if last is None else np.linspace(last.T_world_wrist[:2, 3], spot, 5)) for spot in spots]
    best = int(np.argmin(heights))
    place = np.array([*spots[best], 0.0])
    R = hand_rotation(shape, place, rng.uniform(-0.4, 0.4), rng.uniform(-0.1, 0.4), rng.uniform(-0.1, 1.2))
    over = Waypoint(rng.uniform(0.6, 1.4), transform(R, place), _loose_fingers(rng, shape), arc_m=rng.uniform(0, 0.03))
    hover = _raised(shape, over, heights[best] + rng.uniform(0.01, 0.08))
    if last is None or (risen := _raised(shape, last, heights[best])) is last:
        return [hover]
    return [replace(risen, duration_s=rng.uniform(0.3, 0.5), arc_m=0.0, on_arrival="nothing", task="idle", object_name=""), hover]


def reach(rng: np.random.Generator, shape: HandShape, table: Table) -> list[Waypoint]:
    """Goes to an object as if to take it, waits, and comes back."""
    name = str(rng.choice(table.usable))
    before, at = _approach(rng, shape, table, name)
    wait = replace(before, duration_s=rng.uniform(0.2, 0.5))
    away = _retreat(rng, shape, at)
    return [replace(step, task="reach", object_name=name) for step in (before, wait, away)]


def carry(rng: np.random.Generator, shape: HandShape, table: Table) -> list[Waypoint]:
    """Grasps an object, lifts it, carries it to a free place, sets it down and lets go; [] when there is no free place."""
    name = str(rng.choice(table.usable))
    T_world_placed = _free_place(rng, shape, table, name)
    if T_world_placed is None:
        return []
    before, at = _approach(rng, shape, table, name)
    held = closing_angles(shape, at.T_world_wrist, table.things[name], table.T_world_object[name])
    T_object_wrist = invert(table.T_world_object[name]) @ at.T_world_wrist
    closed = Waypoint(rng.uniform(0.12, 0.22), at.T_world_wrist, held, on_arrival="grasp")
    placed = Waypoint(rng.uniform(0.7, 1.3), T_world_placed @ T_object_wrist, held, arc_m=rng.uniform(0.04, 0.13), on_arrival="release")
    opened = Waypoint(rng.uniform(0.12, 0.2), placed.T_world_wrist, at.joint_angles_rad)
    steps = [before, at, closed, placed, opened, _retreat(rng, shape, opened)]
    return [replace(step, task="carry", object_name=name) for step in steps]


def push(rng: np.random.Generator, shape: HandShape, table: Table) -> list[Waypoint]:
    """Slides an object away with the palm, the back of the hand, the finger tips, or towards the person with hooked fingers."""
    name = str(rng.choice(table.usable))
    thing, T_world_object = table.things[name], table.T_world_object[name]
    R, contact, direction, curl = _push_grip(rng, shape, T_world_object[:3, 3])
    angles = evenly_curled(shape, curl)
    gap = rng.uniform(0.02, 0.05)
    reach_m = extent_m(thing, T_world_object[:3, :3], direction) + 0.012
    behind = T_world_object[:3, 3] - direction * (reach_m + gap) - R @ contact
    start = raised_above_table(shape, transform(R, behind), angles)
    end = start.copy()
    end[:3, 3] += direction * _push_length(rng, T_world_object[:3, 3], direction, gap)
    approach = Waypoint(rng.uniform(0.3, 0.6), start, angles, arc_m=0.05)
    through = Waypoint(rng.uniform(0.6, 1.1), end, angles)
    return [replace(step, task="push", object_name=name) for step in (approach, through, _retreat(rng, shape, through))]


TASKS: dict[str, Task] = {"reach": reach, "carry": carry, "push": push}


def start_waypoint(rng: np.random.Generator, shape: HandShape, table: Table) -> Waypoint:
    """Where a hand is when the episode begins: over the table, or still out of the picture (one in three)."""
    over = idle(rng, shape, table)[0]
    if rng.uniform() < 0.67:
        return over
    away = over.T_world_wrist.copy()
    away[:3, 3] = (0.2 * SIDE_SIGN[shape.side], -0.44, 0.2)
    return replace(over, T_world_wrist=away)


def _clear_height(table: Table, spots: Float[ndarray, "*n 2"]) -> float:
    """Height over everything that stands within a hand's length of these places [m]."""
    under = [
        name
        for name, thing in table.things.items()
        if np.linalg.norm(table.position(name)[:2] - spots, axis=-1).min() < HAND_REACH_M + thing.footprint_m
    ]
    tops = [table.top_m(name) for name in under]
    return max(tops, default=0.0) + 0.015


def _raised(shape: HandShape, waypoint: Waypoint, height_m: float) -> Waypoint:
    """The waypoint, lifted until every joint and tip is at least this high; itself when they are."""
    lift = height_m - hand_points_world(shape, waypoint.T_world_wrist, waypoint.joint_angles_rad)[:, 2].min()
    if lift <= 0:
        return waypoint
    T_world_wrist = waypoint.T_world_wrist.copy()
    T_world_wrist[2, 3] += lift
    return replace(waypoint, T_world_wrist=T_world_wrist)


def _loose_fingers(rng: np.random.Generator, shape: HandShape) -> Float[ndarray, "45"]:
    """A relaxed hand; now and then pointing, flat or a fist."""
    share = float(rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.0, 0.1), rng.uniform(0.6, 0.9)], p=[0.7, 0.15, 0.15]))
    angles = evenly_curled(shape, share)
    if rng.uniform() < 0.1:
        angles[:9] *= 0.1
    return angles + rng.normal(0, 0.04, 45)


def _approach(rng: np.random.Generator, shape: HandShape, table: Table, name: str) -> tuple[Waypoint, Waypoint]:
    """A pose off the object with an open hand, and the pose with the palm on it."""
    thing, T_world_object = table.things[name], table.T_world_object[name]
    tall = table.top_m(name) > 0.085
    roll, pitch = (rng.uniform(1.0, 1.5), rng.uniform(-0.1, 0.25)) if tall else (rng.uniform(0.0, 0.8), rng.uniform(0.25, 0.8))
    R = hand_rotation(shape, T_world_object[:3, 3], rng.uniform(-0.35, 0.35), pitch, roll)
    T_world_wrist = grasp_pose(shape, R, thing, T_world_object)
    off = T_world_wrist.copy()
    off[:3, 3] -= R @ (shape.axes[:, 1] * rng.uniform(0.03, 0.06) + shape.axes[:, 0] * rng.uniform(0.0, 0.04))
    open_hand = evenly_curled(shape, rng.uniform(0.1, 0.2))
    before = Waypoint(rng.uniform(0.35, 0.65), off, open_hand, arc_m=rng.uniform(0.0, 0.04))
    return before, Waypoint(rng.uniform(0.15, 0.3), T_world_wrist, open_hand)


def _retreat(rng: np.random.Generator, shape: HandShape, last: Waypoint) -> Waypoint:
    """Back off the way the palm came, and up."""
    off = last.T_world_wrist.copy()
    off[:3, 3] += -off[:3, :3] @ shape.axes[:, 1] * rng.uniform(0.04, 0.08) + (0, rng.uniform(-0.06, 0), rng.uniform(0.02, 0.06))
    off = raised_above_table(shape, off, last.joint_angles_rad)
    return Waypoint(rng.uniform(0.3, 0.6), off, _loose_fingers(rng, shape))


def _free_place(rng: np.random.Generator, shape: HandShape, table: Table, name: str) -> Transform | None:
    """T_world_object at a free spot on the table, turned a little about the vertical, or None."""
    others = [other for other in table.things if other != name]
    T_world_object = table.T_world_object[name]
    for _ in range(PLACE_TRIES):
        spot = np.array([rng.uniform(*WORKSPACE_X_M), rng.uniform(*WORKSPACE_Y_M), T_world_object[2, 3] + 0.002])
        room = [np.linalg.norm((table.position(o) - spot)[:2]) - table.things[o].footprint_m for o in others]
        far_enough = np.linalg.norm((spot - T_world_object[:3, 3])[:2]) > MIN_CARRY_M
        if far_enough and min(room, default=1.0) > table.things[name].footprint_m + 0.03 and spot[0] * SIDE_SIGN[shape.side] > -0.15:
            turn = rotation_from_axis_angle(UP * rng.uniform(-0.6, 0.6))
            return transform(turn @ T_world_object[:3, :3], spot)
    return None


def _push_grip(
    rng: np.random.Generator, shape: HandShape, target_m: Float[ndarray, "3"]
) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3"], Float[ndarray, "3"], float]:
    """R_world_wrist, the touching point in the wrist's frame, the level push direction, and how far the fingers are closed."""
    way = str(rng.choice(["palm", "back", "tips", "hook"], p=[0.35, 0.2, 0.25, 0.2]))
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

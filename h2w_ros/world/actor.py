"""A hand that acts: follows its waypoints, plans its next task when they are used up, and holds what it has grasped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import HandPose
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import Waypoint, between
from h2w_ros.world.spec import WorldSpec
from h2w_ros.world.tasks.catalogue import TASKS
from h2w_ros.world.tasks.idle import Sees, idle, start_waypoint
from h2w_ros.world.tasks.table import Partner, Plan, Table


@dataclass(frozen=True, eq=False)
class Held:
    """What a hand holds: a whole object, which it carries, or only the grip of what opens on one that stands."""

    object_name: str
    T_wrist_object: Transform
    T_world_object: Transform
    """Where the object was when it was taken."""
    grip_wrist_m: Float[ndarray, "3"] | None = None
    """The grip of the part that opens, None when the whole object is held."""


class HandActor:
    """One hand through an episode; one that does not act stays idle, unless the other hand asks for its help."""

    def __init__(self, rng: np.random.Generator, shape: HandShape, spec: WorldSpec, table: Table, acts: bool, sees: Sees | None = None) -> None:
        self.shape, self._rng, self._spec, self._acts = shape, rng, spec, acts
        self.partner: HandActor | None = None
        """The other hand, if there is one."""
        self._start = start_waypoint(rng, shape, table, sees, spec.hands_in_first_frame)
        self._queue: list[Waypoint] = []
        self._elapsed_s = 0.0
        self.held: Held | None = None
        self.tasks: list[tuple[str, str]] = []
        """What the hand has done so far: (task, object)."""
        self.pose = self._pose_at(self._start.T_world_wrist, self._start.joint_angles_rad)

    @property
    def object_name(self) -> str:
        """The object that the hand is concerned with, or ''."""
        return self._queue[0].object_name if self._queue else ""

    @property
    def passes(self) -> str:
        """The object that the hand's bones leave in peace now, or ''."""
        return self._queue[0].object_name if self._queue and self._queue[0].passes else ""

    def as_partner(self) -> Partner | None:
        """What the other hand may count on; None while this one is busy."""
        if any(step.task != "idle" for step in self._queue):
            return None
        free_in_s = sum(step.duration_s for step in self._queue) - self._elapsed_s
        return Partner(self.shape, self._queue[-1] if self._queue else self._start, max(free_in_s, 0.0))

    def help(self, steps: Sequence[Waypoint]) -> None:
        """Takes over the partner's part of a plan, after what it is doing now."""
        self._queue.extend(steps)
        self.tasks.append((steps[0].task, steps[0].object_name))

    def follow(self, steps: Sequence[Waypoint]) -> None:
        """Does these steps from where it is now, instead of what it was about to do, and keeps what it holds."""
        self._start = Waypoint(0.0, self.pose.T_world_wrist, self.pose.joint_angles_rad)
        self._queue, self._elapsed_s = list(steps), 0.0
        self.tasks.append((steps[0].task, steps[0].object_name))

    def advance(self, duration_s: float, table: Table) -> None:
        """Moves on by this time; plans from the table as it is now when nothing is left to do."""
        self._elapsed_s += duration_s
        while not self._queue or self._elapsed_s >= self._queue[0].duration_s:
            if self._queue:
                self._arrive(self._queue.pop(0), table)
            if not self._queue:
                self._plan(table)
        goal = self._queue[0]
        self.pose = self._pose_at(*between(self._start, goal, self._elapsed_s / goal.duration_s))

    def _arrive(self, reached: Waypoint, table: Table) -> None:
        self._elapsed_s -= reached.duration_s
        self._start = reached
        if reached.on_arrival == "release":
            self.held = None
        elif reached.on_arrival != "nothing":
            self.held = self._taken(reached, table)

    def _taken(self, reached: Waypoint, table: Table) -> Held:
        name, T_wrist_world = reached.object_name, invert(reached.T_world_wrist)
        T_world_object, articulation = table.T_world_object[name], table.things[name].articulation
        grip = None
        if reached.on_arrival == "operate" and articulation is not None:
            grip = apply(T_wrist_world @ T_world_object, articulation.grip_at(table.openings[name]))
        return Held(name, T_wrist_world @ T_world_object, T_world_object, grip)

    def _plan(self, table: Table) -> None:
        plan = self._next_plan(table) if self._acts and table.usable else Plan()
        self._queue = list(plan.steps) or idle(self._rng, self.shape, table, self._start)
        self.tasks.append((self._queue[0].task, self._queue[0].object_name))
        if self.partner is not None and plan.partner_steps:
            self.partner.help(plan.partner_steps)

    def _next_plan(self, table: Table) -> Plan:
        """A task by its share; where the table does not offer it, another, and nothing when idleness is drawn."""
        shares = dict(self._spec.task_shares)
        idleness = max(1.0 - sum(shares.values()), 0.0)
        while shares:
            weights = np.array([*shares.values(), idleness])
            if weights.sum() <= 0:
                return Plan()
            task = str(self._rng.choice([*shares, "idle"], p=weights / weights.sum()))
            plan = TASKS[task](self._rng, self.shape, table) if task != "idle" else Plan()
            if plan.steps or task == "idle":
                return plan
            del shares[task]
        return Plan()

    def _pose_at(self, T_world_wrist: Transform, joint_angles_rad: np.ndarray) -> HandPose:
        return HandPose(self.shape.side, T_world_wrist, joint_angles_rad, self.shape.betas)

"""A hand that acts: follows its waypoints, plans its next task when they are used up, and carries what it has grasped."""

from __future__ import annotations

import numpy as np

from h2w_ros.condition import HandPose
from h2w_ros.geometry import Transform, invert
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import Waypoint, between
from h2w_ros.world.spec import WorldSpec
from h2w_ros.world.tasks import TASKS, Table, idle, start_waypoint


class HandActor:
    """One hand through an episode; one that does not act stays idle throughout."""

    def __init__(self, rng: np.random.Generator, shape: HandShape, spec: WorldSpec, table: Table, acts: bool) -> None:
        self.shape, self._rng, self._spec, self._acts = shape, rng, spec, acts
        self._start = start_waypoint(rng, shape, table)
        self._queue: list[Waypoint] = []
        self._elapsed_s = 0.0
        self.held: tuple[str, Transform] | None = None
        """Name of the carried object and T_wrist_object."""
        self.tasks: list[tuple[str, str]] = []
        """What the hand has done so far: (task, object)."""
        self.pose = self._pose_at(self._start.T_world_wrist, self._start.joint_angles_rad)

    @property
    def object_name(self) -> str:
        """The object that the hand is concerned with, or ''."""
        return self._queue[0].object_name if self._queue else ""

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
        if reached.on_arrival == "grasp":
            self.held = (reached.object_name, invert(reached.T_world_wrist) @ table.T_world_object[reached.object_name])
        elif reached.on_arrival == "release":
            self.held = None

    def _plan(self, table: Table) -> None:
        task = TASKS.get(self._next_task()) if self._acts and table.usable else None
        self._queue = (task(self._rng, self.shape, table) if task else []) or idle(self._rng, self.shape, table, self._start)
        self.tasks.append((self._queue[0].task, self._queue[0].object_name))

    def _next_task(self) -> str:
        shares = (self._spec.push, self._spec.carry, self._spec.reach)
        return str(self._rng.choice(["push", "carry", "reach", "idle"], p=[*shares, 1 - sum(shares)]))

    def _pose_at(self, T_world_wrist: Transform, joint_angles_rad: np.ndarray) -> HandPose:
        return HandPose(self.shape.side, T_world_wrist, joint_angles_rad, self.shape.betas)

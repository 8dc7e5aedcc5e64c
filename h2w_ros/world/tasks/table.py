"""What a hand knows when it plans, and what a plan is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform
from h2w_ros.world.hand_bodies import HandShape
from h2w_ros.world.motion import UP, Waypoint
from h2w_ros.world.objects import TableObject, discs_world, extent_m

SIDE_SIGN = {"right": 1.0, "left": -1.0}


@dataclass(frozen=True, eq=False)
class Partner:
    """The other hand, when it is free to help."""

    shape: HandShape
    last: Waypoint
    """Where it will be when it has done what it is doing now."""
    free_in_s: float


@dataclass(frozen=True, eq=False)
class Table:
    """What a planning hand knows: the things, where they are now, how far they are open, and which of them it may use."""

    things: Mapping[str, TableObject]
    T_world_object: Mapping[str, Transform]
    openings: Mapping[str, float]
    """Of the things that open [rad or m]."""
    usable: Sequence[str]
    partner: Partner | None = None

    def position(self, name: str) -> Float[ndarray, "3"]:
        """The object's origin in the world [m]."""
        return self.T_world_object[name][:3, 3]

    def top_m(self, name: str) -> float:
        """Height of the object's highest point over the table."""
        rotation = self.T_world_object[name][:3, :3]
        return float(self.position(name)[2]) + extent_m(self.things[name], rotation, UP, self.openings.get(name, 0.0))

    def discs(self, name: str) -> Float[ndarray, "n 3"]:
        """The object's discs (x, y, radius) on the table [m]."""
        return discs_world(self.things[name], self.T_world_object[name])

    def choose(self, rng: np.random.Generator, suits: Callable[[TableObject], bool] | None = None) -> str | None:
        """One of the usable objects that suit, None when there is none."""
        names = [name for name in self.usable if suits is None or suits(self.things[name])]
        return str(rng.choice(names)) if names else None


@dataclass(frozen=True, eq=False)
class Plan:
    """The next waypoints of the hand that plans, and of its partner where both take part; no waypoints: it cannot be done."""

    steps: Sequence[Waypoint] = ()
    partner_steps: Sequence[Waypoint] = field(default=())


Task = Callable[[np.random.Generator, HandShape, Table], Plan]

"""A thing on the table, and the geometry that planning asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, apply
from h2w_ros.world.appearance import Colour, Texture
from h2w_ros.world.articulation import Articulation
from h2w_ros.world.shapes import MAKERS
from h2w_ros.world.solids import Solid, Triple, distance_to_solid_m, support_m

ROUND = ("cylinder", "sphere", "cup", "bowl", "bottle")
"""Shapes that look the same from all around."""
MIN_TALL_M, MIN_SLENDERNESS = 0.042, 1.4
"""Half the height, at least, and that over half the width, of what can be pushed over."""

WORKSPACE_X_M = (-0.24, 0.24)
WORKSPACE_Y_M = (-0.12, 0.2)
"""Where things stand, and are put down, on the table."""


@dataclass(frozen=True, eq=False)
class TableObject:
    """One thing that lies free on the table. `half_size_m` is half the box of its main part, around the origin of its frame."""

    name: str
    shape: str
    half_size_m: Triple
    xy_m: tuple[float, float]
    yaw_rad: float
    colour: Colour
    texture: Texture | None
    density_kg_m3: float
    trim: Colour
    start_open: float = 0.0
    """Share of the way that its lid, drawer or cover is open at the start."""

    @cached_property
    def solids(self) -> tuple[Solid, ...]:
        """What it is made of, closed."""
        return MAKERS[self.shape](self.half_size_m)[0]

    @cached_property
    def articulation(self) -> Articulation | None:
        """How it opens, if it does."""
        return MAKERS[self.shape](self.half_size_m)[1]

    @cached_property
    def lowest_m(self) -> float:
        """The height of its underside in its own frame, negative."""
        return -max(support_m(solid, np.array([0.0, 0.0, -1.0])) for solid in self.solids if not solid.moves)

    @property
    def start_opening(self) -> float:
        """The opening [rad or m] at the start."""
        return self.start_open * self.articulation.max_opening if self.articulation else 0.0

    @property
    def is_round(self) -> bool:
        """Whether it turns freely about its upright axis without looking different."""
        return self.shape in ROUND

    @property
    def is_tall(self) -> bool:
        """Whether it can be pushed over."""
        x, y, z = self.half_size_m
        return self.articulation is None and z > MIN_TALL_M and z > MIN_SLENDERNESS * min(x, y)

    @cached_property
    def discs_m(self) -> Float[ndarray, "n 3"]:
        """Discs (x, y, radius) in its frame that cover what it stands on or opens over."""
        if self.is_round:
            return np.array([[0.0, 0.0, max(self.half_size_m[:2])]])
        still = [solid for solid in self.solids if not solid.moves]
        moving = [solid for solid in self.solids if solid.moves]
        rectangles = [_rectangle(still, self, 0.0)]
        if self.articulation is not None:
            rectangles += [_rectangle(moving, self, opening) for opening in (0.0, self.articulation.max_opening)]
        return np.concatenate([_discs(*rectangle) for rectangle in rectangles])


def discs_world(thing: TableObject, T_world_object: Transform) -> Float[ndarray, "n 3"]:
    """The object's discs (x, y, radius) on the table [m]."""
    centres = apply(T_world_object, thing.discs_m * (1, 1, 0))
    return np.concatenate([centres[:, :2], thing.discs_m[:, 2:]], axis=1)


def gap_m(a: Float[ndarray, "n 3"], b: Float[ndarray, "m 3"]) -> float:
    """The smallest gap between two sets of discs, negative when they overlap."""
    apart = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=-1)
    return float((apart - a[:, None, 2] - b[None, :, 2]).min())


def extent_m(thing: TableObject, R_world_object: Float[ndarray, "3 3"], direction: Float[ndarray, "3"], opening: float = 0.0) -> float:
    """How far the object reaches from its origin along a unit direction of the world."""
    unit = R_world_object.T @ direction
    return max(_link_support_m(thing, solid, unit, opening) for solid in thing.solids if solid.collides)


def distance_m(thing: TableObject, points_object: Float[ndarray, "n 3"], opening: float = 0.0) -> Float[ndarray, "n"]:
    """Signed distance to the object, negative inside; points in the object's frame."""
    moved = points_object
    if thing.articulation is not None:
        T = thing.articulation.T_object_link(opening)
        moved = (points_object - T[:3, 3]) @ T[:3, :3]
    distances = [distance_to_solid_m(solid, moved if solid.moves else points_object) for solid in thing.solids if solid.collides]
    return np.min(distances, axis=0)


def _link_support_m(thing: TableObject, solid: Solid, unit_object: Float[ndarray, "3"], opening: float) -> float:
    if not solid.moves or thing.articulation is None:
        return support_m(solid, unit_object)
    T = thing.articulation.T_object_link(opening)
    return support_m(solid, T[:3, :3].T @ unit_object) + float(unit_object @ T[:3, 3])


def _rectangle(solids: list[Solid], thing: TableObject, opening: float) -> tuple[float, float, float, float]:
    """Bounds x, y, x, y of these solids seen from above."""
    ways = np.array([[-1.0, 0, 0], [0, -1, 0], [1, 0, 0], [0, 1, 0]])
    left, near, right, far = (max(_link_support_m(thing, solid, way, opening) for solid in solids) for way in ways)
    return -left, -near, right, far


def _discs(left: float, near: float, right: float, far: float) -> Float[ndarray, "n 3"]:
    """A rectangle covered by a row of discs along its longer side."""
    size = np.array([right - left, far - near])
    num = int(np.ceil(size.max() / size.min() - 0.3)) if size.min() > 0.02 else 3
    steps = (np.arange(num) + 0.5) / num
    long = int(size.argmax())
    centres = np.tile([(left + right) / 2, (near + far) / 2], (num, 1))
    centres[:, long] = (left, near)[long] + size[long] * steps
    radius = np.hypot(size[long] / num, size[1 - long]) / 2
    return np.concatenate([centres, np.full((num, 1), radius)], axis=1)

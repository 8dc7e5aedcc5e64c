"""Things on the table: which there are, how large, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, apply
from h2w_ros.world.appearance import Colour, Texture, object_texture, random_colour
from h2w_ros.world.articulation import Articulation
from h2w_ros.world.shapes import MAKERS
from h2w_ros.world.solids import Solid, Triple, distance_to_solid_m, support_m

SHARES = {
    "box": 0.11,
    "block": 0.07,
    "cylinder": 0.11,
    "sphere": 0.07,
    "capsule": 0.04,
    "cup": 0.06,
    "mug": 0.09,
    "bowl": 0.05,
    "bottle": 0.08,
    "hammer": 0.03,
    "screwdriver": 0.03,
    "spoon": 0.02,
    "lid_box": 0.09,
    "drawer": 0.08,
    "book": 0.07,
}
"""How often each shape is drawn."""
SHAPES = tuple(SHARES)
OPENING = ("lid_box", "drawer", "book")
"""Shapes with a part that opens."""
TOOLS = ("hammer", "screwdriver", "spoon")
ROUND = ("cylinder", "sphere", "cup", "bowl", "bottle")

HALF_SIZES_M: dict[str, tuple[Triple, Triple]] = {
    "box": ((0.02, 0.02, 0.015), (0.045, 0.045, 0.06)),
    "capsule": ((0.041, 0.016, 0.016), (0.076, 0.026, 0.026)),
    "cylinder": ((0.022, 0.022, 0.02), (0.035, 0.035, 0.07)),
    "cup": ((0.026, 0.026, 0.035), (0.04, 0.04, 0.055)),
    "mug": ((0.03, 0.03, 0.036), (0.042, 0.042, 0.052)),
    "bottle": ((0.022, 0.022, 0.055), (0.034, 0.034, 0.085)),
    "bowl": ((0.045, 0.045, 0.02), (0.07, 0.07, 0.0315)),
    "sphere": ((0.025, 0.025, 0.025), (0.042, 0.042, 0.042)),
    "block": ((0.016, 0.016, 0.016), (0.026, 0.026, 0.026)),
    "hammer": ((0.065, 0.01, 0.01), (0.09, 0.013, 0.013)),
    "screwdriver": ((0.038, 0.011, 0.011), (0.05, 0.015, 0.015)),
    "spoon": ((0.05, 0.005, 0.004), (0.07, 0.006, 0.005)),
    "lid_box": ((0.05, 0.04, 0.026), (0.08, 0.058, 0.042)),
    "drawer": ((0.055, 0.045, 0.03), (0.085, 0.058, 0.045)),
    "book": ((0.052, 0.068, 0.008), (0.07, 0.095, 0.016)),
}
"""Smallest and largest half sizes of the main part."""
SAME_SIDES = {"sphere": (0, 0, 0), "block": (0, 0, 0), "capsule": (0, 1, 1), "hammer": (0, 1, 1), "screwdriver": (0, 1, 1)} | dict.fromkeys(
    ("cylinder", "cup", "mug", "bottle", "bowl"), (0, 0, 2)
)
"""Which drawn number each half size takes, where not its own."""

WORKSPACE_X_M = (-0.24, 0.24)
WORKSPACE_Y_M = (-0.12, 0.2)
OPENING_X_M = (-0.14, 0.14)
OPENING_Y_M = (-0.02, 0.13)
FACING_RAD = 0.45
"""Things that open face the person within this angle."""
GAP_M = 0.02
MAX_PLACEMENTS = 80
MAX_OPENING_THINGS = 2
STARTS_OPEN = 0.35
FOR_RIGHT_HANDS = 0.67
"""Share of the books whose cover is on the right hand's side, as most episodes have a right hand."""


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
        return self.articulation is None and z > 0.042 and z > 1.4 * min(x, y)

    @cached_property
    def discs_m(self) -> Float[ndarray, "n 3"]:
        """Discs (x, y, radius) in its frame that cover what it stands on or opens over."""
        if self.is_round:
            return np.array([[0.0, 0.0, max(self.half_size_m[:2])]])
        openings = (0.0,) if self.articulation is None else (0.0, self.articulation.max_opening)
        rectangles = [_rectangle([s for s in self.solids if s.moves], self, opening) for opening in openings if self.articulation]
        rectangles.append(_rectangle([s for s in self.solids if not s.moves], self, 0.0))
        return np.concatenate([_discs(*rectangle) for rectangle in rectangles])

    @property
    def footprint_m(self) -> float:
        """Radius of the disc around its origin that all of it keeps within."""
        return float((np.hypot(self.discs_m[:, 0], self.discs_m[:, 1]) + self.discs_m[:, 2]).max())


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


def sample_objects(rng: np.random.Generator, num_objects: int) -> list[TableObject]:
    """That many objects that do not touch, the large first, fewer where the table is full."""
    placed: list[TableObject] = []
    shapes = _sample_shapes(rng, num_objects)
    for _ in range(MAX_PLACEMENTS):
        if len(placed) == num_objects:
            break
        candidate = _sample_object(rng, f"object{len(placed)}", shapes[len(placed)])
        if all(gap_m(_start_discs(candidate), _start_discs(other)) > GAP_M for other in placed):
            placed.append(candidate)
    return placed


def _sample_shapes(rng: np.random.Generator, num_objects: int) -> list[str]:
    """Those that open first, and not more of them than the table has room for."""
    shares = np.array(list(SHARES.values()))
    drawn = [SHAPES[i] for i in rng.choice(len(SHAPES), size=num_objects, p=shares / shares.sum())]
    opening, others = [s for s in drawn if s in OPENING], [s for s in drawn if s not in OPENING]
    return (opening[:MAX_OPENING_THINGS] + others + ["block"] * num_objects)[:num_objects]


def _start_discs(thing: TableObject) -> Float[ndarray, "n 3"]:
    cos, sin = np.cos(thing.yaw_rad), np.sin(thing.yaw_rad)
    centres = thing.discs_m[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + thing.xy_m
    return np.concatenate([centres, thing.discs_m[:, 2:]], axis=1)


def _sample_object(rng: np.random.Generator, name: str, shape: str) -> TableObject:
    opens = shape in OPENING
    x, y = (float(rng.uniform(*room)) for room in ((OPENING_X_M, OPENING_Y_M) if opens else (WORKSPACE_X_M, WORKSPACE_Y_M)))
    yaw = float(rng.uniform(-FACING_RAD, FACING_RAD) if opens else rng.uniform(-np.pi, np.pi))
    texture = object_texture(rng) if shape in ("box", "block", "cylinder", "sphere", "lid_box", "drawer", "book") and rng.uniform() < 0.25 else None
    start_open = float(rng.uniform(0.75, 1.0)) if opens and rng.uniform() < STARTS_OPEN else 0.0
    if shape != "drawer":
        start_open = float(round(start_open))  # what is hinged falls to one end or the other
    if shape == "book" and (rng.uniform() < FOR_RIGHT_HANDS) == (start_open > 0.5):
        yaw += np.pi
    colour, trim = _sample_colour(rng), rng.uniform(0.4, 0.75) * np.array([1.0, 1.0, 1.03]) if shape in TOOLS else _sample_colour(rng)
    return TableObject(name, shape, _half_size(rng, shape), (x, y), yaw, colour, texture, float(rng.uniform(200, 600)), trim, start_open)


def _sample_colour(rng: np.random.Generator) -> Colour:
    return random_colour(rng, (0.35, 0.95), (0.35, 1.0)) if rng.uniform() < 0.8 else np.full(3, rng.uniform(0.1, 0.95))


def _half_size(rng: np.random.Generator, shape: str) -> Triple:
    low, high = HALF_SIZES_M[shape]
    share = rng.uniform(0, 1, 3)[list(SAME_SIDES.get(shape, (0, 1, 2)))]
    x, y, z = np.array(low) + share * (np.array(high) - np.array(low))
    return float(x), float(y), float(z)


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

"""Which things an episode has, how large they are, and where they stand."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.world.appearance import Colour, object_texture, random_colour
from h2w_ros.world.objects import WORKSPACE_X_M, WORKSPACE_Y_M, TableObject, gap_m
from h2w_ros.world.solids import Triple

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

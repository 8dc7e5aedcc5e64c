"""Things on the table: what shapes there are, how large, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.world.appearance import Colour, Texture, object_texture, random_colour

Shape = Literal["box", "cylinder", "sphere", "capsule", "cup", "bowl", "bottle"]
SHAPES: tuple[Shape, ...] = ("box", "cylinder", "sphere", "capsule", "cup", "bowl", "bottle")
SHAPE_SHARES = (0.32, 0.18, 0.14, 0.08, 0.13, 0.07, 0.08)

WORKSPACE_X_M = (-0.24, 0.24)
WORKSPACE_Y_M = (-0.12, 0.2)
GAP_M = 0.02
MAX_PLACEMENTS = 60


@dataclass(frozen=True, eq=False)
class TableObject:
    """One free body. `half_size_m` is half its bounding box in its own frame, whose z points up and whose origin is the box's centre."""

    name: str
    shape: Shape
    half_size_m: tuple[float, float, float]
    xy_m: tuple[float, float]
    yaw_rad: float
    colour: Colour
    texture: Texture | None
    density_kg_m3: float

    @property
    def footprint_m(self) -> float:
        """Radius of the disc on the table that the object keeps within."""
        x, y, _ = self.half_size_m
        return float(np.hypot(x, y)) if self.shape == "box" else max(x, y)

    @property
    def is_round(self) -> bool:
        """Whether it turns freely about its upright axis without looking different."""
        return self.shape != "box" and self.shape != "capsule"


def sample_objects(rng: np.random.Generator, num_objects: int) -> list[TableObject]:
    """That many objects that do not touch, fewer where the table is full."""
    placed: list[TableObject] = []
    for _ in range(MAX_PLACEMENTS):
        if len(placed) == num_objects:
            break
        candidate = _sample_object(rng, f"object{len(placed)}")
        if all(_are_apart(candidate, other) for other in placed):
            placed.append(candidate)
    return placed


def _are_apart(a: TableObject, b: TableObject) -> bool:
    return float(np.hypot(a.xy_m[0] - b.xy_m[0], a.xy_m[1] - b.xy_m[1])) > a.footprint_m + b.footprint_m + GAP_M


def _sample_object(rng: np.random.Generator, name: str) -> TableObject:
    shape = SHAPES[rng.choice(len(SHAPES), p=SHAPE_SHARES)]
    x, y = float(rng.uniform(*WORKSPACE_X_M)), float(rng.uniform(*WORKSPACE_Y_M))
    colour = random_colour(rng, (0.35, 0.95), (0.35, 1.0)) if rng.uniform() < 0.8 else np.full(3, rng.uniform(0.1, 0.95))
    texture = object_texture(rng) if shape in ("box", "cylinder", "sphere") and rng.uniform() < 0.25 else None
    return TableObject(name, shape, _half_size(rng, shape), (x, y), float(rng.uniform(-np.pi, np.pi)), colour, texture, float(rng.uniform(200, 600)))


def _half_size(rng: np.random.Generator, shape: Shape) -> tuple[float, float, float]:
    if shape == "box":
        x, y, z = rng.uniform((0.02, 0.02, 0.015), (0.045, 0.045, 0.06))
        return float(x), float(y), float(z)
    if shape == "capsule":  # lies on its side along x
        radius = float(rng.uniform(0.016, 0.026))
        return radius + float(rng.uniform(0.025, 0.05)), radius, radius
    radius = float(rng.uniform(*{"sphere": (0.025, 0.042), "bowl": (0.045, 0.07)}.get(shape, (0.022, 0.04))))
    if shape == "sphere":
        return radius, radius, radius
    half_height = {"cylinder": rng.uniform(0.02, 0.07), "cup": rng.uniform(0.035, 0.055), "bowl": radius * 0.45, "bottle": rng.uniform(0.055, 0.08)}[
        shape
    ]
    return radius, radius, float(half_height)


def lathe_profile(shape: Shape) -> Float[ndarray, "n 2"]:
    """Outline (radius, height) of a turned shape, from the middle of its foot to the middle of its inside or top, within the unit box -1..1."""
    profiles = {
        "cup": [(0, -1), (0.78, -1), (0.86, -0.9), (1, 0.95), (0.99, 1), (0.9, 1), (0.78, -0.8), (0, -0.85)],
        "bowl": [(0, -1), (0.45, -1), (0.5, -0.9), (0.8, -0.3), (1, 0.95), (0.98, 1), (0.92, 0.95), (0.72, -0.2), (0.4, -0.75), (0, -0.8)],
        "bottle": [(0, -1), (0.95, -1), (1, -0.95), (1, 0.15), (0.9, 0.35), (0.45, 0.6), (0.36, 0.7), (0.36, 0.9), (0.42, 0.9), (0.42, 1), (0, 1)],
    }
    return np.array(profiles[shape], dtype=np.float64)


def lathe(profile: Float[ndarray, "n 2"], num_sides: int = 24) -> tuple[Float[ndarray, "v 3"], Int[ndarray, "f 3"]]:
    """Vertices and outward faces of the profile turned about z."""
    angle = np.arange(num_sides) * 2 * np.pi / num_sides
    radius, height = profile[:, :1], np.repeat(profile[:, 1:], num_sides, axis=1)
    vertices = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1).reshape(-1, 3)
    ring = np.arange(len(profile) - 1)[:, None] * num_sides
    here, after = np.arange(num_sides), (np.arange(num_sides) + 1) % num_sides
    a, b, c, d = (np.ravel(ring + i) for i in (here, after, here + num_sides, after + num_sides))
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])

"""Light on hands: how bright a surface is that faces some way, and where the light comes from, told by a picture of hands.

Rooms are lit from above: by a light from one side, by what the other side reflects of it, and a little from everywhere. A hand that is
drawn in one flat colour looks like no hand; in the simulated world, estimators that find true hands with an overlap of 0.90 find flat
ones with 0.45, and shaded ones with 0.78.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

EVERYWHERE, KEY, REFLECTED = 0.42, 0.69, 0.17
"""Of a surface of brightness 1, which is what half of a hand's pixels exceed, and the other half do not."""
OVERHEAD = np.array([0.0, 0.0, 1.0])
"""Where light comes from until a picture tells."""
ELEVATION_RAD, NUM_AZIMUTHS = 1.0, 12
"""Lights that are tried."""
LEAST_GAIN = 0.01
"""By which another light has to explain a picture better, as a share of its brightness."""
LEAST_PIXELS, MOST_PIXELS = 100, 2000

Direction = Float[ndarray, "3"]


def shades(normals_world: Float32[ndarray, "*n 3"], light_from: Direction) -> Float32[ndarray, "*n"]:
    """How bright surfaces with these unit normals are under light from this direction; 1 where the normal is unknown (zero)."""
    opposite = np.array([-light_from[0], -light_from[1], light_from[2]])
    towards = normals_world @ np.stack([light_from, opposite], axis=1).astype(np.float32)
    lit = np.maximum(towards, 0.0) @ np.array([KEY, REFLECTED], np.float32) + np.float32(EVERYWHERE)
    return np.where(normals_world.any(axis=-1), lit, np.float32(1.0))


def seen_light(colours: Float[ndarray, "n 3"], parts: UInt8[ndarray, "n"], normals_world: Float32[ndarray, "n 3"], before: Direction) -> Direction:
    """Where the light comes from that explains these pixels best, every part being of one colour; `before` while too few are given."""
    known = np.flatnonzero(normals_world.any(axis=-1))
    if len(known) < LEAST_PIXELS:
        return before
    chosen = known[:: max(1, len(known) // MOST_PIXELS)]
    brightness, parts, normals = colours[chosen].mean(axis=-1), parts[chosen], normals_world[chosen]
    errors = {index: _misfit(brightness, parts, shades(normals, light)) for index, light in enumerate(_lights())}
    best = min(errors, key=lambda index: errors[index])
    return _lights()[best] if errors[best] < _misfit(brightness, parts, shades(normals, before)) - LEAST_GAIN else before


def _lights() -> list[Direction]:
    azimuths = np.arange(NUM_AZIMUTHS) * (2.0 * np.pi / NUM_AZIMUTHS)
    level, up = np.cos(ELEVATION_RAD), np.sin(ELEVATION_RAD)
    return [np.array([level * np.cos(azimuth), level * np.sin(azimuth), up]) for azimuth in azimuths]


def _misfit(brightness: Float[ndarray, "n"], parts: UInt8[ndarray, "n"], shade: Float32[ndarray, "n"]) -> float:
    """The share of the brightness that is left unexplained."""
    left = 0.0
    for part in np.unique(parts):
        own, light = brightness[parts == part], shade[parts == part]
        left += float(np.abs(own - np.median(own / light) * light).sum())
    return left / max(float(brightness.sum()), 1.0)

"""Colours and tileable textures, painted by code from a seeded generator."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

Colour = Float[ndarray, "3"]
Texture = UInt8[ndarray, "S S 3"]

TEXTURE_PX = 128
SKIN_TONES = np.array([[0.95, 0.77, 0.66], [0.90, 0.68, 0.54], [0.80, 0.58, 0.42], [0.64, 0.43, 0.29], [0.45, 0.29, 0.19], [0.29, 0.18, 0.12]])


def random_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Any hue, RGB in 0..1."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)))


def skin_tone(rng: np.random.Generator) -> Colour:
    """Somewhere on the scale of human skin, RGB in 0..1."""
    place = rng.uniform(0, len(SKIN_TONES) - 1)
    low = min(int(place), len(SKIN_TONES) - 2)
    tone = SKIN_TONES[low] + (place - low) * (SKIN_TONES[low + 1] - SKIN_TONES[low])
    return np.clip(tone * rng.uniform(0.95, 1.03, 3), 0, 1)


def table_texture(rng: np.random.Generator) -> Texture:
    """Wood, planks, marble, checks, stripes, dots or plain cloth, in muted colours."""
    paint = _PATTERNS[rng.choice(len(_PATTERNS), p=_PATTERN_SHARES)]
    base = _wood_colour(rng) if paint in (_wood, _planks) else random_colour(rng, (0.05, 0.45), (0.35, 0.9))
    contrast = rng.uniform(0.08, 0.35)
    other = np.clip(base * (1 - contrast) if base.mean() > 0.4 else base + contrast, 0, 1)
    return _as_texture(base, other, paint(rng), rng)


def object_texture(rng: np.random.Generator) -> Texture:
    """Stripes, checks or dots in two lively colours."""
    paint = (_stripes, _checks, _dots)[rng.integers(3)]
    return _as_texture(random_colour(rng, (0.4, 0.95), (0.5, 1.0)), random_colour(rng, (0.0, 0.6), (0.2, 1.0)), paint(rng), rng)


def _as_texture(base: Colour, other: Colour, share: Float[ndarray, "S S"], rng: np.random.Generator) -> Texture:
    """`share` of the other colour at every texel, with a little grain."""
    colours = base + (other - base) * share[..., None] + 0.025 * _noise(rng, 32)[..., None]
    return np.asarray(np.clip(colours * 255, 0, 255), dtype=np.uint8)


def _noise(rng: np.random.Generator, cells: int) -> Float[ndarray, "S S"]:
    """Tileable smooth noise in about -1..1 with this many cells a side."""
    knots = rng.uniform(-1, 1, (cells, cells))
    place = np.arange(TEXTURE_PX) * cells / TEXTURE_PX
    low = place.astype(int)
    step = place - low
    weight = step * step * (3 - 2 * step)
    high = (low + 1) % cells
    rows = knots[low] * (1 - weight)[:, None] + knots[high] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, high] * weight


def _grid() -> tuple[Float[ndarray, "S S"], Float[ndarray, "S S"]]:
    line = np.arange(TEXTURE_PX) / TEXTURE_PX
    return tuple(np.meshgrid(line, line))  # type: ignore[return-value]


def _wood(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    _, y = _grid()
    rings = y * rng.integers(3, 9) + 0.35 * _noise(rng, 4) + 0.12 * _noise(rng, 16)
    return 0.5 + 0.5 * np.sin(2 * np.pi * rings)


def _planks(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    _, y = _grid()
    num_planks = int(rng.integers(3, 7))
    tint = rng.uniform(0, 0.7, num_planks)[(y * num_planks).astype(int)]
    gap = (y * num_planks) % 1 < 0.06
    return np.clip(tint + 0.3 * _wood(rng) + gap, 0, 1)


def _marble(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    veins = np.abs(_noise(rng, 4) + 0.5 * _noise(rng, 8) + 0.25 * _noise(rng, 16))
    return np.clip(1 - 3 * veins, 0, 1)


def _checks(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    x, y = _grid()
    count = int(rng.integers(1, 4)) * 2
    return (((x * count).astype(int) + (y * count).astype(int)) % 2).astype(float)


def _stripes(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    count, width = rng.integers(2, 7), rng.uniform(0.2, 0.6)
    return ((_grid()[rng.integers(2)] * count) % 1 < width).astype(float)


def _dots(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    x, y = _grid()
    count, radius = rng.integers(2, 7), rng.uniform(0.2, 0.4)
    return (np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) < radius).astype(float)


def _cloth(rng: np.random.Generator) -> Float[ndarray, "S S"]:
    return 0.5 + 0.5 * _noise(rng, 8)


def _wood_colour(rng: np.random.Generator) -> Colour:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(0.04, 0.11), rng.uniform(0.25, 0.65), rng.uniform(0.3, 0.85)))


_PATTERNS: tuple[Callable[[np.random.Generator], Float[ndarray, "S S"]], ...] = (_wood, _planks, _marble, _cloth, _checks, _stripes, _dots)
_PATTERN_SHARES = (0.3, 0.2, 0.15, 0.15, 0.1, 0.05, 0.05)

"""Points merged within cells of a grid: how clouds stay bounded, and how coarse pictures are drawn fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

BITS = 20
LEVEL_BITS = 3
HALF = 1 << (BITS - 1)
MAX_LEVEL = (1 << LEVEL_BITS) - 1
COVERING = 0.8
"""Of a cell's side: the radius with which the middle of what it holds covers the way to the next cells'."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Weighted sums over the points of k cells. `keys` grow; columns of `sums`: weight, weight x, y, z, r, g, b, radius."""

    keys: Int64[ndarray, "k"]
    sums: Float32[ndarray, "k 8"]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def empty(cls) -> Sums:
        """Of no points."""
        return cls(np.empty(0, np.int64), np.empty((0, 8), np.float32))

    @classmethod
    def of(cls, keys: Int64[ndarray, "n"], points: Float32[ndarray, "n 3"], colors: ndarray, radii_m: Float32[ndarray, "n"]) -> Sums:
        """Each point counts once."""
        values = np.concatenate([np.ones((len(points), 1)), points, colors, radii_m[:, None]], axis=1)
        unique, cell = np.unique(keys, return_inverse=True)
        sums = np.stack([np.bincount(cell, column, len(unique)) for column in values.T], axis=1)
        return cls(unique, sums.astype(np.float32))

    def plus(self, other: Sums, most: float) -> Sums:
        """Both together; what a cell held before counts at most so many points, so that it can still change."""
        if not len(self):
            return other
        fade = np.minimum(1.0, most / self.sums[:, :1]).astype(np.float32)
        keys, cell = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        sums = np.zeros((len(keys), 8), np.float32)
        sums[cell[: len(self)]] = self.sums * fade  # keys are unique on either side
        sums[cell[len(self) :]] += other.sums
        return Sums(keys, sums)

    def kept(self, wanted: ndarray) -> Sums:
        """Some of the cells."""
        return Sums(self.keys[wanted], self.sums[wanted])

    def means(self) -> tuple[Float32[ndarray, "k 3"], Float32[ndarray, "k 3"], Float32[ndarray, "k"]]:
        """The middle of each cell's points [m], their color (0..255) and radius [m]."""
        means = self.sums[:, 1:] / self.sums[:, :1]
        return means[:, :3], means[:, 3:6], means[:, 6]


def cell_keys(points: Float32[ndarray, "n 3"], cell_m: float, levels: Int64[ndarray, "n"] | None = None) -> Int64[ndarray, "n"]:
    """A number for every cell of side `cell_m`, twice that at level 1 and so on; ValueError for points too far from the origin."""
    level = np.zeros(len(points), np.int64) if levels is None else levels
    places = np.floor(points / (cell_m * 2.0 ** level[:, None])).astype(np.int64) + HALF
    if len(places) and (places.min() < 0 or places.max() >= 1 << BITS):
        farthest_m = float(np.abs(points).max())
        raise ValueError(f"points must lie within {HALF * cell_m:g} m of the world's origin (cells of {cell_m:g} m), got {farthest_m:g} m")
    return ((level << BITS | places[:, 0]) << BITS | places[:, 1]) << BITS | places[:, 2]


def levels_for(sizes_m: Float32[ndarray, "n"], cell_m: float) -> Int64[ndarray, "n"]:
    """The level of the smallest cells that are no smaller than this."""
    level = np.ceil(np.log2(np.maximum(sizes_m / np.float32(cell_m), 1.0)))
    return level.clip(0, MAX_LEVEL).astype(np.int64)


def sides_of(keys: Int64[ndarray, "k"], cell_m: float) -> Float32[ndarray, "k"]:
    """The side of each cell [m]."""
    return (cell_m * 2.0 ** (keys >> 3 * BITS)).astype(np.float32)

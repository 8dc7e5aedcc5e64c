"""Which pixels a set of projected triangles covers, by pixel centres, the rule of GPU rasterizers.

OpenCV's polygon fill paints every pixel that an outline touches, which makes a hand some percent fatter, and wants one
call a triangle. Here a silhouette comes from the mesh's outline alone, and all triangles are cut into horizontal runs of
pixels at once where a style needs to know which one is seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

# An edge that passes this close to a pixel's centre [px] belongs to both its triangles: rounding leaves no cracks.
CRACK_PX = 1e-6


class Window(NamedTuple):
    """A part of a picture [px]: rows top to bottom, columns left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The part, as an index into the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Runs(NamedTuple):
    """Horizontal runs of pixels, counted within a window; triangles in the order in which they were given."""

    triangles: Int[ndarray, "R"]
    rows: Int[ndarray, "R"]
    starts: Int[ndarray, "R"]
    ends: Int[ndarray, "R"]  # excluded


def window_around(points_px: Float[ndarray, "n 2"], width_px: int, height_px: int) -> Window:
    """The part of the picture whose pixels these points' hull can cover; empty when they lie outside."""
    if len(points_px) == 0:
        return Window(0, 0, 0, 0)
    (left, right), (top, bottom) = (_whole_range(points_px[:, axis], size) for axis, size in enumerate((width_px, height_px)))
    return Window(top, bottom, left, right)


def _whole_range(values: Float[ndarray, "n"], size: int) -> tuple[int, int]:
    low, high = float(values.min()), float(values.max())
    return int(np.floor(min(max(low, 0.0), size))), int(np.ceil(min(max(high, 0.0), size)))


def pixel_runs(triangles_px: Float[ndarray, "T 3 2"], window: Window) -> Runs:
    """The runs of pixels of the window whose centres lie in each triangle (corner-origin coordinates)."""
    height_px, width_px = window.bottom - window.top, window.right - window.left
    x, y = (triangles_px[:, :, axis].T - origin - 0.5 for axis, origin in enumerate((window.left, window.top)))  # (3, T) each
    first = np.clip(np.ceil(np.minimum(np.minimum(y[0], y[1]), y[2])), 0, height_px).astype(np.int64)
    stop = np.clip(np.floor(np.maximum(np.maximum(y[0], y[1]), y[2])) + 1, first, height_px).astype(np.int64)
    triangles, rows = _rows(first, stop)
    low, high = _crossings(x, y, triangles, rows)
    starts = np.clip(np.ceil(low - CRACK_PX), 0, width_px).astype(np.int64)
    ends = np.clip(np.floor(high + CRACK_PX) + 1, starts, width_px).astype(np.int64)
    return Runs(triangles, rows, starts, ends)


def _rows(first: Int[ndarray, "n"], stop: Int[ndarray, "n"]) -> tuple[Int[ndarray, "R"], Int[ndarray, "R"]]:
    """Every whole number from first[i] up to stop[i], with its i."""
    counts = stop - first
    owners = np.repeat(np.arange(len(counts)), counts)
    return owners, np.arange(len(owners)) + np.repeat(first - np.cumsum(counts) + counts, counts)


def _crossings(x: Float[ndarray, "3 T"], y: Float[ndarray, "3 T"], triangles: Int[ndarray, "R"], rows: Int[ndarray, "R"]) -> tuple[ndarray, ndarray]:
    """Where each row's line enters and leaves its triangle."""
    low, high = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for k in range(3):
        # Edges run from the upper end down, so that both triangles of an edge round alike.
        falls = y[k] <= y[k - 1]
        edge_x, edge_y = np.where(falls, x[k], x[k - 1]), np.minimum(y[k], y[k - 1])
        rise = np.abs(y[k] - y[k - 1])
        slope = np.where(falls, x[k - 1] - x[k], x[k] - x[k - 1]) / np.where(rise > 0, rise, 1.0)
        edge_x, edge_y, rise, slope = np.stack([edge_x, edge_y, rise, slope])[:, triangles]
        below = rows - edge_y
        crossing = edge_x + slope * below
        misses = (below < 0) | (below > rise)
        low = np.minimum(low, np.where(misses, np.inf, crossing))
        high = np.maximum(high, np.where(misses, -np.inf, crossing))
    return low, high


def covered(starts_px: Float[ndarray, "E 2"], ends_px: Float[ndarray, "E 2"], counts: Int[ndarray, "E"], window: Window) -> Bool[ndarray, "h w"]:
    """The window's pixels whose centres lie inside closed outlines, given as directed edges that each count so many times.

    Each pixel adds up the edges to its left, the falling ones less the rising ones: inside is where the sum is not zero.
    """
    origin = np.array([window.left, window.top]) + 0.5
    a, b = starts_px - origin, ends_px - origin
    falls = a[:, 1] <= b[:, 1]
    upper, lower = np.where(falls[:, None], a, b), np.where(falls[:, None], b, a)
    height_px, width_px = window.bottom - window.top, window.right - window.left
    first, stop = (np.clip(np.ceil(end[:, 1]), 0, height_px).astype(np.int64) for end in (upper, lower))
    edges, rows = _rows(first, stop)
    slope = (lower[:, 0] - upper[:, 0]) / np.maximum(lower[:, 1] - upper[:, 1], 1e-12)
    crossings = upper[edges, 0] + slope[edges] * (rows - upper[edges, 1])
    columns = np.clip(np.ceil(crossings), 0, width_px).astype(np.int64)
    signed = np.where(falls, counts, -counts)[edges]
    steps = np.bincount(rows * (width_px + 1) + columns, signed, height_px * (width_px + 1)).reshape(height_px, -1)
    return np.cumsum(steps, axis=1)[:, :width_px] != 0


def painted(runs: Runs, values: Shaped[ndarray, "T"], window: Window, order: Int[ndarray, "T"]) -> Shaped[ndarray, "h w"]:
    """The value of the triangle that comes last in `order` at each pixel of the window, zero where there is none."""
    picture = np.zeros((window.bottom - window.top) * (window.right - window.left), dtype=values.dtype)
    triangles, pixels = pixels_of(_sorted(runs, order), window)
    picture[pixels] = values[triangles]  # of a repeated index the last assignment stays
    return picture.reshape(window.bottom - window.top, -1)


def pixel_layers(runs: Runs, window: Window, order: Int[ndarray, "T"], num_layers: int) -> Int[ndarray, "L h w"]:
    """The triangles at each pixel of the window, the first `num_layers` in `order`; -1 where there are fewer."""
    layers = np.full((num_layers, (window.bottom - window.top) * (window.right - window.left)), -1)
    triangles, pixels = pixels_of(_sorted(runs, order), window)
    by_pixel = np.argsort(pixels, kind="stable")
    triangles, pixels = triangles[by_pixel], pixels[by_pixel]
    is_first = np.append(True, pixels[1:] != pixels[:-1])[: len(pixels)]
    first = np.flatnonzero(is_first)
    rank = np.arange(len(pixels)) - np.repeat(first, np.diff(np.append(first, len(pixels))))
    kept = rank < num_layers
    layers[rank[kept], pixels[kept]] = triangles[kept]
    return layers.reshape(num_layers, window.bottom - window.top, -1)


def _sorted(runs: Runs, order: Int[ndarray, "T"]) -> Runs:
    """The same runs, triangle by triangle in this order."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    by_place = np.argsort(place[runs.triangles], kind="stable")
    return Runs(*(column[by_place] for column in runs))


def pixels_of(runs: Runs, window: Window) -> tuple[Int[ndarray, "P"], Int[ndarray, "P"]]:
    """Every pixel of every run: its triangle, and its place in the window row by row."""
    lengths = runs.ends - runs.starts
    before = np.cumsum(lengths) - lengths
    offsets = runs.rows * (window.right - window.left) + runs.starts - before
    return np.repeat(runs.triangles, lengths), np.arange(int(lengths.sum())) + np.repeat(offsets, lengths)

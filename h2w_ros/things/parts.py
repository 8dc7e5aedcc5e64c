"""Rigid parts of what stands on a table: clouds of the points that one picture shows of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numpy import ndarray

MIN_PIXELS = 12
"""Of what shows less than this, nobody can say how it moves."""
BLUR_PX = 1.2
NEAR_PX = 6.0
"""Pixels whose votes are within this of a peak belong to it; the others go to the nearest peak within FAR_PX, or to none."""
FAR_PX = 14.0
MOST_PARTS = 16
ONE_PX, ONE_TOUCH = 20.0, 0.6
"""Two groups whose middles are this near, and of whose smaller one's outline this much touches the other, are one thing that was taken for two."""


@dataclass(frozen=True, eq=False)
class Part:
    """What moves as one: a thing, or its lid, cover or drawer. n points [m] in the world's frame when they were seen."""

    points_world: Float32[ndarray, "n 3"]
    colors: UInt8[ndarray, "n 3"]
    radii_m: Float32[ndarray, "n"]
    """Of the surface that each point stands for."""
    is_link: bool
    """Whether it is the part of a thing that opens."""


def grouped(wanted: Bool[ndarray, "H W"], offsets_px: Float32[ndarray, "2 H W"]) -> Int32[ndarray, "H W"]:
    """Which group each wanted pixel belongs to, 0, 1, ..., and -1 for all others.

    Every pixel votes for the middle of what it belongs to (Hough voting, as in Leibe et al. 2004); groups are the peaks of the votes.
    """
    labels = np.full(wanted.shape, -1, np.int32)
    v, u = np.nonzero(wanted)
    if len(u) < MIN_PIXELS:
        return labels
    votes = np.stack([u, v], axis=-1) + offsets_px[:, v, u].T
    chosen = np.full(len(u), -1, np.int32)
    for group in range(MOST_PARTS):
        free = np.flatnonzero(chosen < 0)
        peak = _peak(votes[free], wanted.shape)
        near = free[np.linalg.norm(votes[free] - peak, axis=-1) < NEAR_PX] if len(free) >= MIN_PIXELS else free[:0]
        if len(near) < MIN_PIXELS:
            break
        chosen[near] = group
    labels[v, u] = _joined(votes, chosen)
    while (pair := _same(labels, votes, labels[v, u])) is not None:
        labels[labels == pair[1]] = pair[0]
    return _numbered(labels)


def _peak(votes: ndarray, shape: tuple[int, ...]) -> ndarray:
    """Where most votes are."""
    height, width = shape
    columns, rows = (votes.round().astype(int) + 0).T
    counts = np.zeros((height, width), np.float32)
    np.add.at(counts, (rows.clip(0, height - 1), columns.clip(0, width - 1)), 1.0)
    row, column = np.unravel_index(int(cv2.GaussianBlur(counts, (0, 0), BLUR_PX).argmax()), counts.shape)
    return np.array([column, row], float)


def _joined(votes: ndarray, chosen: ndarray) -> ndarray:
    """The groups, with stray pixels taken to the nearest one."""
    count = int(chosen.max()) + 1
    stray = np.flatnonzero(chosen < 0)
    if not count or not len(stray):
        return chosen
    middles = np.stack([votes[chosen == group].mean(axis=0) for group in range(count)])
    apart = np.linalg.norm(votes[stray, None] - middles, axis=-1)
    nearest = apart.argmin(axis=1)
    chosen[stray] = np.where(apart[np.arange(len(stray)), nearest] < FAR_PX, nearest, -1)
    return chosen


def _same(labels: Int32[ndarray, "H W"], votes: ndarray, chosen: ndarray) -> tuple[int, int] | None:
    """Two groups that are one, the larger first; None where all stand by themselves."""
    groups = [int(group) for group in np.unique(chosen) if group >= 0]
    middles = {group: votes[chosen == group].mean(axis=0) for group in groups}
    by_size = sorted(groups, key=lambda group: int((chosen == group).sum()))
    for index, smaller in enumerate(by_size):
        mask = (labels == smaller).astype(np.uint8)
        outline = (mask > 0) & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)
        for larger in reversed(by_size[index + 1 :]):
            near = np.linalg.norm(middles[smaller] - middles[larger]) < ONE_PX
            if near and (cv2.dilate((labels == larger).astype(np.uint8), np.ones((3, 3), np.uint8))[outline] > 0).mean() > ONE_TOUCH:
                return larger, smaller
    return None


def _numbered(labels: Int32[ndarray, "H W"]) -> Int32[ndarray, "H W"]:
    """The same groups with numbers 0, 1, ..."""
    groups = np.unique(labels[labels >= 0])
    return np.where(labels >= 0, np.searchsorted(groups, labels), -1).astype(np.int32)

"""The shape of a person's hand, once, from the lengths of its bones over many frames.

Lengths that do not change as a hand moves (of fingers, and between the palm's points) are compared with the model's.
Noise makes every measured length too long; how much is known from how much the length varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.hands.anatomy import FIRST_JOINTS, PALM_POINTS, TIP_POINTS, check_tree, rest_points
from h2w_ros.hands.model import HandModel
from h2w_ros.hands.skeleton import HandSkeleton

# Pairs of points whose distance is a bone's, or the palm's.
_BONES = [(first + k, first + k + 1) for first in FIRST_JOINTS.tolist() for k in range(2)]
_LAST_BONES = [(first + 2, tip) for first, tip in zip(FIRST_JOINTS.tolist(), TIP_POINTS.tolist(), strict=True)]
RIGID_PAIRS = np.array([*combinations(PALM_POINTS.tolist(), 2), *_BONES, *_LAST_BONES])
# A pair seen in fewer frames than this says nothing.
LEAST_FRAMES = 10
# How far joints of trackers and of models differ in what they call a joint [m]; betas spread by 1.
JOINT_DEFINITION_M = 0.001
# Betas beyond this are not hands.
MOST_BETA = 3.0
NUM_ITERATIONS = 12


@dataclass(frozen=True, eq=False)
class HandShape:
    """What is calibrated once: the model's shape, and how many metres a metre of the tracker is."""

    betas: Float[ndarray, "10"] = field(default_factory=lambda: np.zeros(10))
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise ValueError(f"a hand's scale must be positive, got {self.scale}")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A shape, the mean difference of lengths that it leaves [m], and the frames that it rests on."""

    shape: HandShape
    error_m: float
    num_frames: int


def calibrate(model: HandModel, skeletons: Sequence[HandSkeleton], is_metric: bool = True) -> Calibration:
    """The shape of these skeletons of one hand; their scale too unless they are known to be metric.

    ValueError when too few lengths were seen in at least LEAST_FRAMES frames.
    """
    check_tree(model)
    lengths_m = rigid_lengths(skeletons)
    known = np.flatnonzero(np.isfinite(lengths_m))
    if len(known) < len(RIGID_PAIRS) // 2:
        raise ValueError(
            f"calibration needs at least {len(RIGID_PAIRS) // 2} of a hand's {len(RIGID_PAIRS)} lengths, each in {LEAST_FRAMES} frames or more;"
            f" got {len(known)} from {len(skeletons)} frames: hold an open hand in full view"
        )
    pairs, measured = RIGID_PAIRS[known], lengths_m[known]
    betas, scale = np.zeros(model.shape_directions.shape[-1]), 1.0
    for _ in range(NUM_ITERATIONS):
        lengths, slopes = _lengths_and_slopes(model, betas, pairs)
        if not is_metric:
            scale = float(measured @ lengths / (measured @ measured))
        betas = _ridge(slopes, scale * measured - lengths + slopes @ betas)
    lengths, _ = _lengths_and_slopes(model, betas, pairs)
    return Calibration(HandShape(betas, scale), float(np.abs(scale * measured - lengths).mean()), len(skeletons))


def rigid_lengths(skeletons: Sequence[HandSkeleton]) -> Float[ndarray, "30"]:
    """The length of every rigid pair over all frames [m], free of what noise adds; NaN where too few frames show it.

    With noise of variance v in each coordinate, a measured length's mean square is d^2 + 6 v and its variance 2 v.
    """
    if not skeletons:
        return np.full(len(RIGID_PAIRS), np.nan)
    points = np.stack([np.where(skeleton.is_seen[:, None], skeleton.points_world, np.nan) for skeleton in skeletons])
    lengths = np.linalg.norm(points[:, RIGID_PAIRS[:, 0]] - points[:, RIGID_PAIRS[:, 1]], axis=-1)
    is_known = np.isfinite(lengths)
    count = is_known.sum(axis=0)
    known = np.where(is_known, lengths, 0.0)
    mean = known.sum(axis=0) / np.maximum(count, 1)
    mean_square = (known**2).sum(axis=0) / np.maximum(count, 1)
    squared = mean_square - 3.0 * np.maximum(mean_square - mean**2, 0.0)
    return np.where((count >= LEAST_FRAMES) & (squared > 0.0), np.sqrt(np.maximum(squared, 0.0)), np.nan)


def _lengths_and_slopes(model: HandModel, betas: Float[ndarray, "10"], pairs: ndarray) -> tuple[ndarray, ndarray]:
    """The model's lengths at a shape [m], and their change per beta; joints are linear in betas."""
    flat = np.zeros_like(betas)
    origin = rest_points(model, flat)
    directions = np.stack([rest_points(model, step) - origin for step in np.eye(len(betas))], axis=-1)
    points = origin + directions @ betas
    along = points[pairs[:, 0]] - points[pairs[:, 1]]
    lengths = np.linalg.norm(along, axis=1)
    slopes = np.einsum("pc,pcb->pb", along / lengths[:, None], directions[pairs[:, 0]] - directions[pairs[:, 1]])
    return lengths, slopes


def _ridge(slopes: Float[ndarray, "p 10"], targets: Float[ndarray, "p"]) -> Float[ndarray, "10"]:
    """Betas that explain length differences, each expected to be of size 1."""
    normal = slopes.T @ slopes / JOINT_DEFINITION_M**2 + np.eye(slopes.shape[1])
    return np.clip(np.linalg.solve(normal, slopes.T @ targets / JOINT_DEFINITION_M**2), -MOST_BETA, MOST_BETA)

"""How a camera moved, from where it sees points whose depth is known: least squares that few strays cannot bend."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, cross_matrix, invert, rotation_from_axis_angle

ITERATIONS = 12
STRAY_SLOPE = 0.02
"""How far off (in x/z and y/z) a sight may be to count in full; beyond, it counts less (Cauchy)."""
LIKELY_TURN_RAD, LIKELY_WAY_M = 0.1, 0.03
"""Heads hardly turn or move more within an episode: a turn and a way that look alike in a few cells are told apart by it."""
PRIOR = np.diag([LIKELY_TURN_RAD**-2] * 3 + [LIKELY_WAY_M**-2] * 3)
NEAREST_M = 0.02


def solve_motion(points_a: Float[ndarray, "n 3"], seen_b: Float[ndarray, "n 2"], weights: Float[ndarray, "n"]) -> Transform:
    """T_a_b: the camera's motion after which it sees the points [m] of frame a at these slopes (x/z, y/z).

    Gauss-Newton over rotation and translation, weights falling with the distance (iteratively reweighted).
    """
    T_b_a: Transform = np.eye(4)
    moved: ndarray = np.zeros(6)
    for _ in range(ITERATIONS):
        turned_points = points_a @ T_b_a[:3, :3].T
        points_b = turned_points + T_b_a[:3, 3]
        wrong, jacobian = _residuals(points_b, turned_points, seen_b)
        precision = weights / (STRAY_SLOPE**2 + np.square(wrong).sum(-1))
        information = np.einsum("n,nia,nib->ab", precision, jacobian, jacobian) + PRIOR
        step = -np.linalg.solve(information, np.einsum("n,nia,ni->a", precision, jacobian, wrong) + PRIOR @ moved)
        T_b_a, moved = moved_by(step, T_b_a), moved + step
    return invert(T_b_a)


def moved_by(step: Float[ndarray, "6"], T_b_a: Transform) -> Transform:
    """The motion with a small turn [rad] and way [m] more."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_from_axis_angle(step[:3]) @ T_b_a[:3, :3], T_b_a[:3, 3] + step[3:]
    return T


def _residuals(
    points_b: Float[ndarray, "n 3"], turned_points: Float[ndarray, "n 3"], seen_b: Float[ndarray, "n 2"]
) -> tuple[Float[ndarray, "n 2"], Float[ndarray, "n 2 6"]]:
    """How far from where they are seen the points would be seen, and its derivative by a small turn and way."""
    depth = np.maximum(points_b[:, 2:], NEAREST_M)
    slopes = points_b[:, :2] / depth
    by_point = np.zeros((len(points_b), 2, 3))
    by_point[:, 0, 0] = by_point[:, 1, 1] = 1.0 / depth[:, 0]
    by_point[:, :, 2] = -slopes / depth
    by_turn = by_point @ -cross_matrix(turned_points)
    return slopes - seen_b, np.concatenate([by_turn, by_point], axis=-1)

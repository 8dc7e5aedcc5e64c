"""Where fitting begins: the wrist by the palm's points, every finger bone by the direction to its next joint."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, rotation_from_axis_angle, transform
from h2w_ros.hands.anatomy import FIRST_JOINTS, LIMITS, PALM_POINTS, TIP_POINTS
from h2w_ros.hands.fit_problem import FitState
from h2w_ros.hands.kinematics import ShapedHand
from h2w_ros.hands.skeleton import HandSkeleton

# Points that spread less than this beside one line [m] do not say how the palm is turned about it.
LINE_M = 0.004
# The joints and the tip of every finger.
_CHAINS = np.concatenate([FIRST_JOINTS[:, None] + np.arange(3), TIP_POINTS[:, None]], axis=1)


def rigid_fit(points_a: Float[ndarray, "n 3"], points_b: Float[ndarray, "n 3"], weights: Float[ndarray, "n"]) -> Transform:
    """T_a_b of least weighted squared distances (Kabsch 1976); ValueError for fewer than three points off one line."""
    if len(points_a) < 3:
        raise ValueError(f"a palm needs at least three of its points (wrist, knuckles, thumb base), got {len(points_a)}")
    share = weights / weights.sum()
    mean_a, mean_b = share @ points_a, share @ points_b
    U, sizes, Vt = np.linalg.svd((points_a - mean_a).T @ (share[:, None] * (points_b - mean_b)))
    if sizes[1] < LINE_M**2:
        raise ValueError(
            f"a palm needs points off one line; those seen spread {1e3 * sizes[1] ** 0.5:.1f} mm beside it, at least {1e3 * LINE_M} needed"
        )
    U[:, 2] *= np.sign(np.linalg.det(U @ Vt))
    R = U @ Vt
    return transform(R, mean_a - R @ mean_b)


def palm_pose(hand: ShapedHand, skeleton: HandSkeleton) -> Transform:
    """T_world_wrist by the palm's points; ValueError when too few of them are there."""
    seen = PALM_POINTS[skeleton.is_seen[PALM_POINTS]]
    return rigid_fit(skeleton.points_world[seen], hand.joints[seen], skeleton.weights[seen])


def start_state(hand: ShapedHand, skeleton: HandSkeleton, rest_rad: Float[ndarray, "15 3"]) -> FitState:
    """The wrist, and angles within the limits that turn one bone after another towards its next joint; at rest where that is missing."""
    T_world_wrist = palm_pose(hand, skeleton)
    points = np.where(skeleton.is_seen[:, None], skeleton.points_world, np.nan)
    ahead = np.diff(((points - T_world_wrist[:3, 3]) @ T_world_wrist[:3, :3])[_CHAINS], axis=1)
    angles, axes = rest_rad.reshape(5, 3, 3).copy(), hand.axes.reshape(5, 3, 3, 3)
    low, high = (limit.reshape(5, 3, 3) for limit in LIMITS)
    R = np.broadcast_to(np.eye(3), (5, 3, 3))
    for bone in range(3):
        R_axes = R @ axes[:, bone]
        swings = _swings((np.swapaxes(R_axes, 1, 2) @ ahead[:, bone, :, None])[..., 0])
        is_known = np.isfinite(swings).all(axis=1)
        angles[is_known, bone] = np.clip(swings, low[:, bone], high[:, bone])[is_known]
        R = R_axes @ rotation_from_axis_angle(angles[:, bone]) @ np.swapaxes(axes[:, bone], 1, 2)
    return FitState(T_world_wrist, angles.reshape(15, 3))


def _swings(directions: Float[ndarray, "5 3"]) -> Float[ndarray, "5 3"]:
    """Twist-free angles about (twist, spread, bend) axes that turn the twist axis into these directions; NaN where unknown."""
    aside = np.hypot(directions[:, 1], directions[:, 2])
    share = np.arctan2(aside, directions[:, 0]) / np.maximum(aside, 1e-12)
    # The axis is (1, 0, 0) x direction.
    return np.stack([np.zeros(5), -directions[:, 2] * share, directions[:, 1] * share], axis=1)

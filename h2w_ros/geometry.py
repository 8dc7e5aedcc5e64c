"""Rigid motions in float64, and the only place that knows the order of a quaternion.

`T_a_b` is a 4x4 matrix that takes points in frame b to frame a. Quaternions are (x, y, z, w), ROS's order, everywhere
in this package.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Transform = Float[ndarray, "4 4"]

QUATERNION_NORM_TOLERANCE = 1e-2
ROTATION_TOLERANCE = 1e-4


def transform(R_a_b: Float[ndarray, "3 3"], t_a_b: Float[ndarray, "3"]) -> Transform:
    """The 4x4 motion with this rotation and this origin of b in a [m]."""
    T_a_b = np.eye(4)
    T_a_b[:3, :3] = R_a_b
    T_a_b[:3, 3] = t_a_b
    return T_a_b


def invert(T_a_b: Float[ndarray, "*batch 4 4"]) -> Float[ndarray, "*batch 4 4"]:
    """T_b_a, by the transpose of the rotation."""
    R_b_a = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    T_b_a = np.zeros_like(T_a_b)
    T_b_a[..., :3, :3] = R_b_a
    T_b_a[..., :3, 3] = -(R_b_a @ T_a_b[..., :3, 3:])[..., 0]
    T_b_a[..., 3, 3] = 1.0
    return T_b_a


def apply(T_a_b: Transform, points_b: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
    """Points in frame b, expressed in frame a."""
    return points_b @ T_a_b[:3, :3].T + T_a_b[:3, 3]


def check_transform(T_a_b: np.ndarray, name: str) -> Transform:
    """The matrix as float64, or a ValueError that says which rule of a rigid motion it breaks."""
    T = np.asarray(T_a_b, dtype=np.float64)
    if T.shape != (4, 4):
        raise ValueError(f"{name} must be a 4x4 matrix, got shape {T.shape}")
    if not np.isfinite(T).all():
        raise ValueError(f"{name} must be finite, got\n{T}")
    deviation = float(np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max())
    if deviation > ROTATION_TOLERANCE or np.linalg.det(T[:3, :3]) < 0:
        raise ValueError(f"{name} must hold a proper rotation (R R^T = I within {ROTATION_TOLERANCE}), it is off by {deviation:.2g}")
    if np.abs(T[3] - (0.0, 0.0, 0.0, 1.0)).max() > 1e-9:
        raise ValueError(f"{name} must end with the row 0 0 0 1, got {T[3]}")
    return T


def rotation_from_quaternion(quaternion_xyzw: Float[ndarray, "4"]) -> Float[ndarray, "3 3"]:
    """Rotation matrix of a quaternion (x, y, z, w), renormalised when it is within 1% of unit length."""
    q = np.asarray(quaternion_xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not abs(norm - 1.0) <= QUATERNION_NORM_TOLERANCE:
        raise ValueError(f"quaternion (x, y, z, w) must have unit length within {QUATERNION_NORM_TOLERANCE}, got length {norm:.6g}")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(R: Float[ndarray, "3 3"]) -> Float[ndarray, "4"]:
    """Quaternion (x, y, z, w) with w >= 0, by the largest eigenvector (Bar-Itzhack 2000): no branch is near a singularity."""
    K = np.array(
        [
            [R[0, 0] - R[1, 1] - R[2, 2], 0, 0, 0],
            [R[1, 0] + R[0, 1], R[1, 1] - R[0, 0] - R[2, 2], 0, 0],
            [R[2, 0] + R[0, 2], R[2, 1] + R[1, 2], R[2, 2] - R[0, 0] - R[1, 1], 0],
            [R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], R[0, 0] + R[1, 1] + R[2, 2]],
        ]
    )
    q = np.linalg.eigh(K)[1][:, -1]
    return q if q[3] >= 0 else -q


def rotation_from_axis_angle(axis_angle_rad: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation matrices by Rodrigues' formula; the zero vector gives the identity."""
    r = np.asarray(axis_angle_rad, dtype=np.float64)
    angle = np.linalg.norm(r, axis=-1)[..., None, None]
    axis = r / np.maximum(angle[..., 0], 1e-12)
    K = cross_matrix(axis)
    return np.eye(3) + np.sin(angle) * K + (1.0 - np.cos(angle)) * (K @ K)


def axis_angle_from_rotation(R: Float[ndarray, "3 3"]) -> Float[ndarray, "3"]:
    """Axis times angle [rad], angle in [0, pi]."""
    x, y, z, w = quaternion_from_rotation(R)
    sine = float(np.linalg.norm((x, y, z)))
    if sine < 1e-12:
        return np.zeros(3)
    return np.array([x, y, z]) * (2.0 * np.arctan2(sine, w) / sine)


def cross_matrix(v: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """[v]x, so that [v]x u = v x u."""
    zero = np.zeros_like(v[..., 0])
    rows = [[zero, -v[..., 2], v[..., 1]], [v[..., 2], zero, -v[..., 0]], [-v[..., 1], v[..., 0], zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def interpolate(T_a_b0: Transform, T_a_b1: Transform, fraction: float) -> Transform:
    """The pose at `fraction` of the way from b0 to b1: slerp of the rotation, lerp of the origin; beyond 1 it goes on as before."""
    R_0 = T_a_b0[:3, :3]
    step = axis_angle_from_rotation(R_0.T @ T_a_b1[:3, :3])
    t = (1.0 - fraction) * T_a_b0[:3, 3] + fraction * T_a_b1[:3, 3]
    return transform(R_0 @ rotation_from_axis_angle(fraction * step), t)


def interpolate_axis_angles(r_0_rad: Float[ndarray, "n 3"], r_1_rad: Float[ndarray, "n 3"], fraction: float) -> Float[ndarray, "n 3"]:
    """Slerp of n rotations at once, each along its shortest way; angles of the result are in [0, pi]."""
    q_0, q_1 = _quaternions_from_axis_angles(r_0_rad), _quaternions_from_axis_angles(r_1_rad)
    cosine = np.sum(q_0 * q_1, axis=-1, keepdims=True)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    sine = np.maximum(np.sin(angle), 1e-12)
    is_small = angle < 1e-6
    w_0 = np.where(is_small, 1.0 - fraction, np.sin((1.0 - fraction) * angle) / sine)
    w_1 = np.where(is_small, fraction, np.sin(fraction * angle) / sine)
    q = w_0 * q_0 + np.where(cosine < 0, -w_1, w_1) * q_1
    q = np.where(q[:, 3:] < 0, -q, q)
    half_sine = np.linalg.norm(q[:, :3], axis=-1, keepdims=True)
    scale = np.where(half_sine < 1e-12, 2.0, 2.0 * np.arctan2(half_sine, q[:, 3:]) / np.maximum(half_sine, 1e-12))
    return q[:, :3] * scale


def _quaternions_from_axis_angles(r_rad: Float[ndarray, "n 3"]) -> Float[ndarray, "n 4"]:
    angle = np.linalg.norm(r_rad, axis=-1, keepdims=True)
    return np.concatenate([r_rad * (0.5 * np.sinc(angle / (2.0 * np.pi))), np.cos(angle / 2.0)], axis=-1)


def rotation_angle_rad(R: Float[ndarray, "3 3"]) -> float:
    """The angle of a rotation, in [0, pi]."""
    return float(np.linalg.norm(axis_angle_from_rotation(R)))


def look_at(eye: Float[ndarray, "3"], target: Float[ndarray, "3"], up: Float[ndarray, "3"]) -> Transform:
    """T_world_camera of an optical frame (x right, y down, z forward) at `eye` that looks at `target` [m]."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    length = float(np.linalg.norm(right))
    if length < 1e-9:
        raise ValueError(f"look_at needs an up direction that is not parallel to the view, got {up} for view {forward}")
    right = right / length
    return transform(np.stack([right, np.cross(forward, right), forward], axis=1), eye)

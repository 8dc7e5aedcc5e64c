"""MANO's forward function, written once for NumPy and torch: shape, joints, pose correctives, linear blend skinning.

Source: Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017, equations 1-4. Everything is computed in the wrist
frame (origin at joint 0, axes of MANO's template), because MANO's root rotation turns about joint 0 and joint 0 moves
with the shape: a rigid motion of the wrist is then nothing but a rigid motion.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros import geometry
from h2w_ros.condition import HandPose, Side
from h2w_ros.hands.model import TIP_VERTICES, HandModel

# numpy.ndarray or torch.Tensor; the functions below return what they were given.
Array = Any

# Added to squared angles [rad^2], so that the zero rotation has an axis and, in torch, a gradient.
TINY_ANGLE_SQUARED = 1e-16


class SkinnedHand(NamedTuple):
    """A hand's surface and joints in one frame [m], with any leading batch dimensions."""

    vertices: Array  # (..., 778, 3)
    joints: Array  # (..., 16, 3)

    @property
    def joints_and_tips(self) -> Array:
        """(..., 21, 3): the joints, then thumb, index, middle, ring and pinky tip, as smplx appends them."""
        xp = array_namespace(self.joints)
        return xp.concatenate([self.joints, self.vertices[..., list(TIP_VERTICES), :]], axis=-2)


class _Constants(NamedTuple):
    """A model's arrays, flattened for products, in one library, dtype and device."""

    template: Array  # (778, 3)
    shape_directions: Array  # (2334, 10)
    pose_directions: Array  # (2334, 135)
    joint_template: Array  # (16, 3)
    joint_shape_directions: Array  # (48, 10)
    weights: Array  # (778, 16)
    identity: Array  # (3, 3)


def skin(model: HandModel, joint_angles_rad: Array, betas: Array) -> SkinnedHand:
    """The hand in its wrist frame for joint angles (..., 45), relative to the flat hand, and shapes (..., 10).

    NumPy arrays or torch tensors of one float dtype; torch tensors keep their device and gradients.
    """
    return _skinned(model, _constants_like(model, joint_angles_rad), joint_angles_rad, betas)


def _skinned(model: HandModel, constants: _Constants, joint_angles_rad: Array, betas: Array) -> SkinnedHand:
    """The vertices that the constants hold, and all joints."""
    batch = joint_angles_rad.shape[:-1]
    rotations = rotation_matrices(joint_angles_rad.reshape(-1, 15, 3))
    shaped, joints = _shaped(constants, betas.reshape(-1, betas.shape[-1]))
    posed = shaped + _corrections(constants, rotations)
    T_wrist_bone, joints_wrist = _chain(model, rotations, joints)
    vertices = _blend(constants.weights, T_wrist_bone, posed)
    return SkinnedHand(vertices.reshape(*batch, -1, 3), joints_wrist.reshape(*batch, -1, 3))


def hand_world(model: HandModel, hand: HandPose) -> SkinnedHand:
    """The hand's surface and joints in the world frame [m]."""
    return _in_world(model, _constants_like(model, hand.joint_angles_rad), hand)


def _in_world(model: HandModel, constants: _Constants, hand: HandPose) -> SkinnedHand:
    if model.side != hand.side:
        raise ValueError(f"a {hand.side} hand needs the {hand.side} hand's model, got the {model.side} one")
    wrist = _skinned(model, constants, hand.joint_angles_rad, hand.betas)
    return SkinnedHand(*(geometry.apply(hand.T_world_wrist, points) for points in wrist))


def hand_vertices_world(model: HandModel, hand: HandPose) -> Float[ndarray, "778 3"]:
    """The hand's surface in the world frame [m]."""
    return hand_world(model, hand).vertices


def hand_joints_world(model: HandModel, hand: HandPose) -> Float[ndarray, "16 3"]:
    """The hand's joints in the world frame [m], MANO's order."""
    return _in_world(model, _tips_of(model), hand).joints


def hand_joints_and_tips_world(model: HandModel, hand: HandPose) -> Float[ndarray, "21 3"]:
    """The hand's joints and fingertips in the world frame [m], smplx's order."""
    tips, joints = _in_world(model, _tips_of(model), hand)
    return np.concatenate([joints, tips])


def rest_wrist(model: HandModel, betas: Float[ndarray, "10"]) -> Float[ndarray, "3"]:
    """Joint 0 of the shaped hand in the template frame [m], the point about which MANO's root turns."""
    return _constants(model, "numpy", np.dtype(np.float64), None).joint_template[0] + np.einsum(
        "v,vcb,b->c", model.joint_regressor[0], model.shape_directions, betas
    )


def hand_pose_from_mano(
    model: HandModel,
    global_orient_rad: Float[ndarray, "3"],
    hand_pose_rad: Float[ndarray, "45"],
    betas: Float[ndarray, "10"],
    transl_m: Float[ndarray, "3"],
    *,
    flat_hand_mean: bool,
    confidence: float = 1.0,
) -> HandPose:
    """The HandPose of MANO's own parameters in the world frame; `flat_hand_mean` False means that the mean pose is still to be added."""
    angles = np.asarray(hand_pose_rad, dtype=np.float64)
    R_world_wrist = geometry.rotation_from_axis_angle(np.asarray(global_orient_rad, dtype=np.float64))
    T_world_wrist = geometry.transform(R_world_wrist, rest_wrist(model, betas) + transl_m)
    return HandPose(model.side, T_world_wrist, angles if flat_hand_mean else angles + model.pose_mean_rad, betas, confidence)


def mano_from_hand_pose(model: HandModel, hand: HandPose) -> dict[str, ndarray]:
    """MANO's own parameters under smplx's names: global_orient, hand_pose (flat hand is zero), betas, transl."""
    return {
        "global_orient": geometry.axis_angle_from_rotation(hand.T_world_wrist[:3, :3]),
        "hand_pose": hand.joint_angles_rad,
        "betas": hand.betas,
        "transl": hand.T_world_wrist[:3, 3] - rest_wrist(model, hand.betas),
    }


def angles_from_components(model: HandModel, coefficients: Float[ndarray, "n"]) -> Float[ndarray, "45"]:
    """Joint angles [rad], relative to the flat hand, from MANO's leading pose components around the mean pose."""
    return model.pose_mean_rad + coefficients @ model.pose_components[: len(coefficients)]


def mirrored(hand: HandPose) -> HandPose:
    """The other side's hand, mirrored in the world's plane x = 0: axis-angle y and z change sign, as do positions in x."""
    other: Side = "left" if hand.side == "right" else "right"
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    angles = hand.joint_angles_rad.reshape(15, 3) * (1.0, -1.0, -1.0)
    return HandPose(other, flip @ hand.T_world_wrist @ flip, angles.ravel(), hand.betas, hand.confidence)


def rotation_matrices(axis_angle_rad: Array) -> Array:
    """(..., 3, 3) from (..., 3) by Rodrigues' formula, differentiable at zero."""
    xp = array_namespace(axis_angle_rad)
    x, y, z = (axis_angle_rad[..., k] for k in range(3))
    zero = xp.zeros_like(x)
    cross = xp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    angle = xp.sqrt(x * x + y * y + z * z + TINY_ANGLE_SQUARED)[..., None, None]
    # 1 - cos as 2 sin^2(half): in float32 the difference would cancel for small angles.
    half_sine = xp.sin(angle / 2) / angle
    return _like(np.eye(3), axis_angle_rad) + (xp.sin(angle) / angle) * cross + (2 * half_sine * half_sine) * (cross @ cross)


def array_namespace(array: Array) -> ModuleType:
    """The library that made this array; torch is looked up only once a tensor shows that it is loaded."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def _like(values: ndarray, sample: Array) -> Array:
    xp = array_namespace(sample)
    return np.asarray(values, dtype=sample.dtype) if xp is np else xp.as_tensor(np.array(values), dtype=sample.dtype, device=sample.device)


def _constants_like(model: HandModel, sample: Array) -> _Constants:
    library = array_namespace(sample).__name__
    return _constants(model, library, sample.dtype, getattr(sample, "device", None) if library == "torch" else None)


@lru_cache(maxsize=16)
def _constants(model: HandModel, library: str, dtype: Any, device: Any) -> _Constants:
    arrays = (
        model.template_vertices,
        model.shape_directions.reshape(-1, model.shape_directions.shape[-1]),
        model.pose_directions.reshape(-1, model.pose_directions.shape[-1]),
        model.joint_regressor @ model.template_vertices,
        np.einsum("jv,vcb->jcb", model.joint_regressor, model.shape_directions).reshape(-1, model.shape_directions.shape[-1]),
        model.skin_weights,
        np.eye(3),
    )
    if library == "numpy":
        return _Constants(*(np.ascontiguousarray(array, dtype=dtype) for array in arrays))
    torch = sys.modules[library]
    return _Constants(*(torch.as_tensor(np.array(array), dtype=dtype, device=device) for array in arrays))


@lru_cache(maxsize=8)
def _tips_of(model: HandModel) -> _Constants:
    """What five vertices need, the fingertips: most of a hand's work is its skin, of which joints know nothing."""
    tips = np.array(TIP_VERTICES)
    coordinates = (3 * tips[:, None] + np.arange(3)).ravel()
    whole = _constants(model, "numpy", np.dtype(np.float64), None)
    return whole._replace(
        template=whole.template[tips],
        shape_directions=whole.shape_directions[coordinates],
        pose_directions=whole.pose_directions[coordinates],
        weights=whole.weights[tips],
    )


def _shaped(constants: _Constants, betas: Array) -> tuple[Array, Array]:
    """Vertices (B, 778, 3) and joints (B, 16, 3) of the flat hand in the template frame."""
    vertices = constants.template + (betas @ constants.shape_directions.T).reshape(-1, *constants.template.shape)
    joints = constants.joint_template + (betas @ constants.joint_shape_directions.T).reshape(-1, *constants.joint_template.shape)
    return vertices, joints


def _corrections(constants: _Constants, rotations: Array) -> Array:
    """What bending does to the skin beyond skinning, (B, 778, 3), linear in the rotations' entries less the identity."""
    feature = (rotations - constants.identity).reshape(-1, 135)
    return (feature @ constants.pose_directions.T).reshape(-1, *constants.template.shape)


def _chain(model: HandModel, rotations: Array, joints: Array) -> tuple[Array, Array]:
    """T_wrist_bone as (B, 16, 3, 4), which takes template points of each bone to the wrist frame, and joints (B, 16, 3) there."""
    xp = array_namespace(joints)
    R = _like(np.eye(3), joints) + xp.zeros_like(joints[:, :1, :, None])
    t = xp.zeros_like(joints[:, :1])
    for level, parents, places in model.bone_levels:
        offsets = joints[:, level] - joints[:, parents]
        t = xp.concatenate([t, t[:, places] + (R[:, places] @ offsets[..., None])[..., 0]], axis=1)
        R = xp.concatenate([R, R[:, places] @ rotations[:, level - 1]], axis=1)
    R, joints_wrist = R[:, model.joint_places], t[:, model.joint_places]
    origins = joints_wrist[..., None] - R @ joints[..., None]
    return xp.concatenate([R, origins], axis=-1), joints_wrist


def _blend(weights: Array, T_wrist_bone: Array, points: Array) -> Array:
    """Points (B, 778, 3) moved by the weighted mean of their bones' motions."""
    T = (weights @ T_wrist_bone.reshape(-1, weights.shape[1], 12)).reshape(-1, weights.shape[0], 3, 4)
    return (T[..., :3] @ points[..., None])[..., 0] + T[..., 3]

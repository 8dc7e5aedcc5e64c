"""Where a hand's joints and tips are, and how they move with its angles: the part of MANO that fitting needs.

Everything stands in the wrist frame (origin at joint 0, axes of MANO's template). Joint angles are rotation vectors in
the joint's own axes (`anatomy`), so limits are plain intervals. The derivatives are exact, those of blended tips and of
pose correctives included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import cross_matrix
from h2w_ros.hands.anatomy import MANO_PARENTS, NUM_FINGER_JOINTS, PALM_DIRECTION, check_tree, joint_axes, rest_points
from h2w_ros.hands.model import NUM_JOINTS, TIP_VERTICES, HandModel

NUM_POINTS = NUM_JOINTS + len(TIP_VERTICES)
# Factors of smaller angles [rad] are taken at this one: they have stopped changing, and nothing is divided by zero.
SMALL_ANGLE = 1e-4
# cross_matrix of the unit vectors, flattened: a product with it makes cross matrices of many vectors at once.
_CROSS_OF_UNITS = cross_matrix(np.eye(3)).reshape(3, 9)
_IDENTITY = np.eye(3)


def _carries() -> Float[ndarray, "16 15"]:
    """1 where turning a finger joint (column) turns a bone (row): the joint's own bone and those after it."""
    carries = np.zeros((NUM_JOINTS, NUM_JOINTS))
    for bone in range(NUM_JOINTS):
        ancestor = bone
        while ancestor >= 0:
            carries[bone, ancestor] = 1.0
            ancestor = MANO_PARENTS[ancestor]
    return carries[:, 1:]


# Turning a joint moves what its bones carry, but not the joint itself.
TURNS = _carries()
MOVES = TURNS - np.eye(NUM_JOINTS)[:, 1:]


@dataclass(frozen=True, eq=False)
class ShapedHand:
    """One model with one shape: what does not change while a hand moves. Points in the wrist frame of the flat hand [m]."""

    model: HandModel
    betas: Float[ndarray, "10"]
    joints: Float[ndarray, "16 3"]
    tips: Float[ndarray, "5 3"]
    tip_weights: Float[ndarray, "5 16"]
    tip_corrections: Float[ndarray, "15 15 9"] | None  # joint, tip and coordinate, entry of (R - I); None where they are all zero
    axes: Float[ndarray, "15 3 3"]

    @property
    def points(self) -> Float[ndarray, "21 3"]:
        """Joints and tips of the flat hand."""
        return np.concatenate([self.joints, self.tips])

    @cached_property
    def backs(self) -> Float[ndarray, "16 3"]:
        """Unit direction out of the back of every bone of the flat hand; the wrist's is that of the palm."""
        return np.concatenate([-PALM_DIRECTION[None], -self.axes[:, :, 1]])


class PosedHand(NamedTuple):
    """A hand in its wrist frame at some angles, with what its derivatives are made of."""

    points: Float[ndarray, "21 3"]
    R_wrist_bone: Float[ndarray, "16 3 3"]
    rotations: Float[ndarray, "15 3 3"]  # of each joint relative to the bone before it
    body_rates: Float[ndarray, "15 3 3"]  # turning of a bone in its own frame for each angle, as columns
    tip_parts: Float[ndarray, "5 16 3"]  # where each bone alone would put each tip


def shaped_hand(model: HandModel, betas: Float[ndarray, "10"]) -> ShapedHand:
    """The model with this shape; ValueError when its joints are not MANO's tree."""
    check_tree(model)
    points = rest_points(model, betas)
    tips = list(TIP_VERTICES)
    corrections = model.pose_directions[tips].reshape(5, 3, NUM_FINGER_JOINTS, 9)
    by_joint = corrections.transpose(2, 0, 1, 3).reshape(NUM_FINGER_JOINTS, 15, 9)
    return ShapedHand(
        model=model,
        betas=np.asarray(betas, dtype=np.float64),
        joints=points[:NUM_JOINTS] - points[0],
        tips=points[NUM_JOINTS:] - points[0],
        tip_weights=model.skin_weights[tips],
        tip_corrections=np.ascontiguousarray(by_joint) if corrections.any() else None,
        axes=joint_axes(model),
    )


def rotation_vectors(hand: ShapedHand, angles_rad: Float[ndarray, "15 3"]) -> Float[ndarray, "15 3"]:
    """Axis-angle vectors in MANO's axes from angles about the joints' own axes."""
    return (hand.axes @ angles_rad[..., None])[..., 0]


def joint_angles(hand: ShapedHand, axis_angles_rad: Float[ndarray, "15 3"]) -> Float[ndarray, "15 3"]:
    """Angles about the joints' own axes from MANO's axis-angle vectors."""
    return (axis_angles_rad[:, None, :] @ hand.axes)[:, 0]


def pose(hand: ShapedHand, angles_rad: Float[ndarray, "15 3"]) -> PosedHand:
    """The hand with each joint turned by these angles about its own axes."""
    rotations, body_rates = rotations_and_rates(rotation_vectors(hand, angles_rad))
    R_wrist_bone, joints = _chain(hand, rotations)
    tips = hand.tips + _tip_corrections(hand, rotations)
    tip_parts = joints + _turned(R_wrist_bone, tips[:, None] - hand.joints)
    points = np.concatenate([joints, (hand.tip_weights[:, None] @ tip_parts)[:, 0]])
    return PosedHand(points, R_wrist_bone, rotations, body_rates @ hand.axes, tip_parts)


def point_derivatives(hand: ShapedHand, posed: PosedHand) -> Float[ndarray, "21 3 45"]:
    """Change of every point per change of every angle [m / rad], in the wrist frame."""
    joints = posed.points[:NUM_JOINTS]
    lever = np.empty((NUM_POINTS, NUM_FINGER_JOINTS, 3))
    lever[:NUM_JOINTS] = MOVES[:, :, None] * (joints[:, None] - joints[1:])
    carried = hand.tip_weights @ TURNS
    lever[NUM_JOINTS:] = TURNS.T @ (hand.tip_weights[:, :, None] * posed.tip_parts) - carried[:, :, None] * joints[1:]
    derivatives = lever_derivatives(posed, lever)
    if hand.tip_corrections is not None:
        derivatives[NUM_JOINTS:] += _correction_derivatives(hand, posed)
    return derivatives


def lever_derivatives(posed: PosedHand, lever: Float[ndarray, "n 15 3"]) -> Float[ndarray, "n 3 45"]:
    """Motion of n points per angle of every joint, each with its lever [m] from that joint (zero where the joint does not move it)."""
    rates = posed.R_wrist_bone[1:] @ posed.body_rates
    turns = cross_matrices(rates.transpose(0, 2, 1).reshape(-1, 3)).reshape(NUM_FINGER_JOINTS, 9, 3)
    moved = turns @ lever.transpose(1, 2, 0)  # joint, (angle, coordinate), point
    return moved.reshape(NUM_FINGER_JOINTS, 3, 3, -1).transpose(3, 2, 0, 1).reshape(len(lever), 3, 3 * NUM_FINGER_JOINTS)


def cross_matrices(vectors: ndarray) -> ndarray:
    """[v]x of n vectors as (n, 3, 3): `geometry.cross_matrix` for loops where every microsecond counts."""
    return (vectors @ _CROSS_OF_UNITS).reshape(-1, 3, 3)


def rotations_and_rates(axis_angles_rad: ndarray) -> tuple[ndarray, ndarray]:
    """Rodrigues' rotations (n, 3, 3), and their right Jacobians: turning in the rotated frame per change of (n, 3) (Chirikjian 2012, 10.86)."""
    cross = cross_matrices(axis_angles_rad)
    squared = cross @ cross
    angle_squared = np.einsum("ij,ij->i", axis_angles_rad, axis_angles_rad)[:, None, None]
    angle = np.maximum(np.sqrt(angle_squared), SMALL_ANGLE)
    sine, versine = np.sin(angle), 2.0 * np.sin(angle / 2) ** 2
    half = versine / angle**2
    return _IDENTITY + sine / angle * cross + half * squared, _IDENTITY - half * cross + (angle - sine) / angle**3 * squared


def _chain(hand: ShapedHand, rotations: Float[ndarray, "15 3 3"]) -> tuple[ndarray, ndarray]:
    """Bones' orientations (16, 3, 3) and joints (16, 3) in the wrist frame, finger by finger at once."""
    fingers = rotations.reshape(5, 3, 3, 3)
    rest = hand.joints[1:].reshape(5, 3, 3)
    first = fingers[:, 0]
    second = first @ fingers[:, 1]
    third = second @ fingers[:, 2]
    knuckle = rest[:, 0]
    middle = knuckle + _turned(first, rest[:, 1] - rest[:, 0])
    last = middle + _turned(second, rest[:, 2] - rest[:, 1])
    R, joints = np.empty((NUM_JOINTS, 3, 3)), np.zeros((NUM_JOINTS, 3))
    R[0] = _IDENTITY
    for place, turned, points in ((1, first, knuckle), (2, second, middle), (3, third, last)):
        R[place::3], joints[place::3] = turned, points
    return R, joints


def _tip_corrections(hand: ShapedHand, rotations: Float[ndarray, "15 3 3"]) -> Float[ndarray, "5 3"] | float:
    if hand.tip_corrections is None:
        return 0.0
    features = (rotations - _IDENTITY).reshape(NUM_FINGER_JOINTS, 9, 1)
    return (hand.tip_corrections @ features).sum(axis=0).reshape(5, 3)


def _correction_derivatives(hand: ShapedHand, posed: PosedHand) -> Float[ndarray, "5 3 45"]:
    """What bending adds to the tips beyond the motion of their bones, per angle."""
    turns = cross_matrices(posed.body_rates.transpose(0, 2, 1).reshape(-1, 3)).reshape(NUM_FINGER_JOINTS, 3, 3, 3)
    entries = (posed.rotations[:, None] @ turns).reshape(NUM_FINGER_JOINTS, 3, 9)
    local = (hand.tip_corrections @ entries.transpose(0, 2, 1)).reshape(NUM_FINGER_JOINTS, 5, 3, 3)  # joint, tip, coordinate, angle
    blended = (hand.tip_weights @ posed.R_wrist_bone.reshape(NUM_JOINTS, 9)).reshape(5, 3, 3)
    return (blended @ local).transpose(1, 2, 0, 3).reshape(5, 3, 3 * NUM_FINGER_JOINTS)


def _turned(R: Float[ndarray, "*n 3 3"], vectors: Float[ndarray, "*m 3"]) -> Float[ndarray, "*m 3"]:
    return (R @ vectors[..., None])[..., 0]

"""MANO's parameters, as datasets keep them, to hands in the world. They mean nothing without MANO's own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros import geometry
from h2w_ros.condition import HandPose, Side
from h2w_ros.geometry import Transform
from h2w_ros.hands.anatomy import rest_points
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.skinning import hand_pose_from_mano
from h2w_ros.imports.dataset import ImportOptions
from h2w_ros.ros_messages import MAX_BETA, MAX_JOINT_ANGLE_RAD, MAX_POSITION_M

SIDES: tuple[Side, ...] = get_args(Side)
# A wearer's own hand is never farther from the head camera than this.
MAX_REACH_M = 2.5
# How well a shape of one model has to be met by another's [m], beside betas that are expected to be of size 1.
SHAPE_TOLERANCE_M = 0.001
MIRROR_X = np.array([-1.0, 1.0, 1.0])[:, None]


@dataclass(frozen=True)
class ManoConvention:
    """What a dataset's numbers leave open.

    `adds_mean`: angles are relative to MANO's mean pose (smplx's `flat_hand_mean=False`). `left_as_released`: the left hand was
    annotated with MANO's file as it is, whose shape directions nobody had mirrored.
    """

    adds_mean: bool
    left_as_released: bool = False


class ManoParameters(NamedTuple):
    """One hand under smplx's names: global_orient (3), hand_pose (45), betas (10), transl (3) [rad, m]."""

    orientation_rad: ndarray
    angles_rad: ndarray
    betas: ndarray
    translation_m: ndarray


class ManoHands:
    """Both hands of the user's MANO files, for one dataset's convention."""

    def __init__(self, options: ImportOptions, convention: ManoConvention) -> None:
        if options.mano is None:
            raise ValueError("the hands of this dataset are MANO's parameters: name the folder of your MANO files with --mano DIR")
        self.convention = convention
        self._ours: Mapping[Side, HandModel] = {side: load_hand_model(side, options.mano) for side in SIDES}
        self._annotated = dict(self._ours)
        if convention.left_as_released:
            left = self._ours["left"]
            self._annotated["left"] = replace(left, shape_directions=left.shape_directions * MIRROR_X)

    def model(self, side: Side) -> HandModel:
        """The model that the dataset was annotated with."""
        return self._annotated[side]

    def ours(self, side: Side) -> HandModel:
        """The model that imported hands are meant for."""
        return self._ours[side]

    def hand(self, side: Side, parameters: ManoParameters) -> HandPose:
        """The hand in the frame of its parameters; ValueError for numbers that are no hand."""
        orientation, angles, betas, translation = parameters
        _check_sizes(parameters)
        annotated = hand_pose_from_mano(self.model(side), orientation, angles, betas, translation, flat_hand_mean=not self.convention.adds_mean)
        if self.model(side) is self._ours[side]:
            return annotated
        return replace(annotated, betas=same_shape(self.model(side), self._ours[side], annotated.betas))

    def hands(
        self, found: Mapping[Side, ManoParameters], T_world_frame: Transform, T_world_camera: Transform, dropped: Counter[str]
    ) -> tuple[HandPose, ...]:
        """Hands given in a frame, in the world; those that are no hands, or not this wearer's, are counted in `dropped`."""
        hands = []
        for side, parameters in found.items():
            try:
                hand = self.hand(side, parameters)
            except ValueError:
                dropped["hand_invalid"] += 1
                continue
            hand = replace(hand, T_world_wrist=T_world_frame @ hand.T_world_wrist)
            if is_within_reach(hand, T_world_camera):
                hands.append(hand)
            else:
                dropped["hand_out_of_reach"] += 1
        return tuple(hands)


def _check_sizes(parameters: ManoParameters) -> None:
    """ValueError for numbers that no person has, of which some overflow later."""
    for name, most in zip(ManoParameters._fields, (MAX_JOINT_ANGLE_RAD, MAX_JOINT_ANGLE_RAD, MAX_BETA, MAX_POSITION_M), strict=True):
        largest = float(np.abs(getattr(parameters, name)).max())
        if not largest <= most:
            raise ValueError(f"{name} must be finite numbers within {most:g}, got {largest:g}")


def same_shape(annotated: HandModel, ours: HandModel, betas: Float[ndarray, "10"]) -> Float[ndarray, "10"]:
    """Betas of our model whose joints and tips stand, seen from the wrist, as nearly as they can where the other model's do."""
    zero = np.zeros(len(betas))
    origin = _from_wrist(ours, zero)
    slopes = np.stack([_from_wrist(ours, step) - origin for step in np.eye(len(betas))], axis=-1) / SHAPE_TOLERANCE_M
    wanted = (_from_wrist(annotated, betas) - origin) / SHAPE_TOLERANCE_M
    found: ndarray = np.linalg.solve(slopes.T @ slopes + np.eye(len(betas)), slopes.T @ wanted)
    return found


def _from_wrist(model: HandModel, betas: Float[ndarray, "10"]) -> Float[ndarray, "63"]:
    points = rest_points(model, betas)
    return (points - points[0]).ravel()


def is_within_reach(hand: HandPose, T_world_camera: Transform) -> bool:
    """Whether the hand is where the wearer of the camera could have it; millimetres taken for metres are not."""
    wrist_camera = geometry.apply(geometry.invert(T_world_camera), hand.T_world_wrist[:3, 3])
    return bool(np.linalg.norm(wrist_camera) <= MAX_REACH_M)

"""Which points of a cloud belong to hands and forearms, or lie right beside them: no part of a scene.

Hands are where their poses say. Of forearms no pose is known: they go on from the wrist about as the hand points, the farther the
less certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.spatial import cKDTree

from h2w_ros.condition import HandPose
from h2w_ros.geometry import apply
from h2w_ros.hands.grip import T_world_grip, middle
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_vertices_world

MARGIN_M = 0.025
FOREARM_M = 0.45
FOREARM_RADIUS_M, FOREARM_SPREAD = 0.06, 0.35
"""A forearm's radius at the wrist, and how much farther out it may be for every metre from there."""


def near_hands(points_world: Float[ndarray, "n 3"], hands: Sequence[HandPose], hand_models: Path | None = None) -> Bool[ndarray, "n"]:
    """Which of the points [m] are hands or forearms, with a margin."""
    near = np.zeros(len(points_world), bool)
    for hand in hands:
        wrist = hand.T_world_wrist[:3, 3]
        around = np.flatnonzero(np.square(points_world - wrist).sum(1) < (FOREARM_M + MARGIN_M) ** 2)
        if len(around):
            near[around] |= _is_forearm(points_world[around], hand) | _is_hand(points_world[around], hand, hand_models)
    return near


def _is_hand(points: Float[ndarray, "k 3"], hand: HandPose, hand_models: Path | None) -> Bool[ndarray, "k"]:
    skin = cKDTree(hand_vertices_world(load_hand_model(hand.side, hand_models), hand))
    return np.isfinite(skin.query(points, distance_upper_bound=MARGIN_M)[0])


def _is_forearm(points: Float[ndarray, "k 3"], hand: HandPose) -> Bool[ndarray, "k"]:
    """Within a cone that opens from the wrist, away from the fingers."""
    wrist = apply(T_world_grip(hand), -middle(hand.side)[None])[0]
    along = wrist - T_world_grip(hand)[:3, 3]
    offsets = points - wrist
    distance = offsets @ (along / np.linalg.norm(along))
    off = np.sqrt(np.maximum(np.square(offsets).sum(1) - distance**2, 0.0))
    return (distance > -FOREARM_RADIUS_M) & (off < FOREARM_RADIUS_M + MARGIN_M + FOREARM_SPREAD * np.maximum(distance, 0.0))

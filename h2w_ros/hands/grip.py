"""Where a hand holds things: a frame that goes along with the palm, its origin amid the hand."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import HandPose, Side
from h2w_ros.geometry import Transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world


def grips_world(hands: tuple[HandPose, ...]) -> Float[ndarray, "2 4 4"]:
    """The poses of the left and the right hand's grip; NaN for a hand that is not there."""
    poses = {hand.side: T_world_grip(hand) for hand in hands}
    missing = np.full((4, 4), np.nan)
    return np.stack([poses.get("left", missing), poses.get("right", missing)])


def joints_world(hands: tuple[HandPose, ...]) -> Float[ndarray, "2 21 3"]:
    """Joints and tips of the left and the right hand [m]; NaN for a hand that is not there."""
    points = {hand.side: hand_joints_and_tips_world(load_hand_model(hand.side), hand) for hand in hands}
    missing = np.full((21, 3), np.nan)
    return np.stack([points.get("left", missing), points.get("right", missing)])


def T_world_grip(hand: HandPose) -> Transform:
    """The wrist's frame, moved to the middle of the stretched hand."""
    T_world_hand = hand.T_world_wrist.copy()
    T_world_hand[:3, 3] += T_world_hand[:3, :3] @ middle(hand.side)
    return T_world_hand


@cache
def middle(side: Side) -> Float[ndarray, "3"]:
    """From the wrist to the middle of the mean hand's joints and tips, in the wrist's frame [m]."""
    flat = HandPose(side, np.eye(4), np.zeros(45), np.zeros(10), 1.0)
    return hand_joints_and_tips_world(load_hand_model(side), flat).mean(axis=0)

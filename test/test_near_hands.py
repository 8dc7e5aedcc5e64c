"""Points of hands and forearms are told from the scene around them."""

from __future__ import annotations

import numpy as np
import pytest

from h2w_ros.condition import HandPose
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.hands.grip import T_world_grip
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.near import near_hands
from h2w_ros.hands.skinning import hand_vertices_world

T = transform(rotation_from_axis_angle(np.array([0.4, -0.7, 0.2])), np.array([1.0, -2.0, 0.5]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hands_own_skin_and_what_touches_it_is_near_and_what_lies_a_hand_away_is_not(side: str) -> None:
    hand = HandPose(side, T, np.full(45, 0.2), np.zeros(10))
    skin = hand_vertices_world(load_hand_model(side), hand)
    assert near_hands(skin + 0.01, (hand,)).all()
    fingertips = skin[np.argsort(np.linalg.norm(skin - T[:3, 3], axis=1))[-20:]]
    beyond = fingertips + 0.08 * (fingertips - T[:3, 3]) / np.linalg.norm(fingertips - T[:3, 3], axis=1, keepdims=True)
    assert not near_hands(beyond, (hand,)).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_forearm_goes_on_behind_the_wrist_and_nowhere_else(side: str) -> None:
    hand = HandPose(side, T, np.zeros(45), np.zeros(10))
    palm = T_world_grip(hand)[:3, 3]
    back = (T[:3, 3] - palm) / np.linalg.norm(T[:3, 3] - palm)
    across = np.cross(back, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(back, [0.0, 0.0, 1.0]))
    along = T[:3, 3] + np.outer(np.linspace(0.0, 0.4, 9), back)
    assert near_hands(along, (hand,)).all()
    assert near_hands(along + 0.05 * across, (hand,)).all()
    assert not near_hands(along + 0.3 * across, (hand,)).any()
    assert not near_hands(T[:3, 3] + 0.6 * back[None], (hand,)).any()


def test_without_hands_nothing_is_near() -> None:
    assert not near_hands(np.zeros((3, 3)), ()).any()

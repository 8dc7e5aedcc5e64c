"""Which hand touches which body, as physics finds it."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco

from h2w_ros.condition import Side
from h2w_ros.world.hand_bodies import HAND_PARTS

TOUCH_M = 0.001
"""Surfaces this near touch."""


def touching_bodies(model: mujoco.MjModel, data: mujoco.MjData, sides: Iterable[Side]) -> set[tuple[Side, int]]:
    """Pairs of a hand's side and the root body that the hand or its forearm touches."""
    near = data.contact.geom[data.contact.dist < TOUCH_M]
    roots = model.body_rootid[model.geom_bodyid[near]]
    side_of = {model.body(f"{side}_{part}").id: side for side in sides for part in HAND_PARTS}
    return {(side_of[hand], other) for pair in roots.tolist() for hand, other in (pair, pair[::-1]) if hand in side_of}

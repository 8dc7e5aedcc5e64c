"""How near a predicted picture comes to the goal's: how different they are, and how much of the wanted change is missing."""

from __future__ import annotations

import math

import numpy as np

from h2w_ros.condition import Image
from h2w_ros.picture_distance import differences_by_scale, picture_distance
from h2w_ros.planning.prediction import Future

CHANGE_SCALES = 6
"""From half the size downwards: what is sharp in a goal is blurred in a prediction, and would only be in the way."""


def goal_distance(future: Future) -> float:
    """From the last picture to the goal's [grey levels], averaged over seeds; NaN without a goal."""
    if future.goal is None:
        return math.nan
    return float(np.mean([picture_distance(pictures[-1], future.goal) for pictures in future.pictures]))


def goal_remaining(future: Future) -> float:
    """How much of the wanted change, from the start to the goal, is missing in the last picture, averaged over seeds; NaN without a goal."""
    if future.goal is None:
        return math.nan
    return float(np.mean([missing_change(future.start, pictures[-1], future.goal) for pictures in future.pictures]))


def missing_change(start: Image, end: Image, goal: Image) -> float:
    """What differs from the goal where the goal differs from the start: 0 at the goal, 1 where nothing has changed; averaged over scales.

    Unlike a difference of pictures it cares little about what nobody wants to change, and a thing pushed out of sight gains less.
    NaN where the goal is the start.
    """
    wanted, missing = (
        [np.abs(difference).sum(axis=-1) for difference in differences_by_scale(one, goal, 1 + CHANGE_SCALES)[1:]] for one in (start, end)
    )
    if not wanted[0].any():
        return math.nan
    return float(np.mean([(weight**2 * rest).sum() / (weight**3).sum() for weight, rest in zip(wanted, missing, strict=True)]))

"""How far a picture is from another one, seen sharply and from afar."""

from __future__ import annotations

import math

import cv2
import numpy as np

from h2w_ros.condition import Image
from h2w_ros.planning.prediction import Future

NUM_SCALES = 5


def goal_distance(future: Future) -> float:
    """From the last picture to the goal's [grey levels], averaged over seeds; NaN without a goal."""
    if future.goal is None:
        return math.nan
    return float(np.mean([picture_distance(pictures[-1], future.goal) for pictures in future.pictures]))


def picture_distance(one: Image, other: Image) -> float:
    """Mean absolute difference, averaged over scales each half as large as the one before [grey levels].

    Sharp pictures tell right from almost right; small ones tell near from far, where a displaced thing no longer overlaps itself.
    """
    difference = one.astype(np.float32) - other
    distances = []
    for _ in range(NUM_SCALES):
        distances.append(float(np.abs(difference).mean()))
        difference = cv2.pyrDown(difference)
    return float(np.mean(distances))

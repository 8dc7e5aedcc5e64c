"""How different two pictures are, by one number."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from h2w_ros.condition import Image

DISTANCE_SCALES = 5
COARSE_PX = 160


def picture_distance(one: Image, other: Image) -> float:
    """Mean absolute difference, averaged over scales each half as large as the one before [grey levels].

    Sharp pictures tell right from almost right; small ones tell near from far, where a displaced thing no longer overlaps itself.
    """
    return float(np.mean([np.abs(difference).mean() for difference in differences_by_scale(one, other, DISTANCE_SCALES)]))


def coarse_distance(one: Image, other: Image) -> float:
    """The same of two large pictures, both made small first: what is asked many times a second must cost little."""
    height_px, width_px = one.shape[:2]
    if width_px <= COARSE_PX:
        return picture_distance(one, other)
    size = COARSE_PX, max(1, round(COARSE_PX * height_px / width_px))
    small, small_other = (np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8) for picture in (one, other))
    return picture_distance(small, small_other)


def differences_by_scale(one: Image, other: Image, count: int) -> list[Float32[ndarray, "h w 3"]]:
    """The difference of two pictures, and that at half the size, and so on."""
    differences = [one.astype(np.float32) - other]
    while len(differences) < count:
        differences.append(cv2.pyrDown(differences[-1]))
    return differences

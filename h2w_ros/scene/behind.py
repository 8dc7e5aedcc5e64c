"""What stands behind something in a photo."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Image

RADIUS_PX = 3


def without(photo: Image, hidden: Bool[ndarray, "H W"], behind: Image | None = None) -> Image:
    """The photo where it is not hidden; elsewhere `behind`, or a guess from around it (Telea 2004)."""
    if not hidden.any() or hidden.all():
        return photo
    if behind is not None:
        return np.where(hidden[..., None], behind, photo)
    return cv2.inpaint(photo, hidden.astype(np.uint8), RADIUS_PX, cv2.INPAINT_TELEA)

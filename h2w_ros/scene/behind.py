"""What stands behind something in a photo, and beyond its edges."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from h2w_ros.condition import Image

RADIUS_PX = 3
SURE = 0.25
"""A place of which this share is known tells as much as a wholly known one."""


def without(photo: Image, hidden: Bool[ndarray, "H W"], behind: Image | None = None) -> Image:
    """The photo where it is not hidden; elsewhere `behind`, or a guess from around it (Telea 2004)."""
    if not hidden.any() or hidden.all():
        return photo
    if behind is not None:
        return np.where(hidden[..., None], behind, photo)
    return cv2.inpaint(photo, hidden.astype(np.uint8), RADIUS_PX, cv2.INPAINT_TELEA)


def continued(photo: Image, rows: int, columns: int) -> Image:
    """The photo with so many guessed rows above and below it, and columns beside it.

    They have the colours of what is near, the farther away the more of it: the photo at half the size tells, continued in the same way
    (push-pull, Gortler et al. 1996). Lines that run out of the photo would not, as they seem to where its edge alone is continued.
    """
    framed = cv2.copyMakeBorder(photo, rows, rows, columns, columns, cv2.BORDER_CONSTANT)
    known = cv2.copyMakeBorder(np.ones(photo.shape[:2], np.float32), rows, rows, columns, columns, cv2.BORDER_CONSTANT)
    return np.clip(_pulled(framed.astype(np.float32), known) + 0.5, 0.0, 255.0).astype(np.uint8)


def _pulled(picture: Float32[ndarray, "H W 3"], known: Float32[ndarray, "H W"]) -> Float32[ndarray, "H W 3"]:
    """The picture as far as it is known, 0..1, and what is around on the whole elsewhere."""
    height, width = known.shape
    if known.min() == 1.0 or max(height, width) == 1:
        return picture
    half = (width + 1) // 2, (height + 1) // 2
    told, share = (cv2.resize(cv2.blur(each, (3, 3)), half, interpolation=cv2.INTER_AREA) for each in (picture * known[..., None], known))
    smaller = _pulled(told / np.maximum(share, 1e-6)[..., None], np.minimum(share / SURE, 1.0))
    around = cv2.resize(smaller, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(picture * known[..., None] + around * (1.0 - known[..., None]), np.float32)

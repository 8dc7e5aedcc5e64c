"""A visitor's picture, from bytes that nobody vouches for."""

from __future__ import annotations

import cv2
import numpy as np

from h2w_ros.condition import Image
from h2w_ros.picture_header import claimed_size_px

MAX_BYTES = 12 * 2**20
MAX_PIXELS = 40_000_000
MIN_SIDE_PX = 32
KEPT_PX = 1024
"""Larger pictures are made smaller at once."""


def picture_of_bytes(data: bytes) -> Image:
    """RGB of a JPEG or PNG, at most KEPT_PX wide and high; ValueError with the reason when it can't be used.

    The size is read before anything is decoded: a few bytes may ask for gigabytes.
    """
    width_px, height_px = claimed_size_px(data)
    if width_px * height_px > MAX_PIXELS:
        raise ValueError(f"a picture must have at most {MAX_PIXELS / 1e6:g} megapixels, this one claims {width_px}x{height_px}")
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise ValueError(f"a picture must be at least {MIN_SIDE_PX} pixels wide and high, this one is {width_px}x{height_px}")
    decoded = _decoded(data)
    if decoded is None:
        raise ValueError("the picture is damaged: its beginning is a JPEG or PNG file's, the rest can't be read")
    factor = KEPT_PX / max(decoded.shape[:2])
    if factor < 1.0:
        decoded = cv2.resize(decoded, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(decoded[..., ::-1])


def _decoded(data: bytes) -> Image | None:
    """BGR, upright by its EXIF orientation; None for what OpenCV can't read."""
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if found is None else np.asarray(found, dtype=np.uint8)

"""Where hands and forearms are in a picture, generously: what moves there says nothing about the camera."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.annotate.sighting import PALM, HandSighting, Sightings

# Around the joints, and behind the wrist where the arm is, in sizes of the hand.
MARGIN, ARM = 0.3, 1.5


def hands_mask(sightings: Sightings, width_px: int, height_px: int) -> Bool[ndarray, "H W"]:
    """True where a hand, what it holds, or its forearm may be."""
    mask = np.zeros((height_px, width_px), dtype=np.uint8)
    for sighting in sightings:
        points = _with_arm(sighting)
        if len(points) >= 3:
            hull = cv2.convexHull(points.astype(np.float32)).round().astype(np.int32)
            cv2.fillConvexPoly(mask, hull, 1)
            cv2.polylines(mask, [hull], True, 1, max(round(2.0 * MARGIN * sighting.size_px), 1))
    return mask.astype(bool)


def _with_arm(sighting: HandSighting) -> np.ndarray:
    """The hand's points, and where its forearm goes on."""
    points = sighting.points_px
    seen = points[np.isfinite(points).all(axis=1)]
    palm = points[PALM]
    if not np.isfinite(palm).all():
        return seen
    forward = palm[1:].mean(axis=0) - palm[0]
    length = float(np.linalg.norm(forward))
    return seen if length < 1.0 else np.concatenate([seen, palm[:1] - forward / length * ARM * sighting.size_px])

"""The camera's focal length: the user's, the file's own, or an assumption that is called one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from h2w_ros.annotate.clip import Clip
from h2w_ros.condition import Camera

Source = Literal["user", "file", "camera path", "assumed"]

# A picture on 35 mm film is 36 mm wide and 24 mm high; equivalents are told for its diagonal.
FILM_DIAGONAL_MM = float(np.hypot(36.0, 24.0))
FOCAL_KEYS = ("focal_length.35mm_equivalent", "focallengthin35mmfilm", "focal_length_35mm")
# Phones' main cameras and head cameras see about so much of their longer side.
ASSUMED_VIEW_DEG = 65.0


@dataclass(frozen=True)
class IntrinsicsConfig:
    """What the user knows: fx, fy, cx, cy in pixels of the upright video (corner origin), or the view across its width [deg]; else neither."""

    numbers_px: tuple[float, float, float, float] | None = None
    view_deg: float | None = None

    def __post_init__(self) -> None:
        if self.view_deg is not None and not 5.0 < self.view_deg < 170.0:
            raise ValueError(f"the view across the picture's width must be within 5 and 170 degrees, got {self.view_deg}")
        if self.numbers_px is not None and min(self.numbers_px[:2]) <= 0.0:
            raise ValueError(f"focal lengths must be positive, got {self.numbers_px}")


@dataclass(frozen=True)
class Intrinsics:
    """A clip's camera, and how it is known."""

    camera: Camera
    source: Source


def intrinsics_of(clip: Clip, config: IntrinsicsConfig) -> Intrinsics:
    """The camera of a clip's pictures."""
    width, height = clip.width_px, clip.height_px
    if config.numbers_px is not None:
        return Intrinsics(Camera(width, height, *(clip.source_scale * number for number in config.numbers_px)), "user")
    if config.view_deg is not None:
        return Intrinsics(centred(width, height, 0.5 * width / np.tan(np.radians(config.view_deg) / 2.0)), "user")
    film_mm = film_focal_mm(clip.metadata)
    if film_mm is not None:
        return Intrinsics(centred(width, height, film_mm / FILM_DIAGONAL_MM * float(np.hypot(width, height))), "file")
    return Intrinsics(centred(width, height, 0.5 * max(width, height) / np.tan(np.radians(ASSUMED_VIEW_DEG) / 2.0)), "assumed")


def centred(width_px: int, height_px: int, focal_px: float) -> Camera:
    """A camera that looks through the middle of its picture."""
    return Camera(width_px, height_px, float(focal_px), float(focal_px), width_px / 2.0, height_px / 2.0)


def film_focal_mm(metadata: Mapping[str, str]) -> float | None:
    """The focal length in millimetres of 35 mm film that a video's metadata tell; None when they do not."""
    for key, value in metadata.items():
        if key.lower().endswith(FOCAL_KEYS):
            found = re.match(r"\s*(\d+(?:\.\d+)?)", value)
            if found and 5.0 <= float(found[1]) <= 2000.0:
                return float(found[1])
    return None

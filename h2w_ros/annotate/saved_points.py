"""Hands in a camera's frame as sightings: what the readers of other tools' results share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.sighting import HandSighting, Sightings
from h2w_ros.condition import Camera, Side

MIRROR = np.array([-1.0, 1.0, 1.0])
# Regressors look closer than landmark networks do.
POINT_NOISE, DEPTH_NOISE_M = 0.03, 0.008

Frames = Mapping[int, Sightings]
"""Sightings by the video's frames, in pixels of the clip's pictures."""


def arrays(path: Path, keys: tuple[str, ...]) -> dict[str, ndarray]:
    """Numbers of a .npz by their names; ValueError that names the file and what it lacks."""
    try:
        with np.load(path, allow_pickle=False) as table:
            return {key: np.asarray(table[key], dtype=np.float64) for key in keys}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npz with the numbers {', '.join(keys)}: {error}") from error


def sighting_of(side: Side, points_camera: Float[ndarray, "21 3"], lens: Camera, along_ray: bool) -> HandSighting:
    """The hand whose points stand before this lens [m]."""
    places = points_camera[:, :2] / points_camera[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    shape = points_camera - points_camera.mean(axis=0)
    return HandSighting(side, places, shape, along_ray=along_ray, point_noise=POINT_NOISE, depth_noise_m=DEPTH_NOISE_M)


def lens_at(numbers_px: tuple[float, float, float, float], clip: Clip) -> Camera:
    """fx, fy, cx, cy of a tool's own picture, whose size its middle tells, at the clip's size."""
    fx, fy, cx, cy = numbers_px
    across, down = clip.width_px / (2.0 * cx), clip.height_px / (2.0 * cy)
    return Camera(clip.width_px, clip.height_px, fx * across, fy * down, cx * across, cy * down)


def frame_in(name: str, path: Path) -> int:
    """The last number of a name; ValueError where it has none."""
    digits = "".join(character if character.isdigit() else " " for character in name).split()
    if not digits:
        raise ValueError(f"{path} must be named after its frame's number")
    return int(digits[-1])

"""What the estimators are shown, and where a mask is: shared by who trains them and who asks them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from h2w_ros.camera import unit_rays_camera
from h2w_ros.condition import Camera

CELL_PX = 8
SMALLEST_THING_PX = 24
"""Of what shows less than this, nobody can say where it is."""

Slopes = Float[ndarray, "2 H W"]


def slopes_of(camera: Camera) -> Slopes:
    """x/z and y/z of the ray through every pixel."""
    rays = unit_rays_camera(camera).reshape(camera.height_px, camera.width_px, 3)
    return np.moveaxis(rays[..., :2] / rays[..., 2:], -1, 0)


def with_slopes(pictures: UInt8[ndarray, "n H W 3"], slopes: Slopes) -> Float32[ndarray, "n 5 H W"]:
    """RGB in [-1, 1] and slopes: what the network is shown."""
    colours = np.moveaxis(pictures.astype(np.float32) / 127.5 - 1.0, -1, 1)
    return np.concatenate([colours, np.broadcast_to(slopes, (len(pictures), *slopes.shape))], axis=1).astype(np.float32)


def cell_slopes(slopes: Slopes) -> Float32[ndarray, "2 h w"]:
    """The slopes at the centres of the cells."""
    cells = slopes.reshape(2, slopes.shape[1] // CELL_PX, CELL_PX, slopes.shape[2] // CELL_PX, CELL_PX)
    return cells.mean((2, 4)).astype(np.float32)


def mean_place(mask: Bool[ndarray, "H W"]) -> Float32[ndarray, "2"]:
    """The mean pixel of a mask, as shares (x, y) of width and height; nan where too little of it is seen."""
    if mask.sum() < SMALLEST_THING_PX:
        return np.full(2, np.nan, np.float32)
    v, u = np.nonzero(mask)
    return np.array([(u.mean() + 0.5) / mask.shape[1], (v.mean() + 0.5) / mask.shape[0]], np.float32)

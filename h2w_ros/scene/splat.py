"""Points drawn as small discs that face the camera, what is in front hiding what is behind.

Two passes over every pixel that a disc covers: the first finds how far away the front surface is, the second averages all
points of that surface by their distance from the pixel's centre (after Zwicker et al., Surface Splatting, 2001), so that a
cloud finer than the picture does not flicker. Pixels that no disc covers stay holes.

Legend: n points, P pairs of a point and a pixel that it covers.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray

from h2w_ros.condition import Camera
from h2w_ros.scene.view import NEAREST_M, SceneView

SMALLEST_PX = 0.55
"""Discs cover at least the pixel that they fall into."""
LARGEST_SHARE = 0.1
"""Discs right before the camera end at this share of the picture's width."""
SHARPNESS = -3.0
"""Weights fall with the exponential of this, times the square of the distance in radii: where discs overlap, the nearest counts."""
SURFACE_SHARE = 0.01
"""What lies behind the front by less than this share of its distance, and two radii, belongs to the same surface."""


def splat(points_camera: Float32[ndarray, "n 3"], colors: UInt8[ndarray, "n 3"], radii_m: Float32[ndarray, "n"], camera: Camera) -> SceneView:
    """The points, given in the optical frame [m], as this camera sees them."""
    u, v, radii_px = _projected(points_camera, radii_m, camera)
    in_view = np.flatnonzero(_is_in_view(points_camera[:, 2], u, v, radii_px, camera))
    u, v, radii_px, depth, colors, radii_m = (column[in_view] for column in (u, v, radii_px, points_camera[:, 2], colors, radii_m))
    points, x, y = _covered(u, v, radii_px, camera)
    off = ((x + np.float32(0.5) - u[points]) ** 2 + (y + np.float32(0.5) - v[points]) ** 2) / radii_px[points] ** 2
    pixels = y * np.int32(camera.width_px) + x
    on_disc = np.flatnonzero(off <= np.maximum(1.0, 0.5 / radii_px[points] ** 2))  # small ones keep the pixel that they fall into
    points, pixels, off = points[on_disc], pixels[on_disc], off[on_disc]
    front = _front(pixels, depth[points], camera)
    on_surface = np.flatnonzero(depth[points] <= front[pixels] + 2 * radii_m[points])
    points, pixels, off = points[on_surface], pixels[on_surface], off[on_surface]
    # Finer measurements of the same place count more; discs end where their weight has fallen to a few percent.
    weights = np.exp(SHARPNESS * off) / radii_m[points] ** 2
    return _averaged(pixels, weights, colors[points], camera)


def _projected(points: Float32[ndarray, "n 3"], radii_m: Float32[ndarray, "n"], camera: Camera) -> tuple[ndarray, ndarray, ndarray]:
    """Middles and radii of the discs [px]."""
    near = np.maximum(points[:, 2], np.float32(NEAREST_M))
    u, v = (points[:, axis] / near * np.float32(f) + np.float32(c) for axis, (f, c) in enumerate(((camera.fx, camera.cx), (camera.fy, camera.cy))))
    radii_px = radii_m / near * np.float32(max(camera.fx, camera.fy))
    return u, v, radii_px.clip(SMALLEST_PX, max(1.0, LARGEST_SHARE * camera.width_px))


def _is_in_view(depth: ndarray, u: ndarray, v: ndarray, radii_px: ndarray, camera: Camera) -> ndarray:
    inside = (u > -radii_px) & (u < camera.width_px + radii_px) & (v > -radii_px) & (v < camera.height_px + radii_px)
    return inside & (depth > NEAREST_M)


def _covered(u: ndarray, v: ndarray, radii_px: ndarray, camera: Camera) -> tuple[Int32[ndarray, "P"], Int32[ndarray, "P"], Int32[ndarray, "P"]]:
    """Every pixel whose centre lies in the square around a disc: the point, column and row."""
    left, columns = _range(u, radii_px, camera.width_px)
    top, rows = _range(v, radii_px, camera.height_px)
    counts = columns * rows
    points = np.repeat(np.arange(len(u), dtype=np.int32), counts)
    place = np.arange(len(points), dtype=np.int32) - np.repeat((np.cumsum(counts) - counts).astype(np.int32), counts)
    row, column = np.divmod(place, columns[points])
    return points, left[points] + column, top[points] + row


def _range(middles: ndarray, radii_px: ndarray, size_px: int) -> tuple[Int32[ndarray, "n"], Int32[ndarray, "n"]]:
    """First pixel and number of pixels within the radius, along one axis, cut at the picture's edges."""
    first = np.ceil(middles - radii_px - np.float32(0.5)).clip(0, size_px).astype(np.int32)
    last = np.floor(middles + radii_px - np.float32(0.5)).clip(-1, size_px - 1).astype(np.int32)
    return first, np.maximum(last - first + 1, 0)


def _front(pixels: Int32[ndarray, "P"], depth: Float32[ndarray, "P"], camera: Camera) -> Float32[ndarray, "hw"]:
    """How far away the front surface reaches at every pixel; inf where there is none."""
    front = np.full(camera.height_px * camera.width_px, np.inf, np.float32)
    np.minimum.at(front, pixels, depth)
    return front * np.float32(1.0 + SURFACE_SHARE)


def _averaged(pixels: ndarray, weights: ndarray, colors: UInt8[ndarray, "P 3"], camera: Camera) -> SceneView:
    size, shape = camera.height_px * camera.width_px, (camera.height_px, camera.width_px)
    total = np.bincount(pixels, weights, size)
    channels = [np.bincount(pixels, weights * colors[:, channel], size) for channel in range(3)]
    known = total > 0
    picture = np.stack(channels, axis=-1) / np.where(known, total, 1.0)[:, None]
    return SceneView(picture.round().astype(np.uint8).reshape(*shape, 3), known.reshape(shape))

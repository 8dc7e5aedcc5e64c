"""What a depth image says about surfaces: one point a pixel, where the measurement can be believed."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from h2w_ros.camera import unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, apply
from h2w_ros.scene.points import Points

DepthMap = Float32[ndarray, "H W"]
"""How far along the optical axis each pixel's surface is [m]; 0 where nothing was measured."""

PLAUSIBLE_M = (0.05, 50.0)
"""Between these lies the median of every scene that a head camera looks at: beyond, the unit is wrong."""
EDGE_SHARE = 0.015
"""A pixel that lies this share of its depth behind the middle of its neighbours is beside an edge."""
STEEPEST = 3.0
"""A surface seen edge-on gets discs this many times larger than one seen from the front."""
COVERING = 0.75
"""Of the way from pixel to pixel: the radius that leaves no gap between four of them."""


def check_depth(depth_m: Float32[ndarray, "*any"]) -> None:
    """ValueError when a depth image measures nothing, or cannot be in metres."""
    measured = depth_m[depth_m > 0.0]
    if not len(measured):
        raise ValueError("depth must be measured somewhere, got holes only: is the sensor covered, or nearer than it can measure?")
    median_m, (low, high) = float(np.median(measured)), PLAUSIBLE_M
    if not low <= median_m <= high:
        rule = "16UC1 must be in millimetres and 32FC1 in metres (REP 118)"
        raise ValueError(f"depth has a median of {median_m:.4g} m, which no head camera sees ({low} to {high} m): {rule}")


def points_of(depth_m: DepthMap, camera: Camera, T_world_camera: Transform) -> Float32[ndarray, "H W 3"]:
    """What every pixel shows, in the world [m]; where nothing was measured, the camera itself."""
    rays = unit_rays_camera(camera)
    at_depth_one = (rays / rays[:, 2:]).reshape(*depth_m.shape, 3)
    return apply(T_world_camera, at_depth_one * depth_m[..., None]).astype(np.float32)


def surface_points(
    image: Image, depth_m: DepthMap, camera: Camera, T_world_camera: Transform, usable: Bool[ndarray, "H W"] | None = None
) -> Points | None:
    """A point in the middle of every usable pixel's surface that is one; None where there is none. All pictures are of the camera's size.

    Pixels right behind an edge are left out: their colors are mixed with what stands before them, and sensors measure something between.
    """
    shown = depth_m > 0.0 if usable is None else usable & (depth_m > 0.0)
    leap = _leap(depth_m)
    shown &= leap <= EDGE_SHARE
    if not shown.any():
        return None
    points_world = points_of(depth_m, camera, T_world_camera)[shown]
    return Points(points_world, image[shown], _radii(depth_m, camera, leap)[shown])


def _leap(depth_m: DepthMap) -> DepthMap:
    """How far each pixel lies behind the middle of two neighbours (before it: negative), as a share of its depth; the larger of both axes.

    On a plane 1/depth is linear over the picture, however steep it is, and nothing leaps.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth_m > 0.0, 1.0 / depth_m, 0.0)
        padded = np.pad(inverse, 1)
        pairs = ((padded[1:-1, :-2], padded[1:-1, 2:]), (padded[:-2, 1:-1], padded[2:, 1:-1]))
        across, down = (0.5 * sum(np.where(one > 0.0, one, inverse) for one in pair) / inverse - 1.0 for pair in pairs)
    return np.where(np.abs(across) > np.abs(down), across, down).astype(np.float32)


def _radii(depth_m: DepthMap, camera: Camera, leap: DepthMap) -> DepthMap:
    """Radii of discs that reach the neighbouring pixels' on the same surface [m]; at edges, as if seen from the front."""
    pixel_m = depth_m / np.float32(min(camera.fx, camera.fy))
    slope = np.where(np.abs(leap) > EDGE_SHARE, np.float32(0.0), _step(depth_m))
    return np.float32(COVERING) * np.sqrt(pixel_m**2 + slope**2).clip(0.0, STEEPEST * pixel_m)


def _step(depth_m: DepthMap) -> DepthMap:
    """How far in depth the next pixel is, along the axis on which it changes more; on each axis towards the nearer side."""
    measured = np.where(depth_m > 0.0, depth_m, np.float32(np.nan))
    padded = cv2.copyMakeBorder(measured, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=float("nan"))
    across, down = (
        np.fmin(np.abs(measured - one), np.abs(measured - other))
        for one, other in ((padded[1:-1, :-2], padded[1:-1, 2:]), (padded[:-2, 1:-1], padded[2:, 1:-1]))
    )
    return np.nan_to_num(np.fmax(across, down), nan=0.0).astype(np.float32)

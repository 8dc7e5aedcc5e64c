"""From points in a picture and the hand's own shape to where the hand stands before the camera.

A single camera does not see how far away a hand is; the size of the hand says it. The shape that detectors give is brought to
the model's size, turned into the ray to the hand where it was seen along that ray, and shifted until it falls on its points.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.sighting import HandSighting
from h2w_ros.condition import Camera
from h2w_ros.geometry import rotation_from_axis_angle
from h2w_ros.hands.skeleton import HandSkeleton

NEAREST_M = 0.05
LEAST_POINTS = 6


def ray_to(camera: Camera, point_px: Float[ndarray, "2"]) -> Float[ndarray, "3"]:
    """Unit direction in the camera's frame through a point of the picture (corner origin)."""
    direction = np.array([(point_px[0] - camera.cx) / camera.fx, (point_px[1] - camera.cy) / camera.fy, 1.0])
    return direction / np.linalg.norm(direction)


def turn_to_ray(ray: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """The shortest rotation that takes the optical axis to a ray."""
    axis = np.array([-ray[1], ray[0], 0.0])  # (0, 0, 1) x ray
    sine = float(np.linalg.norm(axis))
    return np.eye(3) if sine < 1e-9 else rotation_from_axis_angle(axis / sine * np.arctan2(sine, ray[2]))


def shape_camera(sighting: HandSighting, camera: Camera, scale: float) -> Float[ndarray, "21 3"]:
    """The hand's shape in the camera's axes, `scale` times as large as the detector said, about any origin."""
    points = scale * sighting.points_hand_m
    return points @ turn_to_ray(ray_to(camera, np.nanmean(sighting.points_px, axis=0))).T if sighting.along_ray else points


def lifted(sighting: HandSighting, camera: Camera, scale: float) -> HandSkeleton | None:
    """The hand before the camera, in the camera's frame; None when too few points are known, or no place there puts it on them."""
    shape = shape_camera(sighting, camera, scale)
    is_seen = np.isfinite(shape).all(axis=1) & np.isfinite(sighting.points_px).all(axis=1)
    if is_seen.sum() < LEAST_POINTS:
        return None
    origin = _origin_camera(shape[is_seen], sighting.points_px[is_seen], camera)
    if float((shape[is_seen] + origin)[:, 2].min()) < NEAREST_M:
        return None
    return HandSkeleton(sighting.side, shape + origin, is_seen.astype(float), confidence=sighting.confidence)


def _origin_camera(shape: Float[ndarray, "n 3"], points_px: Float[ndarray, "n 2"], camera: Camera) -> Float[ndarray, "3"]:
    """The shift of least squares: u = fx (X + tx) / (Z + tz) + cx is linear in t once multiplied by its denominator."""
    slopes = (points_px - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    rows = np.zeros((len(shape), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[:, :, 2] = -slopes
    targets = slopes * shape[:, 2:] - shape[:, :2]
    origin: ndarray = np.linalg.lstsq(rows.reshape(-1, 3), targets.ravel(), rcond=None)[0]
    return origin

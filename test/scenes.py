"""Scenes that tests build and look at."""

from __future__ import annotations

import numpy as np

from h2w_ros.camera import unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, look_at, transform
from h2w_ros.scene.mesh import Mesh

CAMERA = Camera(96, 72, 80.0, 82.0, 49.0, 35.0)
UP = np.array([0.0, 0.0, 1.0])
FACING = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""A level camera that looks along the world's y axis."""


def head(x: float = 0.0, y: float = -0.45, z: float = 0.4) -> Transform:
    """A camera above a table at height zero."""
    return look_at(np.array([x, y, z]), np.array([0.0, 0.0, 0.0]), UP)


def level(x: float = 0.0) -> Transform:
    return transform(FACING, np.array([x, 0.0, 0.0]))


def pattern(points: np.ndarray) -> np.ndarray:
    """A smooth color of every point of the table (x, y), so that pictures of it can be compared."""
    x, y = points[..., 0], points[..., 1]
    return (127.5 + 100 * np.stack([np.sin(9 * x), np.sin(8 * y + 1), np.sin(6 * (x + y))], -1)).round().astype(np.uint8)


def table_depth(T_world_camera: Transform, camera: Camera = CAMERA) -> np.ndarray:
    """What a depth camera measures of an endless table at height zero; 0 where it sees over it."""
    rays = unit_rays_camera(camera)
    slope = (rays / rays[:, 2:]) @ T_world_camera[2, :3]
    with np.errstate(divide="ignore"):
        depth = np.where(slope < -1e-3, -T_world_camera[2, 3] / slope, 0.0)
    return depth.reshape(camera.height_px, camera.width_px).astype(np.float32)


def table_picture(T_world_camera: Transform, camera: Camera = CAMERA) -> Image:
    """What the camera sees of that table; where it sees over it, black."""
    depth = table_depth(T_world_camera, camera)
    rays = unit_rays_camera(camera)
    points = (rays / rays[:, 2:]).reshape(*depth.shape, 3) * depth[..., None] @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    return np.where(depth[..., None] > 0, pattern(points), 0).astype(np.uint8)


def square(y: float, half: float, color: tuple[int, int, int]) -> Mesh:
    """An upright square across the y axis."""
    corners = np.array([[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(corners, faces, np.tile(np.uint8(color), (4, 1)), np.zeros((4, 2), np.float32), np.full(2, -1, np.int32))

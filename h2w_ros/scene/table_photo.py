"""The plainest static scene: one photo, laid on the table it shows.

A robot knows how high its table is, and odometry's z axis points up; that is enough to say what the untouched table will
look like after the head has moved. Rays that miss the table within reach meet the photo standing upright at that
distance. What the photo does not show has the colours of what is near it, so it is a guess for the generator to build on,
not a surface for anyone to trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, invert
from h2w_ros.scene.behind import continued

REACH_M = 1.3
NEAREST_M = 0.01
FARTHEST_PX = 1e4
BESIDE = 0.5
"""How far beyond its edges a photo is continued, in its heights and widths; farther away, its edge goes on."""


@dataclass(frozen=True, eq=False)
class TablePhoto:
    """A photo, where it was taken, and the height of the table in a world whose z axis points up [m]."""

    photo: Image
    camera: Camera
    T_world_camera: Transform
    table_height_m: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.table_height_m):
            raise ValueError(f"table_height_m must be finite: the table's height in a world whose z axis points up, got {self.table_height_m}")

    def render(self, camera: Camera, T_world_camera: Transform) -> Image:
        """The untouched scene from another camera, as far as the photo tells."""
        points, (rows_beside, columns_beside) = self._where_rays_end(camera, T_world_camera), self._beside
        T_photo_world = invert(self.T_world_camera)
        points_photo = points @ T_photo_world[:3, :3].T.astype(np.float32) + T_photo_world[:3, 3].astype(np.float32)
        depth = np.maximum(points_photo[:, 2], NEAREST_M)
        centres = ((self.camera.fx, self.camera.cx), (self.camera.fy, self.camera.cy))
        x, y = (points_photo[:, axis] / depth * np.float32(focal) + np.float32(centre - 0.5) for axis, (focal, centre) in enumerate(centres))
        columns, rows = (axis.clip(-FARTHEST_PX, FARTHEST_PX).reshape(camera.height_px, camera.width_px) for axis in (x, y))
        return cv2.remap(self._continued, columns + columns_beside, rows + rows_beside, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @cached_property
    def _continued(self) -> Image:
        """The photo and what may be beside it."""
        return continued(self.photo, *self._beside)

    @property
    def _beside(self) -> tuple[int, int]:
        """Rows and columns of the photo that are guessed on each side."""
        height, width, _ = self.photo.shape
        return round(BESIDE * height), round(BESIDE * width)

    def _where_rays_end(self, camera: Camera, T_world_camera: Transform) -> Float[ndarray, "HW 3"]:
        """For every pixel, row by row: where its ray meets the table, or the point at reach when it meets none before."""
        eye = T_world_camera[:3, 3].astype(np.float32)
        rays = unit_rays_camera(camera) @ T_world_camera[:3, :3].T.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (np.float32(self.table_height_m) - eye[2]) / rays[:, 2]
        meets = (distance > 0) & (distance < REACH_M)
        return eye + rays * np.where(meets, distance, REACH_M)[:, None]

"""Depth images of a camera that moves, fused into one bounded cloud of coloured points.

The cloud lives in a hashed grid: a cell keeps the average of the points that fell into it. What was measured from afar lies in
larger cells (twice, four times the side), so that the cloud is as fine as it was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.scene.depth import DepthMap, check_depth, surface_points
from h2w_ros.scene.points import Points
from h2w_ros.scene.view import NEAREST_M
from h2w_ros.scene.voxels import COVERING, MAX_LEVEL, Sums, cell_keys, levels_for, sides_of

MEMORY = 20.0
"""A cell's past counts at most so many measurements."""
SEEN_THROUGH_M = 0.02
SEEN_THROUGH_SHARE = 0.03
"""What lies before the measured surface by more than this and this share of its depth is not there any more."""


@dataclass(frozen=True)
class FusionConfig:
    """How fine the cloud is, what is believed, and how much is kept."""

    cell_m: float = field(default=0.004, metadata={"help": "side of the finest cells: the cloud's detail [m]", "range": (0.001, 0.5)})
    min_depth_m: float = field(default=0.1, metadata={"help": "what is measured nearer is left out [m]", "range": (0.01, 10.0)})
    max_depth_m: float = field(default=4.0, metadata={"help": "what is measured farther away is left out [m]", "range": (0.1, 50.0)})
    max_points: int = field(default=300_000, metadata={"help": "with more points, cells become twice as large", "range": (1000, 10**8)})
    forgets: bool = field(default=True, metadata={"help": "points that the camera now sees through are taken away: things that were moved"})

    def __post_init__(self) -> None:
        for name in ("cell_m", "min_depth_m", "max_depth_m", "max_points"):
            low, high = self.__dataclass_fields__[name].metadata["range"]
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")
        if self.min_depth_m >= self.max_depth_m:
            raise ValueError(f"min_depth_m must be less than max_depth_m, got {self.min_depth_m} and {self.max_depth_m}")


class Fusion:
    """Takes depth images and points one by one; gives the scene as it is known by then."""

    def __init__(self, config: FusionConfig | None = None) -> None:
        self.config = config or FusionConfig()
        self._cell_m = self.config.cell_m
        self._cells = Sums.empty()
        self.num_fused = 0

    def __len__(self) -> int:
        return len(self._cells)

    def add_depth(
        self, image: Image, depth_m: DepthMap, camera: Camera, T_world_camera: Transform, hidden: Bool[ndarray, "H W"] | None = None
    ) -> int:
        """Fuses one depth image with its picture, both of the camera's size; returns how many points it gave.

        `hidden`: pixels that are no part of the scene, such as hands. ValueError when the depth cannot be in metres, or measures nothing.
        """
        for name, shape in (("image", image.shape[:2]), ("depth", depth_m.shape)):
            if shape != (camera.height_px, camera.width_px):
                raise ValueError(f"{name} must be {camera.width_px}x{camera.height_px} px like its camera, got {shape[1]}x{shape[0]}")
        check_depth(depth_m)
        usable = (depth_m >= self.config.min_depth_m) & (depth_m <= self.config.max_depth_m)
        if hidden is not None:
            usable &= ~hidden
        if self.config.forgets:
            self._forget_seen_through(np.where(usable, depth_m, np.float32(0.0)), camera, T_world_camera)
        points = surface_points(image, depth_m, camera, T_world_camera, usable)
        return 0 if points is None else self.add_points(points)

    def add_points(self, points: Points) -> int:
        """Fuses points in the world's frame; returns how many."""
        levels = levels_for(points.radii_m, self._cell_m)
        keys = cell_keys(points.points_world, self._cell_m, levels)
        self._cells = self._cells.plus(Sums.of(keys, points.points_world, points.colors, points.radii_m), MEMORY)
        self.num_fused += 1
        while len(self._cells) > self.config.max_points and self._cell_m < self.config.cell_m * 2.0**MAX_LEVEL:
            self._coarsen()
        return len(points)

    def scene(self) -> Points | None:
        """The points that are known by now; None before there are any."""
        if not len(self._cells):
            return None
        middles, colors, radii_m = self._cells.means()
        covering = np.float32(COVERING) * sides_of(self._cells.keys, self._cell_m)
        return Points(middles, colors.round().clip(0, 255).astype(np.uint8), np.maximum(radii_m, covering))

    def _coarsen(self) -> None:
        """Sorts everything into cells of twice the side."""
        self._cell_m *= 2.0
        middles, _, radii_m = self._cells.means()
        keys = cell_keys(middles, self._cell_m, levels_for(radii_m, self._cell_m))
        unique, cell = np.unique(keys, return_inverse=True)
        sums = np.stack([np.bincount(cell, column, len(unique)) for column in self._cells.sums.T], axis=1)
        self._cells = Sums(unique, sums.astype(np.float32))

    def _forget_seen_through(self, depth_m: DepthMap, camera: Camera, T_world_camera: Transform) -> None:
        """Takes away what would hide a surface that is measured behind it; holes and hidden pixels say nothing."""
        if not len(self._cells):
            return
        x, y, z = apply(invert(T_world_camera), self._cells.means()[0]).T
        near = np.maximum(z, NEAREST_M)
        column, row = np.floor(x / near * camera.fx + camera.cx), np.floor(y / near * camera.fy + camera.cy)
        inside = (z > NEAREST_M) & (column >= 0) & (column < camera.width_px) & (row >= 0) & (row < camera.height_px)
        # The nearest of the surfaces around a pixel: what stands at an edge is not seen through.
        behind = cv2.erode(np.asarray(depth_m), np.ones((3, 3), np.uint8))
        measured = np.zeros(len(z))
        measured[inside] = behind[row[inside].astype(np.int64), column[inside].astype(np.int64)]
        self._cells = self._cells.kept(measured - z <= np.maximum(SEEN_THROUGH_M, SEEN_THROUGH_SHARE * measured))

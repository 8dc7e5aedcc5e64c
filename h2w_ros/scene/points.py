"""A static scene as coloured points, each with the radius of the surface that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from scipy.spatial import cKDTree

from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.scene.splat import splat
from h2w_ros.scene.view import NEAREST_M, SceneView
from h2w_ros.scene.voxels import Sums, cell_keys

NEIGHBOURS = 4
COVERING = 0.75
"""Discs of this share of the spacing leave no gaps in a square grid (half its diagonal is 0.71)."""
LONELY = 3.0
"""Points that stand this many times farther apart than most get no larger discs for it: between them nothing is known."""
PIXELS_A_CELL = 1.5
"""Clouds are drawn with as many pixels a point, along a side, where the scene is nearest: finer ones cost time, and show no more."""
NUM_LEVELS = 5
SAMPLE = 2000
FEW = 300


@dataclass(frozen=True, eq=False)
class Points:
    """n points of surfaces [m], in the world's frame."""

    points_world: Float32[ndarray, "n 3"]
    colors: UInt8[ndarray, "n 3"]
    radii_m: Float32[ndarray, "n"]

    def __post_init__(self) -> None:
        count = len(self.points_world)
        if not count or self.colors.shape != (count, 3) or self.radii_m.shape != (count,):
            shapes = f"{self.points_world.shape}, {self.colors.shape} and {self.radii_m.shape}"
            raise ValueError(f"a scene of points must hold at least one point, and a color and a radius for each, got {shapes}")
        if not np.isfinite(self.points_world).all() or not (self.radii_m > 0).all() or not np.isfinite(self.radii_m).all():
            raise ValueError("points of a scene must be finite and their radii positive; leave out those that are not")

    def __len__(self) -> int:
        return len(self.points_world)

    def render(self, camera: Camera, T_world_camera: Transform) -> SceneView:
        """What this camera sees of the points; a cloud that is much finer than the picture is drawn from a coarser one."""
        points = self._coarse_enough(camera, T_world_camera)
        T_camera_world = invert(T_world_camera).astype(np.float32)
        return splat(apply(T_camera_world, points.points_world), points.colors, points.radii_m, camera)

    def part(self, wanted: Bool[ndarray, "n"]) -> Points:
        """Some of the points, at least one."""
        return Points(self.points_world[wanted], self.colors[wanted], self.radii_m[wanted])

    def moved(self, T_new_world: Transform) -> Points:
        """The same points in another frame."""
        return Points(apply(T_new_world, self.points_world).astype(np.float32), self.colors, self.radii_m)

    def merged(self, cell_m: float) -> Points:
        """At most one point in every cell of this side [m]."""
        cells = Sums.of(cell_keys(self.points_world, cell_m), self.points_world, self.colors, self.radii_m)
        middles, colors, radii_m = cells.means()
        return Points(middles, colors.round().astype(np.uint8), np.maximum(radii_m, np.float32(cell_m)))

    def _coarse_enough(self, camera: Camera, T_world_camera: Transform) -> Points:
        """The coarsest of the kept clouds whose cells are still about as small as the pixels of the nearest places."""
        pixel_m = self._nearest_m(T_world_camera) / max(camera.fx, camera.fy)
        return next((level for cell_m, level in reversed(self._levels) if cell_m <= PIXELS_A_CELL * pixel_m), self)

    def _nearest_m(self, T_world_camera: Transform) -> float:
        """How far away the nearest twentieth of what lies before the camera begins."""
        sample = self.points_world[:: max(1, len(self) // SAMPLE)]
        depth = (sample - T_world_camera[:3, 3].astype(np.float32)) @ T_world_camera[:3, 2].astype(np.float32)
        before = depth[depth > NEAREST_M]
        return float(np.quantile(before, 0.05)) if len(before) else np.inf

    @cached_property
    def _levels(self) -> list[tuple[float, Points]]:
        """Coarser clouds, each of twice the cell; made when the scene is first drawn."""
        cell_m = 2.0 * float(np.median(self.radii_m))
        levels: list[tuple[float, Points]] = []
        for _ in range(NUM_LEVELS):
            finer = levels[-1][1] if levels else self
            levels.append((cell_m, finer.merged(cell_m)))
            cell_m *= 2.0
        return levels


def radii_of(points: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n"]:
    """Radii with which points of an even spacing cover their surface [m]; ValueError for fewer than five points."""
    if len(points) <= NEIGHBOURS:
        raise ValueError(f"points without radii must number more than {NEIGHBOURS}, to tell their spacing from one another, got {len(points)}")
    distances: ndarray = cKDTree(points).query(points, k=NEIGHBOURS + 1)[0]
    spacing = distances[:, NEIGHBOURS]
    typical = float(np.median(spacing))
    if not typical > 0.0:
        raise ValueError(f"points without radii must lie apart, most of them have {NEIGHBOURS} others at the same place")
    return (COVERING * spacing.clip(0.1 * typical, LONELY * typical)).astype(np.float32)


def radii_of_view(points_camera: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n"]:
    """Radii for points that one camera measured, in its frame [m]: their spacing grows with their distance, and a few of them tell how.

    ValueError for fewer than five points.
    """
    if len(points_camera) <= NEIGHBOURS:
        raise ValueError(f"a cloud must have more than {NEIGHBOURS} points, to tell their spacing from one another, got {len(points_camera)}")
    distance = np.linalg.norm(points_camera, axis=1)
    few = slice(None, None, max(1, len(points_camera) // FEW))
    tree = cKDTree(points_camera, leafsize=64, balanced_tree=False, compact_nodes=False)
    spacing: ndarray = tree.query(points_camera[few], k=NEIGHBOURS + 1)[0][:, NEIGHBOURS]
    a_metre = float(np.median(spacing / np.maximum(distance[few], NEAREST_M)))
    if not a_metre > 0.0:
        raise ValueError(f"points of a cloud must lie apart, most of them have {NEIGHBOURS} others at the same place")
    return (COVERING * a_metre * np.maximum(distance, NEAREST_M)).astype(np.float32)

"""How a camera has moved since a picture whose depth is known, told by every pixel of both: direct alignment, from coarse to fine.

Least squares over brightness (Lucas and Kanade 1981; for a camera in space Kerl, Sturm and Cremers 2013), which what moves by itself, such as
hands, things and shadows, cannot bend (Cauchy weights). It finds what is near where it begins, and so it begins more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

from h2w_ros.camera import project
from h2w_ros.condition import Camera, Image
from h2w_ros.evaluation.camera_motion import NEAREST_M, PRIOR, moved_by
from h2w_ros.geometry import Transform, axis_angle_from_rotation

BLURS_PX, STRIDES_PX = (3.0, 1.2), (3, 2)
"""Of each level, coarse to fine: how far pictures are blurred, and how far apart the compared pixels are."""
ITERATIONS = 8
SMALLEST_STEP = 1e-4
STRAY = 2.0
"""Difference of brightness, of 255, from which a pixel counts less."""
CORRELATED = 30.0
"""So many neighbouring pixels tell about as much as one would alone."""
UNSEEN = float(np.log1p(2.0))
"""What a pixel costs that the other picture does not show."""
HIDDEN = 1e3
"""Brightness of what hides the scene: far from any."""


@dataclass(frozen=True, eq=False)
class Sight:
    """One picture as alignment sees it: on every level the blurred brightness and its slopes along x and y."""

    camera: Camera
    levels: list[Float32[ndarray, "H W 3"]]

    @classmethod
    def of(cls, picture: Image, camera: Camera, hidden: Bool[ndarray, "H W"]) -> Sight:
        """Of a picture of the camera's size; `hidden` is where something hides the scene."""
        grey, levels = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), []
        for blur_px in BLURS_PX:
            soft = cv2.GaussianBlur(grey, (0, 0), blur_px)
            slopes = [cv2.Sobel(soft, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))]
            levels.append(cv2.merge([np.where(hidden, np.float32(HIDDEN), soft), *slopes]))
        return cls(camera, levels)


class KnownDepth:
    """A picture whose depth is known, against which others are aligned."""

    def __init__(self, sight: Sight, depth_m: Float[ndarray, "H W"], hidden: Bool[ndarray, "H W"]) -> None:
        camera = sight.camera
        rows, columns = np.indices(depth_m.shape)
        self._levels = []
        for level, stride, blur_px in zip(sight.levels, STRIDES_PX, BLURS_PX, strict=True):
            used = ~hidden & (rows % stride == stride // 2) & (columns % stride == stride // 2)
            depth = depth_m[used].astype(np.float64)
            x, y = (columns[used] + 0.5 - camera.cx) / camera.fx, (rows[used] + 0.5 - camera.cy) / camera.fy
            self._levels.append(_Level(np.stack([x * depth, y * depth, depth], axis=-1), level[used, 0], blur_px / CORRELATED))

    def aligned(self, other: Sight, starts: Sequence[Transform]) -> Transform:
        """T_other_this: what is found from the best of where one starts; where everything is hidden, where one starts first."""
        if not all(len(level.points) for level in self._levels):
            return starts[0]
        (level, shown), *finer = zip(self._levels, other.levels, strict=True)
        found = [level.improved(shown, other.camera, start) for start in starts]
        best = min(range(len(found)), key=lambda i: level.cost(shown, other.camera, found[i]))
        T_other_this = found[best]
        for level, shown in finer:
            T_other_this = level.improved(shown, other.camera, T_other_this)
        return T_other_this


@dataclass(frozen=True, eq=False)
class _Level:
    """The compared pixels of one level: their points [m] and brightnesses, and what each of them tells beside others."""

    points: Float[ndarray, "n 3"]
    brightness: Float32[ndarray, "n"]
    weight: float

    def improved(self, shown: Float32[ndarray, "H W 3"], camera: Camera, T_other_this: Transform) -> Transform:
        """T_other_this, nearer to where both pictures look alike: Gauss-Newton over turn and way."""
        T, moved = T_other_this, np.concatenate([axis_angle_from_rotation(T_other_this[:3, :3]), T_other_this[:3, 3]])
        for _ in range(ITERATIONS):
            turned = self.points @ T[:3, :3].T
            points = turned + T[:3, 3]
            wrong, slopes, is_seen = self._differences(shown, camera, points)
            jacobian = _by_motion(slopes * (camera.fx, camera.fy), points, turned)
            weighted = jacobian.T * (self.weight * is_seen / (STRAY**2 + np.square(wrong)))
            step = -np.linalg.solve(weighted @ jacobian + PRIOR, weighted @ wrong + PRIOR @ moved)
            T, moved = moved_by(step, T), moved + step
            if np.abs(step).max() < SMALLEST_STEP:
                break
        return T

    def cost(self, shown: Float32[ndarray, "H W 3"], camera: Camera, T_other_this: Transform) -> float:
        """How little alike both pictures look there."""
        wrong, _, is_seen = self._differences(shown, camera, self.points @ T_other_this[:3, :3].T + T_other_this[:3, 3])
        return float(np.where(is_seen, np.log1p(np.square(wrong / STRAY)), UNSEEN).mean())

    def _differences(
        self, shown: Float32[ndarray, "H W 3"], camera: Camera, points: Float[ndarray, "n 3"]
    ) -> tuple[Float[ndarray, "n"], Float[ndarray, "n 2"], Bool[ndarray, "n"]]:
        """The other picture's brightness at the points less this one's, its slopes there, and whether it shows them."""
        in_front = points[:, 2] > NEAREST_M
        places = project(camera, np.where(in_front[:, None], points, (0.0, 0.0, 1.0))) - 0.5
        is_seen = in_front & ((places > 0) & (places < (camera.width_px - 1, camera.height_px - 1))).all(-1)
        found = cv2.remap(shown, places[:, :1].astype(np.float32), places[:, 1:].astype(np.float32), cv2.INTER_LINEAR)[:, 0].astype(np.float64)
        return found[:, 0] - self.brightness, found[:, 1:], is_seen


def _by_motion(by_slope: Float[ndarray, "n 2"], points: Float[ndarray, "n 3"], turned: Float[ndarray, "n 3"]) -> Float[ndarray, "n 6"]:
    """What changes with the slopes (x/z, y/z) of points [m], by a small turn and way; `turned` are the points before they went that way."""
    depth = np.maximum(points[:, 2:], NEAREST_M)
    sideways = by_slope / depth
    by_point = np.concatenate([sideways, -(sideways * points[:, :2]).sum(1, keepdims=True) / depth], axis=1)
    return np.concatenate([np.cross(turned, by_point), by_point], axis=1)

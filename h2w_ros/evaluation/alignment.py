"""How a camera has moved since a picture whose depth is known, told by the pixels of both: direct alignment, from coarse to fine.

Least squares over brightness (Lucas and Kanade 1981; for a camera in space, and weights that what moves by itself cannot bend, Kerl, Sturm and
Cremers 2013), whose gain and offset are unknown, too: a picture that has become darker has not moved. It finds what is near where it begins.

Shapes: H x W pixels of a picture; n of them are compared.
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
LIKELY_GAIN, LIKELY_OFFSET = 0.2, 20.0
"""Standard deviations of how much brighter a picture is, as a share and of 255."""
PRIORS = np.block([[PRIOR, np.zeros((6, 2))], [np.zeros((2, 6)), np.diag([LIKELY_GAIN**-2, LIKELY_OFFSET**-2])]])
FEWEST = 100
"""Of fewer pixels that both pictures show nothing can be said."""
LEAST_SHOWN = 0.3
"""Share of a blurred pixel that must show the scene."""


@dataclass(frozen=True, eq=False)
class Sight:
    """One picture as alignment sees it; on every level brightness, its slopes along x and y, and 1 where the scene is shown, 0 where it is hidden."""

    camera: Camera
    levels: list[Float32[ndarray, "H W 4"]]

    @classmethod
    def of(cls, picture: Image, camera: Camera, hidden: Bool[ndarray, "H W"]) -> Sight:
        """Of a picture of the camera's size; `hidden` is where something hides the scene, of which nothing is blurred into it."""
        shown = (~hidden).astype(np.float32)
        grey, levels = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) * shown, []
        for blur_px in BLURS_PX:
            share = cv2.GaussianBlur(shown, (0, 0), blur_px)
            soft = cv2.GaussianBlur(grey, (0, 0), blur_px) / np.maximum(share, LEAST_SHOWN)
            slopes = [cv2.Sobel(soft, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))]
            levels.append(cv2.merge([soft, *slopes, shown * (share > LEAST_SHOWN)]))
        return cls(camera, levels)


@dataclass(frozen=True, eq=False)
class _Guess:
    """A motion, the same as turn [rad] and way [m], and gain and offset of the brightness; what speaks against it."""

    T_other_this: Transform
    numbers: Float[ndarray, "8"]
    cost: float = np.inf

    @classmethod
    def at(cls, T: Transform) -> _Guess:
        return cls(T, np.concatenate([axis_angle_from_rotation(T[:3, :3]), T[:3, 3], np.zeros(2)]))

    def after(self, step: Float[ndarray, "8"]) -> _Guess:
        return _Guess(moved_by(step[:6], self.T_other_this), self.numbers + step)


class KnownDepth:
    """A picture whose depth is known, against which others are aligned."""

    def __init__(self, sight: Sight, depth_m: Float[ndarray, "H W"]) -> None:
        levels = zip(sight.levels, STRIDES_PX, BLURS_PX, strict=True)
        self._levels = [_Level(level, depth_m, sight.camera, stride, blur_px) for level, stride, blur_px in levels]

    def aligned(self, other: Sight, starts: Sequence[Transform]) -> Transform:
        """T_other_this: what is found from the best of where one starts. Where too little is shown, that is where one starts first."""
        (coarse, shown), *finer = zip(self._levels, other.levels, strict=True)
        best = min((coarse.improved(shown, other.camera, _Guess.at(start)) for start in starts), key=lambda guess: guess.cost)
        for level, more in finer:
            best = level.improved(more, other.camera, best)
        return best.T_other_this


class _Level:
    """One level's compared pixels: their points [m] and brightnesses, and how much each of them tells beside its neighbours."""

    def __init__(self, level: Float32[ndarray, "H W 4"], depth_m: Float[ndarray, "H W"], camera: Camera, stride: int, blur_px: float) -> None:
        every = np.s_[stride // 2 :: stride, stride // 2 :: stride]
        v, u = (index[every] + 0.5 for index in np.indices(depth_m.shape))
        depth = depth_m[every].astype(np.float64)
        usable = (level[every][..., 3] > 0) & np.isfinite(depth) & (depth > NEAREST_M)
        depth = np.where(usable, depth, 1.0)
        self._size, self._usable = depth.shape, usable.ravel()
        self._points = np.stack([(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth], axis=-1).reshape(-1, 3)
        self._brightness = level[every][..., 0].ravel().astype(np.float64)
        self._weight = min(1.0, stride**2 / (4.0 * np.pi * blur_px**2))  # pixels that were blurred into one another tell the same
        known = self._brightness[self._usable]
        self._unseen = float(_badness(known - np.random.default_rng(0).permutation(known)).mean()) if len(known) else 0.0
        """What a pixel costs that the other picture does not show: as much as one that shows anything."""

    def improved(self, shown: Float32[ndarray, "H W 4"], camera: Camera, guess: _Guess) -> _Guess:
        """The best that Gauss-Newton comes by from this guess."""
        best = _Guess(guess.T_other_this, guess.numbers)
        for _ in range(ITERATIONS):
            turned = self._points @ guess.T_other_this[:3, :3].T
            points = turned + guess.T_other_this[:3, 3]
            found, slopes, is_seen = self._found(shown, camera, points)
            if is_seen.sum() < FEWEST:
                return best
            gain, offset = 1.0 + guess.numbers[6], guess.numbers[7]
            wrong = gain * found + offset - self._brightness
            cost = self._weight * float(np.where(is_seen, _badness(wrong), self._unseen)[self._usable].sum()) + guess.numbers @ PRIORS @ guess.numbers
            if cost < best.cost:
                best = _Guess(guess.T_other_this, guess.numbers, cost)
            by_motion = _by_motion(gain * slopes * (camera.fx, camera.fy), points, turned)
            jacobian = np.concatenate([by_motion, found[:, None], np.ones((len(found), 1))], axis=1)
            weighted = jacobian.T * (self._weight * is_seen / (STRAY**2 + np.square(wrong)))
            step = -np.linalg.solve(weighted @ jacobian + PRIORS, weighted @ wrong + PRIORS @ guess.numbers)
            guess = guess.after(step)
            if np.abs(step).max() < SMALLEST_STEP:
                break
        return best

    def _found(
        self, shown: Float32[ndarray, "H W 4"], camera: Camera, points: Float[ndarray, "n 3"]
    ) -> tuple[Float[ndarray, "n"], Float[ndarray, "n 2"], Bool[ndarray, "n"]]:
        """The other picture's brightness at the points, its slopes there, and whether it shows them."""
        in_front = points[:, 2] > NEAREST_M
        places = (project(camera, np.where(in_front[:, None], points, (0.0, 0.0, 1.0))) - 0.5).astype(np.float32)
        inside = in_front & ((places > 0) & (places < (camera.width_px - 1, camera.height_px - 1))).all(-1)
        u, v = (places[:, axis].reshape(self._size) for axis in (0, 1))
        found = cv2.remap(shown, u, v, cv2.INTER_LINEAR).reshape(-1, 4).astype(np.float64)
        return found[:, 0], found[:, 1:3], self._usable & inside & (found[:, 3] > 0.99)


def _badness(wrong: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """What differences of brightness cost (Cauchy)."""
    return np.log1p(np.square(wrong / STRAY))


def _by_motion(by_slope: Float[ndarray, "n 2"], points: Float[ndarray, "n 3"], turned: Float[ndarray, "n 3"]) -> Float[ndarray, "n 6"]:
    """What changes with the slopes (x/z, y/z) of points [m], by a small turn and way; `turned` are the points before they went that way."""
    depth = np.maximum(points[:, 2:], NEAREST_M)
    sideways = by_slope / depth
    by_point = np.concatenate([sideways, -(sideways * points[:, :2]).sum(1, keepdims=True) / depth], axis=1)
    return np.concatenate([np.cross(turned, by_point), by_point], axis=1)

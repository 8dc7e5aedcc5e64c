"""Asks the estimators about clips: NumPy in, NumPy out, at any picture size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from torch import Tensor

from h2w_ros.camera import Resize
from h2w_ros.condition import Camera, Image
from h2w_ros.evaluation.alignment import KnownDepth, Sight
from h2w_ros.evaluation.camera_motion import solve_motion
from h2w_ros.evaluation.estimator_input import CELL_PX, cell_slopes, slopes_of, with_slopes
from h2w_ros.evaluation.estimator_network import RAY_X, EstimatorConfig, EstimatorNetwork, Seen, mean_place
from h2w_ros.generator.small_files import load_small, save_small
from h2w_ros.geometry import Transform, invert
from h2w_ros.hands.cover import with_margin
from h2w_ros.paths import models_dir

FILE = "estimators.safetensors"
PICTURES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip of T pictures as the estimators saw it; `size_px` is (height, width) of the pictures themselves."""

    seen: Seen
    slopes: Tensor  # (T, 2, h, w) of the cells
    sights: Sequence[Sight]  # T, for alignment
    size_px: tuple[int, int]


class Estimators:
    """The trained network; one thread uses it at a time."""

    def __init__(self, network: EstimatorNetwork) -> None:
        self.config = network.config
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def watch(self, pictures: Sequence[Image], cameras: Sequence[Camera]) -> Watched:
        """Looks at every picture of a clip."""
        resize = Resize(self.config.width_px, self.config.height_px)
        small, views = [resize.picture(picture) for picture in pictures], [resize.camera(camera) for camera in cameras]
        slopes = np.stack([slopes_of(view) for view in views])
        shown = [with_slopes(picture[None], slope) for picture, slope in zip(small, slopes, strict=True)]
        parts = torch.from_numpy(np.concatenate(shown)).contiguous(memory_format=torch.channels_last).split(PICTURES_AT_ONCE)
        seen = [self._looked_at(part) for part in parts]
        together = Seen(*(torch.cat([getattr(part, scale) for part in seen]) for scale in ("quarter", "eighth", "surfaces")))
        cells = torch.from_numpy(np.stack([cell_slopes(slope) for slope in slopes]))
        sights = [Sight.of(picture, view, hidden) for picture, view, hidden in zip(small, views, _hidden(together.surfaces), strict=True)]
        return Watched(together, cells, sights, pictures[0].shape[:2])

    def _looked_at(self, pictures: Float[Tensor, "n 5 H W"]) -> Seen:
        """What is seen; of surfaces, the mean of what the pictures and their mirror images tell."""
        mirrored = pictures.flip(-1)
        mirrored[:, RAY_X] *= -1.0
        seen, twin = self._network(pictures), self._network(mirrored.contiguous(memory_format=torch.channels_last))
        return replace(seen, surfaces=(seen.surfaces + twin.surfaces.flip(-1)) / 2)

    def hand_masks(self, clip: Watched) -> Bool[ndarray, "T H W"]:
        """Pixels that show a hand or forearm."""
        return _sized(clip.seen.surfaces[:, 0], clip.size_px) > 0

    def depth_m(self, clip: Watched) -> Float32[ndarray, "T H W"]:
        """How far along the optical axis what each pixel shows is."""
        return np.exp(_sized(clip.seen.surfaces[:, 1], clip.size_px))

    @torch.inference_mode()
    def places_px(self, shown: Watched, mask: Bool[ndarray, "H W"], searched: Watched) -> Float[ndarray, "T 2"]:
        """Where the thing under the mask of the first picture of `shown` is in every picture of `searched`: its mean pixel, corner origin."""
        cells = cv2.resize(mask.astype(np.float32), tuple(shown.seen.quarter.shape[:1:-1]), interpolation=cv2.INTER_AREA)
        count = len(searched.seen.surfaces)
        known = shown.seen.quarter[:1].expand(count, -1, -1, -1)
        logits = self._network.finder(known, torch.from_numpy(cells)[None, None].expand(count, -1, -1, -1), searched.seen.quarter)
        height_px, width_px = searched.size_px
        return mean_place(logits).double().numpy() * (width_px, height_px)

    @torch.inference_mode()
    def motions(self, start: Watched, clip: Watched) -> list[Transform]:
        """T_start_other: how the camera moved from the first picture of `start` to every picture of the clip.

        Pictures are aligned from where the one before was, and from where cells found again by what they show say it is.
        """
        known = KnownDepth(start.sights[0], np.exp(start.seen.surfaces[0, 1].double().numpy()))
        T_other_start: list[Transform] = [np.eye(4)]
        for sight, guess in zip(clip.sights, self._matched(start, clip), strict=True):
            T_other_start.append(known.aligned(sight, (T_other_start[-1], invert(guess))))
        return [invert(T) for T in T_other_start[1:]]

    def _matched(self, start: Watched, clip: Watched) -> Iterator[Transform]:
        """T_start_other by cells found again; those with hands count less, and strays hardly."""
        slopes, surfaces = start.slopes[0].double().numpy(), F.avg_pool2d(start.seen.surfaces[:1], CELL_PX)[0].double().numpy()
        depth_m = np.exp(surfaces[1])
        points = np.stack([*(slopes * depth_m), depth_m], axis=-1).reshape(-1, 3)
        without_hand = 1.0 / (1.0 + np.exp(surfaces[0].ravel().clip(-30, 30)))
        likely = self._network.matcher(start.seen.eighth[:1].expand_as(clip.seen.eighth), clip.seen.eighth).double().numpy()
        for rows in likely:
            yield solve_motion(points, _sharpened(rows, slopes), without_hand * rows.max(-1))

    @torch.inference_mode()
    def windows(self, clip: Watched, rate_hz: float) -> Float[ndarray, "n f"]:
        """The features of every window of pictures `clip_interval_s` apart, each dimension of unit spread on real pictures."""
        step = max(1, round(self.config.clip_interval_s * rate_hz))
        count = len(clip.seen.surfaces) - step * (self.config.clip_pictures - 1)
        if count < 1:
            return np.zeros((0, self.config.clip_features))
        pictures = [clip.seen.eighth[i * step : i * step + count] for i in range(self.config.clip_pictures)]
        return self._network.clip.standardised(pictures).double().numpy()


def load_estimators(folder: Path | None = None) -> Estimators:
    """The shipped estimators, or those of a folder; FileNotFoundError tells how to make them."""
    return Estimators(load_small((folder or models_dir() / "estimators") / FILE, EstimatorConfig, EstimatorNetwork, "h2w train estimators"))


def save_estimators(folder: Path, network: EstimatorNetwork, training: dict[str, object]) -> Path:
    """Writes weights with their config and what made them; the file's path."""
    return save_small(folder / FILE, network, network.config, training)


def _hidden(surfaces: Tensor) -> list[Bool[ndarray, "H W"]]:
    """Of every picture, where a hand hides the scene, and a little more."""
    return [with_margin(mask) for mask in (surfaces[:, 0] > 0).numpy()]


def _sharpened(likely: Float[ndarray, "hw hw"], slopes: Float[ndarray, "2 h w"]) -> Float[ndarray, "hw 2"]:
    """The mean slopes around the likeliest cell of each row: finer than a cell, and blind to far cells that look alike."""
    h, w = slopes.shape[1:]
    row, column = np.divmod(np.arange(h * w), w)
    best = likely.argmax(-1)
    near = (np.abs(row[best][:, None] - row) <= 1) & (np.abs(column[best][:, None] - column) <= 1)
    weights = likely * near
    return weights @ slopes.reshape(2, -1).T / weights.sum(-1, keepdims=True)


def _sized(maps: Tensor, size_px: tuple[int, int]) -> Float32[ndarray, "T H W"]:
    if tuple(maps.shape[-2:]) == tuple(size_px):
        return maps.numpy()
    return F.interpolate(maps[:, None], size_px, mode="bilinear")[:, 0].numpy()

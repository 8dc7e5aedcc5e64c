"""Rays of many frames at once, made on the device that trains.

A frame's map is one 6 x 3 matrix times the directions of its camera's pixels. Matrices follow from poses alone and are few numbers, so they
are computed once an episode; directions are made anew for every batch, since those of all cameras would fill a memory.

Legend: B clips, F frames, H W picture.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from h2w_ros.camera import plucker_matrix
from h2w_ros.condition import Camera
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rays import RayTrack
from h2w_ros.training.cache import ClipSource


class ClipRays:
    """What a stream that runs through the whole of an episode is told of the camera at any of its frames."""

    def __init__(self, source: ClipSource, model: GeneratorConfig) -> None:
        self._source, self._model = source, model
        self._matrices: dict[int, Tensor] = {}

    def __call__(self, episodes: np.ndarray, index: np.ndarray) -> Float[Tensor, "B 6 F H W"]:
        """The rays of frames `index` (B, F) of `episodes` (B,)."""
        size = self._model.height_px, self._model.width_px
        matrices = torch.stack([self._of(episode)[frames] for episode, frames in zip(episodes.tolist(), index, strict=True)])
        track = self._track()
        cameras = [track.resized(self._source.camera(episode)) for episode in episodes.tolist()]
        directions = unit_rays(cameras, self._source.image.device)  # (B, H W, 3)
        return (matrices.to(directions) @ directions.mT[:, None]).transpose(1, 2).unflatten(3, size)

    def _of(self, episode: int) -> Float[Tensor, "T 6 3"]:
        if episode not in self._matrices:
            track = self._track()
            poses = self._source.T_world_camera[episode]
            self._matrices[episode] = torch.from_numpy(np.stack([plucker_matrix(track.anchored(pose)) for pose in poses])).float()
        return self._matrices[episode]

    def _track(self) -> RayTrack:
        return RayTrack(self._model.rays, self._model.width_px, self._model.height_px)


def unit_rays(cameras: list[Camera], device: torch.device | str) -> Float[Tensor, "B HW 3"]:
    """Unit directions through every pixel centre of cameras of one size, row by row, as `camera.unit_rays_camera` has them."""
    width, height = cameras[0].width_px, cameras[0].height_px
    fx, fy, cx, cy = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras], device=device).T[:, :, None, None]
    u = (torch.arange(width, device=device) + 0.5 - cx) / fx  # (B, 1, W)
    v = (torch.arange(height, device=device)[:, None] + 0.5 - cy) / fy  # (B, H, 1)
    u, v = torch.broadcast_tensors(u, v)
    return F.normalize(torch.stack([u, v, torch.ones_like(u)], dim=-1).flatten(1, 2), dim=-1)

"""What a group of streams is shown and should answer: episodes in their looks, frame after frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from h2w_ros.camera import plucker_matrix, unit_rays_camera
from h2w_ros.condition import Camera
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.motion import moved, places_since
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.geometry import Transform
from h2w_ros.training.augment import Looks
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import frame_weight

FULL_MOTION = 0.5
"""Mean squared difference of latents that counts as motion in full."""


class StreamedEpisodes:
    """These episodes of a source, one a stream. `static` is the source's static scenes or photos, or None where streams know neither.

    Frames' conditions are asked for in order, since rays depend on the frames before.
    """

    def __init__(
        self, source: ClipSource, model: GeneratorConfig, episodes: np.ndarray, looks: Looks, static: Tensor | None, with_rays: bool
    ) -> None:
        self._source, self._model, self._episodes, self._looks, self._static = source, model, episodes, looks, static
        self._newest_places: tuple[int, Tensor | None] = (0, None)
        self._rays = _StreamRays(source, model, episodes, looks) if with_rays else None

    def picture(self, index: int) -> Tensor:
        """What the camera saw at a frame, (B, Z, 1, h, w) float32."""
        return self._looks.picture(self._frame(self._source.image, index))

    def weight(self, index: int, weights: CausalTraining) -> Tensor:
        """The weights of its loss, (B, 1, 1, h, w): more where hands and things are, and most where things are moving just now."""
        known = self._looks.map(frame_weight(self._source, self._episodes, index, weights))
        return known + weights.motion_weight * self._motion(index)

    def conditions(self, index: int) -> BlockConditions:
        """The conditions of a frame."""
        control = self._looks.hands(self._frame(self._source.hand, index))
        scene = None if self._static is None else self._looks.picture(self._frame(self._static, index))
        rays = None if self._rays is None else self._rays.next()
        dressed = None if self._source.dressed is None else self._looks.picture(self._frame(self._source.dressed, index))
        return BlockConditions(control, rays, scene, self._places(index), dressed)

    def _motion(self, index: int) -> Tensor | float:
        """How far each latent is from what it would be if all had rested since the frame before; hands apart, which are known to move."""
        if (places := self._places(index)) is None:
            return 0.0
        resting, _ = moved(self.picture(index - 1), places, self._model.rollout.fold)
        apart = (self.picture(index) - resting).square().mean(1, keepdim=True)
        return apart.clamp(max=FULL_MOTION) * (1.0 - self._looks.map(self._map(self._source.hand_share, index)))

    def _places(self, index: int) -> Tensor | None:
        """Asked for by a frame's weight and by its conditions, one after the other."""
        if self._newest_places[0] != index:
            self._newest_places = index, self._places_of(index)
        return self._newest_places[1]

    def _places_of(self, index: int) -> Tensor | None:
        if self._model.rollout.prediction != "layers" or index == 0:
            return None
        known = self._static is not None
        now, before, first = (self._looks.moment(self._source.moments(self._episodes, i, known)) for i in (index, index - 1, 0))
        return places_since(now, before, first, self._model.small_size)[:, None]

    def _frame(self, latents: Tensor, index: int) -> Tensor:
        return latents[self._episodes, index].float()[:, :, None]

    def _map(self, shares: Tensor, index: int) -> Tensor:
        return shares[self._episodes, index].float()[:, None, None]


class _StreamRays:
    """The rays of all streams' frames, one frame after the other: `RayTrack`'s, as one product."""

    def __init__(self, source: ClipSource, model: GeneratorConfig, episodes: np.ndarray, looks: Looks) -> None:
        self._size = model.height_px, model.width_px
        self._tracks = [RayTrack(model.rays, model.width_px, model.height_px) for _ in episodes]
        first, poses = zip(*(_seen_from(source, looks, stream, episode) for stream, episode in enumerate(episodes.tolist())), strict=True)
        directions = [unit_rays_camera(track.resized(camera)) for track, camera in zip(self._tracks, first, strict=True)]
        self._directions = torch.from_numpy(np.stack(directions)).to(source.image.device)  # (B, H W, 3)
        self._poses = iter(zip(*poses, strict=True))

    def next(self) -> Tensor:
        """Those of the next frame, (B, 6, 1, H, W)."""
        moved = [plucker_matrix(track.anchored(pose)) for track, pose in zip(self._tracks, next(self._poses), strict=True)]
        to_plucker = torch.from_numpy(np.stack(moved)).to(self._directions)
        return (to_plucker @ self._directions.mT).unflatten(2, self._size)[:, :, None]


def _seen_from(source: ClipSource, looks: Looks, stream: int, episode: int) -> tuple[Camera, list[Transform]]:
    """A stream's camera, and where it is at every frame."""
    views = [looks.view(stream, source.camera(episode), pose) for pose in source.T_world_camera[episode]]
    return views[0][0], [pose for _, pose in views]

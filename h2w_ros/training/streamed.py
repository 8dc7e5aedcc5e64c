"""What a group of streams is shown and should answer: episodes in their looks, frame after frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.motion import places_before
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.training.augment import Looks
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import frame_weight


class StreamedEpisodes:
    """These episodes of a source, one a stream. `static` is the source's static scenes or photos, or None where streams know neither.

    Frames' conditions are asked for in order, since rays depend on the frames before.
    """

    def __init__(
        self, source: ClipSource, model: GeneratorConfig, episodes: np.ndarray, looks: Looks, static: Tensor | None, with_rays: bool
    ) -> None:
        self._source, self._model, self._episodes, self._looks, self._static = source, model, episodes, looks, static
        self._tracks = [RayTrack(model.rays, model.width_px, model.height_px) for _ in episodes] if with_rays else []

    def picture(self, index: int) -> Tensor:
        """What the camera saw at a frame, (B, Z, 1, h, w) float32."""
        return self._looks.picture(self._frame(self._source.image, index))

    def weight(self, index: int, weights: CausalTraining) -> Tensor:
        """The weights of its loss, (B, 1, 1, h, w)."""
        return self._looks.map(frame_weight(self._source, self._episodes, index, weights))

    def conditions(self, index: int) -> BlockConditions:
        """The conditions of a frame."""
        control = self._looks.hands(self._frame(self._source.hand, index))
        scene = None if self._static is None else self._looks.picture(self._frame(self._static, index))
        return BlockConditions(control, self._rays(index), scene, self._places(index))

    def _rays(self, index: int) -> Tensor | None:
        if not self._tracks:
            return None
        source, episodes = self._source, self._episodes.tolist()
        views = [self._looks.view(i, source.camera(e), source.T_world_camera[e, index]) for i, e in enumerate(episodes)]
        rays = np.stack([track.push(*view) for track, view in zip(self._tracks, views, strict=True)])
        return torch.from_numpy(rays).permute(0, 3, 1, 2)[:, :, None]

    def _places(self, index: int) -> Tensor | None:
        if self._model.rollout.prediction != "layers" or index == 0:
            return None
        now, before = (self._looks.moment(self._source.moments(self._episodes, i, self._static is not None)) for i in (index, index - 1))
        return places_before(now, before, self._model.small_size)[:, None]

    def _frame(self, latents: Tensor, index: int) -> Tensor:
        return latents[torch.from_numpy(self._episodes), index].float()[:, :, None]

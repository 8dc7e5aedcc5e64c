"""What the model itself streams out over whole episodes, kept as history to train on.

A stream's context is its own past, errors and all; a model that only ever saw true pasts does not know how to leave a
wrong one. So every now and then the present weights stream some episodes with the real rollout, and later steps predict
the truth from those pasts (student-history forcing: Hand2World, arXiv 2602.09600; Self-Forcing).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rollout import BlockConditions, Rollout, roll_out
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import DreamConfig


class DreamBank:
    """The newest dreams, by episode: latents (T, Z, h, w), the reference first."""

    def __init__(self, source: ClipSource, model: GeneratorConfig, config: DreamConfig) -> None:
        self._source, self._model, self._config = source, model, config
        self._rays = ClipRays(source, model)
        self.latents: dict[int, Tensor] = {}

    def is_due(self, step: int) -> bool:
        """Whether it is time to dream again."""
        return step >= self._config.from_step and (not self.latents or step % self._config.every_steps == 0)

    @torch.no_grad()
    def dream(self, transformer: Transformer, rng: np.random.Generator) -> None:
        """Streams random episodes with these weights; the oldest dreams are forgotten."""
        source, num_frames = self._source, self._source.image.shape[1]
        episodes = rng.choice(len(source.image), self._config.episodes_at_once, replace=False).tolist()
        dreamer = copy.deepcopy(transformer).to(torch.bfloat16).eval()
        rays = self._rays(np.array(episodes), np.tile(np.arange(num_frames), (len(episodes), 1)))
        control, photo, image = (x[episodes].float().transpose(1, 2) for x in (source.hand, source.photo, source.image))
        dressed = None if source.dressed is None else source.dressed[episodes].float().transpose(1, 2)
        rollout = Rollout(dreamer, self._model.rollout, seeds=rng.integers(2**31, size=len(episodes)).tolist())
        dreamt = roll_out(rollout, image[:, :, :1], BlockConditions(control, rays, photo, self._places(episodes), dressed))
        for episode, latents in zip(episodes, dreamt.transpose(1, 2), strict=True):
            self.latents.pop(episode, None)
            self.latents[episode] = latents.nan_to_num(0.0).clamp(-self._config.limit, self._config.limit)
        for forgotten in list(self.latents)[: -self._config.episodes_kept]:
            del self.latents[forgotten]

    def _places(self, episodes: list[int]) -> Tensor | None:
        """Where everything stood a frame before, over whole episodes; at frame 0, where it is."""
        num_frames = self._source.image.shape[1]
        rows, frames = np.repeat(episodes, num_frames), np.tile(np.arange(num_frames), len(episodes))
        places = self._source.places_since(self._model, rows, np.maximum(frames, 1), True)
        return None if places is None else places.unflatten(0, (len(episodes), num_frames))

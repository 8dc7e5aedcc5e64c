"""Training in the stream itself: groups of streams run on through whole episodes, and every block they generate is a lesson.

The context of each prediction is what the rollout really holds there: its own past, errors and all (Self-Forcing, 2506.08009;
student-history forcing, Hand2World 2602.09600). Nothing is generated twice: the prediction that the loss is taken on is the one
that goes into the context. Several groups at different places of their episodes take turns, so that steps differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.config import CausalTraining, StreamTraining
from h2w_ros.training.forcing import frame_weight


class StreamingLessons:
    """An endless source of losses: one block of one group a call."""

    def __init__(
        self, transformer: Transformer, model: GeneratorConfig, source: ClipSource, config: StreamTraining, weights: CausalTraining, seed: int
    ) -> None:
        if model.codec.temporal_stride != 1 or model.rollout.latents_per_block != 1:
            raise ValueError("training in the stream takes blocks of one frame and a codec without temporal stride")
        self._transformer, self._model, self._source, self._config, self._weights = transformer, model, source, config, weights
        self._rng = np.random.default_rng(seed)
        self._groups = [self._lessons(first_length) for first_length in self._staggered_lengths()]
        self._turn = 0

    def loss(self) -> Tensor:
        """The loss of the next group's next block, with gradients for the present weights."""
        self._turn = (self._turn + 1) % len(self._groups)
        return next(self._groups[self._turn])

    def _staggered_lengths(self) -> list[int]:
        """How many blocks each group's first streams last, so that the groups never start together again."""
        num_blocks = self._source.image.shape[1] - 1
        return [max(1, num_blocks * (i + 1) // self._config.groups) for i in range(self._config.groups)]

    def _lessons(self, first_length: int) -> Iterator[Tensor]:
        """Losses of one group, stream after stream."""
        num_blocks = self._source.image.shape[1] - 1
        yield from self._stream(first_length)
        while True:
            yield from self._stream(int(self._rng.integers(self._config.shortest_stream, num_blocks + 1)))

    def _stream(self, num_blocks: int) -> Iterator[Tensor]:
        """Losses along one rollout of new episodes."""
        source, rng, size = self._source, self._rng, self._config.streams
        episodes = rng.choice(len(source.image), size, replace=len(source.image) < size)
        static = (source.photo, source.static, None)[rng.choice(3, p=self._weights.scene_shares)]
        rollout = Rollout(self._transformer, self._model.rollout, seeds=rng.integers(2**31, size=size).tolist())
        tracks = [RayTrack(self._model.rays, self._model.width_px, self._model.height_px) for _ in episodes]
        rarest, most_often = np.log(self._config.seen_share)
        seen_share = np.exp(rng.uniform(rarest, most_often, size))
        with torch.autocast("cpu", torch.bfloat16):
            rollout.start(_frame(source.image, episodes, 0), self._conditions(tracks, episodes, 0, static))
        for index in range(1, num_blocks + 1):
            target, weight = _frame(source.image, episodes, index), frame_weight(source, episodes, index, self._weights)
            with torch.autocast("cpu", torch.bfloat16):
                predicted = rollout.generate(self._conditions(tracks, episodes, index, static))
            yield robust_error(predicted, target, weight, self._config.tolerance)
            with torch.autocast("cpu", torch.bfloat16):
                rollout.commit(self._context(predicted.detach(), target, seen_share))

    def _context(self, predicted: Tensor, target: Tensor, seen_share: np.ndarray) -> Tensor:
        """What goes on as history: the prediction, and for some streams the truth, as `observe` gives it."""
        is_seen = torch.from_numpy(self._rng.random(len(predicted)) < seen_share)[:, None, None, None, None]
        limit = self._config.limit
        return torch.where(is_seen, target, predicted.nan_to_num(0.0).clamp(-limit, limit))

    def _conditions(self, tracks: list[RayTrack], episodes: np.ndarray, index: int, static: Tensor | None) -> BlockConditions:
        source = self._source
        control, scene = _frame(source.hand, episodes, index), None if static is None else _frame(static, episodes, index)
        known = static is not None
        places = source.places_before(self._model, episodes, np.full(len(episodes), index), known) if index else None
        places = None if places is None else places[:, None]
        if not self._transformer.config.add_control_adapter:
            return BlockConditions(control, None, scene, places)
        rays = [track.push(source.camera(e), source.T_world_camera[e, index]) for track, e in zip(tracks, episodes.tolist(), strict=True)]
        plucker = torch.from_numpy(np.stack(rays)).permute(0, 3, 1, 2)[:, :, None]
        return BlockConditions(control, plucker, scene, places)


@torch.no_grad()
def validation_loss(
    transformer: Transformer, model: GeneratorConfig, source: ClipSource, config: StreamTraining, weights: CausalTraining, num_blocks: int = 24
) -> float:
    """Mean loss of streams that never see the truth, with the photo as their static scene: the same streams at every call."""
    alone = replace(config, streams=len(source.image), groups=1, seen_share=(1e-9, 1e-9))
    lessons = StreamingLessons(transformer, model, source, alone, replace(weights, photo_share=1.0, static_share=0.0), seed=0)
    return float(np.mean([lessons.loss().item() for _ in range(min(num_blocks, source.image.shape[1] - 1))]))


def robust_error(predicted: Tensor, target: Tensor, weight: Tensor, tolerance: float) -> Tensor:
    """Weighted mean of a pseudo-Huber distance between latent vectors (B, Z, n, h, w): quadratic below `tolerance`, linear above.

    What can't be known (a sleeve before it was seen) then pulls no harder than what can, and an answer between two possibilities
    is no better than either of them. The form is that of improved consistency training (2310.14189).
    """
    distance = ((predicted - target).square().mean(1, keepdim=True) + tolerance**2).sqrt() - tolerance
    return (weight * distance).mean() / weight.mean()


def _frame(latents: Tensor, episodes: np.ndarray, index: int) -> Tensor:
    """One frame of some episodes, (B, Z, 1, h, w) float32."""
    return latents[torch.from_numpy(episodes), index].float()[:, :, None]

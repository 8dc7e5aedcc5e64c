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
from h2w_ros.generator.rollout import Rollout
from h2w_ros.generator.schedule import layered
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.augment import draw_looks, plain_looks
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.carried import drawing_shares
from h2w_ros.training.config import CausalTraining, StreamTraining
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.streamed import StreamedEpisodes


class StreamingLessons:
    """An endless source of losses: a few blocks of one group a call."""

    def __init__(
        self, transformer: Transformer, model: GeneratorConfig, source: ClipSource, config: StreamTraining, weights: CausalTraining, seed: int
    ) -> None:
        if model.codec.temporal_stride != 1 or model.rollout.latents_per_block != 1:
            raise ValueError("training in the stream takes blocks of one frame and a codec without temporal stride")
        self._transformer, self._model, self._source, self._config, self._weights = transformer, model, source, config, weights
        self._rng = np.random.default_rng(seed)
        self._shares = drawing_shares(source.num_carried, config.carried_share)
        self._groups = [self._lessons(first_length) for first_length in self._staggered_lengths()]
        self._turn, self._spent = 0, 0.0
        self._device = source.image.device

    def loss(self, spent: float = 1.0) -> Tensor:
        """The loss of the next group's next blocks, with gradients for the present weights, when this share of the training is over."""
        self._spent = spent
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
        shown, ranks = self._draw_streams()
        rollout = Rollout(self._transformer, self._model.rollout, seeds=self._rng.integers(2**31, size=len(ranks)).tolist())
        with mixed_precision(self._device):
            rollout.start(shown.picture(0), shown.conditions(0))
        errors: list[Tensor] = []
        for index in range(1, num_blocks + 1):
            target, weight, conditions = shown.picture(index), shown.weight(index, self._weights), shown.conditions(index)
            with mixed_precision(self._device):
                predicted = rollout.generate(conditions)
                rollout.commit(self._context(predicted.detach(), target, self._seen_share(ranks)))
            errors.append(robust_error(predicted, target, weight, self._config.tolerance) + self._choice_error(rollout, target, weight))
            if len(errors) == self._config.frames_together or index == num_blocks:
                yield torch.stack(errors).mean()
                rollout.detach()
                errors = []

    def _choice_error(self, rollout: Rollout, target: Tensor, weight: Tensor) -> Tensor | float:
        if self._model.rollout.prediction != "layers" or rollout.drawn is None:
            return 0.0
        return self._config.choice_share * choice_error(*layered(*rollout.drawn), target, weight, self._config.choice_tolerance)

    def _draw_streams(self) -> tuple[StreamedEpisodes, np.ndarray]:
        """Random episodes, and where each stream stands in [0, 1] between those that seldom see the truth and those that often do."""
        source, rng, size = self._source, self._rng, self._config.streams
        episodes = rng.choice(len(source.image), size, replace=len(source.image) < size, p=self._shares)
        static = (source.photo, source.static, None)[rng.choice(3, p=self._weights.scene_shares)]
        looks = draw_looks(rng, size, self._device) if self._config.other_looks else plain_looks(size, self._device)
        shown = StreamedEpisodes(source, self._model, episodes, looks, static, self._transformer.config.asks_for_rays)
        return shown, rng.uniform(size=size)

    def _seen_share(self, ranks: np.ndarray) -> np.ndarray:
        """How often streams see the truth by now."""
        early, late = np.log(self._config.first_seen_share), np.log(self._config.seen_share)
        rarest, most_often = early + min(1.0, self._spent / self._config.annealed_share) * (late - early)
        return np.exp(rarest + ranks * (most_often - rarest))

    def _context(self, predicted: Tensor, target: Tensor, seen_share: np.ndarray) -> Tensor:
        """What goes on as history: the prediction, and for some streams the truth, as `observe` gives it."""
        is_seen = torch.from_numpy(self._rng.random(len(predicted)) < seen_share).to(self._device)[:, None, None, None, None]
        limit = self._config.limit
        return torch.where(is_seen, target, predicted.nan_to_num(0.0).clamp(-limit, limit))


@torch.no_grad()
def validation_loss(
    transformer: Transformer, model: GeneratorConfig, source: ClipSource, config: StreamTraining, weights: CausalTraining, num_blocks: int = 24
) -> float:
    """Mean loss of streams that never see the truth, with the photo as their static scene: the same streams at every call.

    Where the first picture shows no hand, hands have their true colours, which nobody knows in a session.
    """
    alone = replace(config, streams=len(source.image), groups=1, frames_together=1, seen_share=(1e-9, 1e-9), other_looks=False, carried_share=0.0)
    lessons = StreamingLessons(transformer, model, source, alone, replace(weights, photo_share=1.0, static_share=0.0), seed=0)
    return float(np.mean([lessons.loss().item() for _ in range(min(num_blocks, source.image.shape[1] - 1))]))


def choice_error(candidates: Tensor, logits: Tensor, target: Tensor, weight: Tensor, tolerance: float) -> Tensor:
    """Weighted mean error of what is chosen at every place, if the choice is sharp: tolerance times minus the log of a mixture's likelihood.

    The error of a sum of layers hardly tells a layer that is closed that it would have been right; this does (mixtures of experts that
    compete, Jacobs et al. 1991). `candidates` (B, l, Z, n, h, w) and `logits` (B, l, k, n, h, w) are those of `schedule.layered`.
    """
    num_places = logits.shape[2]
    apart = (candidates - target[:, None]).square().unflatten(2, (-1, num_places)).mean(2)  # (B, l, k, n, h, w)
    chosen = -tolerance * torch.logsumexp(logits.log_softmax(1) - apart / tolerance, dim=1)
    return (weight * chosen).mean() / weight.mean()


def robust_error(predicted: Tensor, target: Tensor, weight: Tensor, tolerance: float) -> Tensor:
    """Weighted mean of a pseudo-Huber distance between latent vectors (B, Z, n, h, w): quadratic below `tolerance`, linear above.

    What can't be known (a sleeve before it was seen) then pulls no harder than what can, and an answer between two possibilities
    is no better than either of them. The form is that of improved consistency training (2310.14189).
    """
    distance = ((predicted - target).square().mean(1, keepdim=True) + tolerance**2).sqrt() - tolerance
    return (weight * distance).mean() / weight.mean()

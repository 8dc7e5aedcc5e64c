"""Distribution matching distillation (DMD, 2311.18828; on own rollouts: Self-Forcing, 2506.08009).

The student streams clips as it will when it runs; the teacher says towards what it would change them to make them likelier, and a critic,
the teacher's copy that learns what the student's clips are like, says the same of those. Where the two differ, the student is pulled. When its
clips are distributed as the teacher's, nothing pulls any more.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.generator.bidirectional import Denoise, WholeClip
from h2w_ros.generator.config import GeneratorConfig, RolloutConfig
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.generator.schedule import renoised
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, MatchingTraining
from h2w_ros.training.forcing import ClipBatch, Layout, batch_places
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.processes import SharedRandom
from h2w_ros.training.run import GRADIENT_NORM
from h2w_ros.training.teacher import draw_clips, draw_sigma, flow_loss, whole_clip

EXTREME = 0.02
"""Noise levels nearer to nothing or to everything than this tell nothing."""
LEAST_SCALE = 1e-3
"""A sample that the teacher would hardly change is not pulled harder than at this distance."""


def matching_gradient(sample: Float[Tensor, "B ..."], teacher: Denoise, critic: Denoise, sigma: Tensor, noise: Tensor) -> Float[Tensor, "B ..."]:
    """What is to be taken from samples to make them likelier to the teacher than to the critic, scaled for each by the teacher's own distance."""
    noisy = renoised(sample, sigma, noise)
    likely, own = teacher(noisy, sigma), critic(noisy, sigma)
    scale = (sample - likely).abs().flatten(1).mean(1).clamp(min=LEAST_SCALE).view(-1, *[1] * (sample.ndim - 1))
    return (own - likely) / scale


def matching_loss(sample: Tensor, gradient: Tensor) -> Tensor:
    """A loss whose gradient by the samples is the one given, divided by their size."""
    return 0.5 * F.mse_loss(sample.double(), (sample - gradient).detach().double())


def stopped_at(rollout: RolloutConfig, num_steps: int) -> RolloutConfig:
    """The rollout whose blocks end after so many of their steps."""
    first = None if rollout.first_block is None else rollout.first_block[:num_steps]
    return replace(rollout, timesteps=rollout.timesteps[:num_steps], first_block=first)


def self_rollout(rollout: Rollout, truth: Float[Tensor, "B Z F h w"], conditions: BlockConditions, is_seen: np.ndarray) -> Float[Tensor, "B Z n h w"]:
    """The n = F - 1 latents that the stream answers; where `is_seen` (B, n) says so, the truth is its past instead. The first of F is the reference.

    It is the rollout that a session runs. Gradients are those of every block's last step.
    """
    rollout.start(truth[:, :, :1], conditions.part(0, 1))
    answers, step = [], rollout.config.latents_per_block
    for first in range(1, conditions.num_latents, step):
        answer = rollout.generate(conditions.part(first, first + step))
        seen = torch.from_numpy(is_seen[:, first - 1 : first - 1 + step]).to(answer.device)[:, None, :, None, None]
        rollout.commit(torch.where(seen, truth[:, :, first : first + step], answer.detach()))
        answers.append(answer)
    return torch.cat(answers, dim=2)


def stream_conditions(source: ClipSource, model: GeneratorConfig, batch: ClipBatch, rays: ClipRays) -> BlockConditions:
    """What a stream through a batch's clips is told; the static scene is known of all of them or of none."""
    scene = batch.static if model.static_scene and bool(batch.has_static.all()) else None
    places = batch_places(source, model, batch, Layout(batch.index.shape[1] - 1, 1, 1))
    shown = None if places is None else torch.cat([places[:, :1], places], dim=1)  # those of the reference are never looked at
    return BlockConditions(batch.control, rays(batch.episodes, batch.index), scene, shown, batch.dressed)


@dataclass(frozen=True, eq=False)
class Rolled:
    """A student's clips, and how teacher and critic see them."""

    sample: Tensor
    teacher: WholeClip
    critic: WholeClip


class DistributionMatching:
    """Student, teacher and critic; every loss of the student comes after a few lessons of the critic. `critic` is to be saved with the student."""

    def __init__(
        self,
        student: Transformer,
        teacher: Transformer,
        models: tuple[GeneratorConfig, GeneratorConfig],
        source: ClipSource,
        config: MatchingTraining,
        weights: CausalTraining,
        rng: np.random.Generator,
        random: SharedRandom,
    ) -> None:
        """`models` are the student's and the teacher's."""
        (self._model, self._teacher_model), self._source, self._config, self._weights = models, source, config, weights
        self._student, self._teacher = student, teacher.eval().requires_grad_(False)
        self.critic = copy.deepcopy(teacher).train().requires_grad_(True)
        self._optimiser = torch.optim.AdamW(self.critic.parameters(), config.critic_learning_rate, betas=(0.0, 0.999))
        self._rays, self._rng, self._random = ClipRays(source, self._model), rng, random

    def loss(self, spent: float) -> Tensor:
        """The student's next loss, when this share of the training is over."""
        for _ in range(self._config.critic_updates):
            self._teach_critic(spent)
        rolled = self._roll(spent)
        sigma, noise = self._noise(rolled.sample)
        with torch.no_grad(), self._autocast():
            gradient = matching_gradient(rolled.sample.detach(), rolled.teacher.clean, rolled.critic.clean, sigma, noise)
        return matching_loss(rolled.sample, gradient)

    def clean_share(self, spent: float) -> float:
        """How much of the past is the truth: all of it at first, none later (student-history annealing, 2602.09600)."""
        return max(0.0, 1.0 - spent / self._config.annealed_share)

    def _teach_critic(self, spent: float) -> None:
        with torch.no_grad():
            rolled = self._roll(spent)
        sigma, noise = self._noise(rolled.sample)
        weight = torch.ones_like(rolled.sample[:, :1])
        with self._autocast():
            loss = flow_loss(rolled.critic.clean, rolled.sample, sigma, noise, self._config.least_sigma, weight, self._random.processes)
        loss.backward()
        self._random.processes.average_gradients(self.critic)
        nn.utils.clip_grad_norm_(self.critic.parameters(), GRADIENT_NORM, error_if_nonfinite=True)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _roll(self, spent: float) -> Rolled:
        """The student's stream through new episodes, from their beginning, its blocks ended after a number of steps that is drawn for all."""
        config, rng, processes = self._config, self._rng, self._random.processes
        batch = draw_clips(self._source, _scene_for_all(self._weights, rng), config.batch_clips, int(rng.choice(config.clip_frames)), rng, processes)
        part, num_frames = processes.part(config.batch_clips), batch.index.shape[1]
        is_seen = (rng.random((config.batch_clips, num_frames - 1)) < self.clean_share(spent))[part]
        seeds = rng.integers(2**31, size=config.batch_clips)[part].tolist()
        rollout = stopped_at(self._model.rollout, int(rng.integers(1, len(self._model.rollout.timesteps) + 1)))
        conditions = stream_conditions(self._source, self._model, batch, self._rays)
        with self._autocast():
            sample = self_rollout(Rollout(self._student, rollout, seeds), batch.image, conditions, is_seen)
        teacher, critic = (whole_clip(network, self._teacher_model, batch, self._rays) for network in (self._teacher, self.critic))
        return Rolled(sample, teacher, critic)

    def _autocast(self) -> torch.autocast:
        """A new one for every use: it keeps the weights' bfloat16 copies, which an update makes old."""
        return mixed_precision(self._source.image.device)

    def _noise(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        sigma = draw_sigma(len(sample), self._config.shift, self._random)
        return sigma.clamp(EXTREME, 1.0 - EXTREME), self._random.normal(*sample.shape)


def _scene_for_all(weights: CausalTraining, rng: np.random.Generator) -> CausalTraining:
    """Weights that give all clips one of photo, static scene and neither, drawn as `weights` share them out."""
    chosen = rng.choice(3, p=weights.scene_shares)
    return replace(weights, photo_share=float(chosen == 0), static_share=float(chosen == 1))

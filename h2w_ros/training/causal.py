"""The causal stage's loss: rectified flow on noisy frames whose history is clean, corrupted or self-generated."""

from __future__ import annotations

import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.schedule import renoised
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import ClipBatch, ClipGeometry, Layout
from h2w_ros.training.processes import SharedRandom, weighted_mean
from h2w_ros.training.sequence import ClipSequence


def causal_loss(
    transformer: Transformer,
    model: GeneratorConfig,
    config: CausalTraining,
    batch: ClipBatch,
    geometry: ClipGeometry,
    layout: Layout,
    random: SharedRandom,
) -> Tensor:
    """Mean weighted squared error of the predicted clean latents; `random` draws on the batch's device.

    The network's own output may be a velocity; the loss is always on the x0 that the rollout would take from it.
    """
    sequence = ClipSequence(transformer, model, batch, geometry, layout)
    history = batch.history
    if random.chance() < config.generated_history_share:
        history = _with_generated_history(sequence, history, 1 + int(config.generated_passes * random.chance()), random)
    history = corrupted(history, config.history_noise, random)
    sigma = _draw_sigma(batch.image.shape[0], len(layout.noisy), config, random)
    noisy = renoised(sequence.target, sigma[:, None, :, None, None], random.normal(*sequence.target.shape))
    predicted = sequence.predict(history, noisy, sigma)
    return weighted_mean((predicted - sequence.target).square(), batch.weight[:, :, list(layout.noisy)], random.processes)


def _draw_sigma(num_clips: int, num_frames: int, config: CausalTraining, random: SharedRandom) -> Tensor:
    """(B, m): 1 for a share of the frames, uniform above the lowest for the others; independent from frame to frame."""
    even = random.even(num_clips, num_frames)
    return torch.where(random.even(num_clips, num_frames) < config.pure_noise_share, 1.0, config.lowest_sigma + (1.0 - config.lowest_sigma) * even)


def corrupted(history: Tensor, largest: float, random: SharedRandom) -> Tensor:
    """History with noise of a strength drawn per clip, mostly little; the reference (frame 0) stays clean."""
    strength = largest * random.even(history.shape[0], 1, 1, 1, 1).square()
    noise = strength * random.normal(*history.shape)
    noise[:, :, 0] = 0
    return history + noise


@torch.no_grad()
def _with_generated_history(sequence: ClipSequence, history: Tensor, num_passes: int, random: SharedRandom) -> Tensor:
    """History whose predictable frames are the model's own one-step predictions instead of the truth.

    Each pass predicts from what the pass before it predicted, so errors grow over passes and frames as in a rollout.
    """
    frames, mixed = list(sequence.layout.noisy), history.clone()
    sigma = torch.ones(history.shape[0], len(frames), device=history.device)
    for _ in range(num_passes):
        mixed[:, :, frames] = sequence.predict(mixed, random.normal(*sequence.target.shape), sigma)
    return mixed

"""The causal stage's loss: rectified flow on noisy frames whose history is clean, corrupted or self-generated."""

from __future__ import annotations

import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.schedule import renoised
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import ClipBatch, ClipGeometry, Layout
from h2w_ros.training.processes import ALONE, Processes, weighted_mean
from h2w_ros.training.sequence import ClipSequence


def causal_loss(
    transformer: Transformer,
    model: GeneratorConfig,
    config: CausalTraining,
    batch: ClipBatch,
    geometry: ClipGeometry,
    layout: Layout,
    random: torch.Generator,
    processes: Processes = ALONE,
) -> Tensor:
    """Mean weighted squared error of the predicted clean latents; `random` is of the batch's device.

    The network's own output may be a velocity; the loss is always on the x0 that the rollout would take from it.
    """
    sequence = ClipSequence(transformer, model, batch, geometry, layout)
    history = batch.history
    if chance(random) < config.generated_history_share:
        history = _with_generated_history(sequence, history, 1 + int(config.generated_passes * chance(random)), random)
    history = _corrupted(history, config.history_noise, random)
    sigma = _draw_sigma(batch.image.shape[0], len(layout.noisy), config, random)
    noisy = renoised(sequence.target, sigma[:, None, :, None, None], normal(sequence.target, random))
    predicted = sequence.predict(history, noisy, sigma)
    return weighted_mean((predicted - sequence.target).square(), batch.weight[:, :, list(layout.noisy)], processes)


def chance(random: torch.Generator) -> float:
    """Even in [0, 1)."""
    return float(torch.rand((), generator=random, device=random.device))


def normal(like: Tensor, random: torch.Generator) -> Tensor:
    """Standard normal noise of this shape."""
    return torch.randn(like.shape, generator=random, device=random.device)


def _draw_sigma(num_clips: int, num_frames: int, config: CausalTraining, random: torch.Generator) -> Tensor:
    """(B, m): 1 for a share of the frames, uniform above the lowest for the others; independent from frame to frame."""
    even, chances = torch.rand(2, num_clips, num_frames, generator=random, device=random.device)
    return torch.where(chances < config.pure_noise_share, 1.0, config.lowest_sigma + (1.0 - config.lowest_sigma) * even)


def _corrupted(history: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """History with noise of a strength drawn per clip, mostly little; the reference (frame 0) stays clean."""
    strength = largest * torch.rand(history.shape[0], 1, 1, 1, 1, generator=random, device=random.device).square()
    noise = strength * normal(history, random)
    noise[:, :, 0] = 0
    return history + noise


@torch.no_grad()
def _with_generated_history(sequence: ClipSequence, history: Tensor, num_passes: int, random: torch.Generator) -> Tensor:
    """History whose predictable frames are the model's own one-step predictions instead of the truth.

    Each pass predicts from what the pass before it predicted, so errors grow over passes and frames as in a rollout.
    """
    frames, mixed = list(sequence.layout.noisy), history.clone()
    sigma = torch.ones(history.shape[0], len(frames), device=history.device)
    for _ in range(num_passes):
        mixed[:, :, frames] = sequence.predict(mixed, normal(sequence.target, random), sigma)
    return mixed

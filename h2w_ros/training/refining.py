"""The refiner's own stage: from one true frame to the next by convolutions alone, many frames a second.

Drawing hands from their render is a local matter, and convolutions learn it from single frames ten times faster than the whole
network from clips. So the refiner learns first, with a draft of zeros, which is what a new transformer drafts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.convolutions import Refiner
from h2w_ros.generator.rollout import previous_channels
from h2w_ros.generator.schedule import clean_from_output
from h2w_ros.training.forcing import ClipBatch, Layout

LAYOUT = Layout(num_frames=2, first_noisy=2, first_position=1)  # the reference, a frame, and the next, which is predicted


def refining_loss(refiner: Refiner, model: GeneratorConfig, batch: ClipBatch, history_noise: float, random: torch.Generator) -> Tensor:
    """Mean weighted squared error of the clean latents of the batch's last frames, predicted from pure noise."""
    reference, previous, target = (batch.image[:, :, i : i + 1] for i in range(3))
    strength = history_noise * torch.rand(len(target), 1, 1, 1, 1, generator=random).square()
    previous = previous + strength * torch.randn(previous.shape, generator=random)
    channels = torch.cat([batch.control, torch.zeros_like(batch.control), batch.static], dim=1)
    noise = torch.randn(target.shape, generator=random)
    seen = previous_channels(previous, channels[:, :, 1:2], reference)
    output = refiner(torch.zeros_like(target), torch.cat([noise, channels[:, :, 2:3]], dim=1), seen).float()
    known = torch.where(batch.has_static[:, None, None, None, None], batch.static[:, :, 2:3], previous)
    predicted = clean_from_output(model.rollout.prediction, output, noise, 1.0, known)
    weight = batch.weight[:, :, 2:3]
    return (weight * (predicted - target).square()).mean() / weight.mean()

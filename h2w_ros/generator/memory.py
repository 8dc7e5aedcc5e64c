"""What places remember from frame to frame: a few values each, which rest or go along as the things do that they belong to.

A picture doesn't tell whether what a hand hides still stands there or was taken away, nor what is held and what was only brushed. The
network notes such things in its memory: at every place it keeps what rested there, or what the hand brought, or writes anew
(gates as in convolutional recurrent networks, 1511.06432).

Legend: B streams, K values of a latent's places together, n h w latents, V = 2 ways to move (see `motion`): resting, carried.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.config import RefinerConfig
from h2w_ros.generator.motion import WAYS, moved

GATES = 3
"""Outputs for each value: what to write, and the logits of keeping what rested and what was carried."""
KEPT_LOGIT = 2.0
"""Outputs of zero keep four fifths of what rested."""


def remembered(output: Float[Tensor, "B g n h w"], ways: Float[Tensor, "V B K n h w"]) -> Float[Tensor, "B K n h w"]:
    """The memory after a frame, in [-1, 1]: from the network's outputs (g = 3 K) and the memory before it, moved in both ways."""
    written, resting_logit, carried_logit = output.chunk(GATES, dim=1)
    weights = torch.stack([torch.zeros_like(resting_logit), resting_logit + KEPT_LOGIT, carried_logit]).softmax(0)
    return (weights * torch.stack([written.tanh(), *ways])).sum(0).clamp(-1.0, 1.0)


def empty_memory(refiner: RefinerConfig | None, latents: Float[Tensor, "B Z n h w"]) -> Float[Tensor, "B K 1 h w"] | None:
    """What streams of such latents remember at their start; None for a network without a memory."""
    if refiner is None or not refiner.memory:
        return None
    return torch.zeros(latents.shape[0], refiner.memory_channels, 1, *latents.shape[3:], device=latents.device)


def moved_memory(memory: Tensor | None, places: Float[Tensor, "B 1 V H W 2"] | None, fold: int) -> Float[Tensor, "V B K 1 h w"] | None:
    """What is remembered where it now belongs; where nobody knows how things moved, it stays."""
    if memory is None:
        return None
    return torch.stack([memory] * WAYS) if places is None else moved(memory, places.to(memory.device), fold)


def as_channels(ways: Float[Tensor, "V B K n h w"] | None) -> Float[Tensor, "B M n h w"] | None:
    """Both ways beside each other, as the refiner takes them."""
    return None if ways is None else ways.transpose(0, 1).flatten(1, 2)

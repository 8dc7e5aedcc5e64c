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


def moved_memory(memory: Float[Tensor, "B K 1 h w"], places: Float[Tensor, "B 1 N H W 2"] | None, fold: int) -> Float[Tensor, "V B K 1 h w"]:
    """What is remembered where it now belongs; where nobody knows how things moved, it stays."""
    if places is None or not memory.shape[1]:
        return torch.stack([memory] * WAYS)
    return moved(memory, places.to(memory.device), fold)

"""Noise levels of the few-step student: nominal timesteps, the shift, and the step from one level to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.config import Prediction, RolloutConfig

NUM_TIMESTEPS = 1000.0
KNOWN_LOGIT = 3.0  # an output of zero is known for 87%
RELEASED_TIMESTEPS: dict[int, tuple[float, ...]] = {
    1: (1000.0,),
    2: (1000.0, 500.0),
    3: (1000.0, 500.0, 250.0),
    4: (1000.0, 750.0, 500.0, 250.0),
}


@dataclass(frozen=True)
class Step:
    """One call of the network: the timestep it is told, and the share of noise in what it sees."""

    t: float
    sigma: float


def shifted(sigma: float, shift: float) -> float:
    """s' = shift s / (1 + (shift - 1) s)."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def steps(nominal: tuple[float, ...], shift: float) -> tuple[Step, ...]:
    """The schedule of nominal timesteps after the shift; the student was trained with it, so they must stay equal."""
    sigmas = [shifted(t / NUM_TIMESTEPS, shift) for t in nominal]
    return tuple(Step(NUM_TIMESTEPS * sigma, sigma) for sigma in sigmas)


def block_steps(config: RolloutConfig, block: int) -> tuple[Step, ...]:
    """The schedule of a stream's block; block 0 is the reference, block 1 the first that is generated."""
    nominal = config.first_block if block == 1 and config.first_block is not None else config.timesteps
    return steps(nominal, config.shift)


def with_released_steps(config: RolloutConfig, num_steps: int) -> RolloutConfig:
    """The rollout with the released lists for 1 to 4 steps a block.

    The first generated block keeps the four-step list, and with one step a block it takes two.
    """
    if num_steps not in RELEASED_TIMESTEPS:
        raise ValueError(f"the release has lists for {sorted(RELEASED_TIMESTEPS)} steps, got {num_steps}")
    first = RELEASED_TIMESTEPS[2 if num_steps == 1 else 4]
    return replace(config, timesteps=RELEASED_TIMESTEPS[num_steps], first_block=first)


def clean_from_output(prediction: Prediction, output: Tensor, noisy: Tensor, sigma: float | Tensor, layers: Sequence[Tensor]) -> Tensor:
    """The clean latents that the network's output stands for; the first of `layers` is what is known without it (see `RolloutConfig`)."""
    match prediction:
        case "velocity":
            return noisy - sigma * output
        case "x0":
            return output
        case "residual":
            return layers[0] + output
        case "layers":
            return composite(output, layers)


def composite(output: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """New latents and `layers` (B, Z, n, h, w), by weights that sum to one at every place.

    `output` (B, Z + L k, n, h, w) holds the new latents, and for each of the L layers the logits of the k places that are folded into
    a latent; colours share them. An output of zero is nearly all the first layer. Video by masks over a background: 1609.02612.
    """
    candidates, logits = layered(output, layers)
    weights = logits.softmax(dim=1)
    return (weights.repeat(1, 1, candidates.shape[2] // weights.shape[2], 1, 1, 1) * candidates).sum(dim=1)


def layered(output: Tensor, layers: Sequence[Tensor]) -> tuple[Float[Tensor, "B l Z n h w"], Float[Tensor, "B l k n h w"]]:
    """What there is to choose from, the new latents first, and the logits of the choice at each of a latent's places; see `composite`."""
    num_channels = layers[0].shape[1]
    new, logits = output[:, :num_channels], output[:, num_channels:].unflatten(1, (len(layers), -1))
    known, others = logits[:, :1] + KNOWN_LOGIT, logits[:, 1:]
    candidates = torch.stack([new, *(layer.expand_as(new) for layer in layers)], dim=1)
    return candidates, torch.cat([torch.zeros_like(known), known, others], dim=1)


def renoised(clean: Tensor, sigma: float | Tensor, noise: Tensor) -> Tensor:
    """Clean latents taken to a noise level with fresh noise; plain Euler would not match the student's training."""
    return (1.0 - sigma) * clean + sigma * noise


def draw_noise(seeds: tuple[int, ...], block: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of one draw of one block, (len(seeds), *shape), float32.

    It follows from (seed, block, draw) alone: a stream repeats itself whatever ran before it or beside it.
    """
    return torch.stack([_normal((seed, block, draw), shape) for seed in seeds])


def _normal(key: tuple[int, int, int], shape: tuple[int, ...]) -> Tensor:
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(state))

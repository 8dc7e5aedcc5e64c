"""Whole clips at once: every frame sees every other, past and future. That is the teacher's view; what streams is taught by it.

Rectified flow: x_t = (1 - sigma) x_0 + sigma noise, and the flow's velocity is noise - x_0 (2209.03003).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.dressed import laid_over
from h2w_ros.generator.rollout import BlockConditions, condition_channels
from h2w_ros.generator.schedule import clean_from_output, shifted
from h2w_ros.generator.transformer import Transformer

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents, and the share of noise in them (broadcasts to them) -> the clean latents that are expected."""


class WholeClip:
    """B clips of F frames: the clean reference, which is never noisy, and F - 1 frames to denoise.

    `has_static` says of which clips the static scene is known, where `conditions` have one (None: of all). In networks whose
    prediction is a residual, the output adds to it, or else to the reference; with `dressed_scene`, to what the hands are laid over.
    """

    def __init__(
        self,
        transformer: Transformer,
        config: GeneratorConfig,
        reference: Float[Tensor, "B Z 1 h w"],
        conditions: BlockConditions,
        has_static: Bool[Tensor, "B"] | None = None,
    ) -> None:
        self._transformer, self._prediction = transformer, config.rollout.prediction
        self._reference, self._control = reference, conditions.control
        static = conditions.static
        self._known = self._known_without_network(static, has_static)
        if config.dressed_scene:
            static = self._known = self._with_hands(conditions)
        filled = torch.zeros_like(conditions.control)
        filled[:, :, :1] = reference
        self._channels = condition_channels(replace(conditions, static=static), filled, transformer.config.in_dim)
        self._plucker = conditions.plucker if transformer.config.add_control_adapter else None

    def clean(self, noisy: Float[Tensor, "B Z n h w"], sigma: Tensor) -> Float[Tensor, "B Z n h w"]:
        """What the network expects the n = F - 1 noisy frames to be, float32; sigma is one for all or one a clip, (B, 1, 1, 1, 1)."""
        latents = torch.cat([torch.cat([self._reference, noisy], dim=2).to(self._channels), self._channels], dim=1)
        t = 1000.0 * sigma.reshape(-1, 1).expand(noisy.shape[0], noisy.shape[2])
        rays = None if self._plucker is None else self._transformer.embed_rays(self._plucker)
        output = self._transformer(latents, torch.cat([torch.zeros_like(t[:, :1]), t], dim=1), ray_tokens=rays)
        return clean_from_output(self._prediction, output[:, :, 1:].float(), noisy, sigma, (self._known[:, :, 1:],))

    def _known_without_network(self, static: Tensor | None, has_static: Tensor | None) -> Float[Tensor, "B Z F h w"]:
        """Of all frames, the reference's too."""
        if static is None:
            return self._reference.expand_as(self._control)
        return static if has_static is None else torch.where(has_static[:, None, None, None, None], static, self._reference)

    def _with_hands(self, conditions: BlockConditions) -> Tensor:
        if conditions.dressed is None:
            raise ValueError("the network asks for dressed hands (dressed_scene), got none; latents to train on are made anew by `h2w train encode`")
        return laid_over(self._known, conditions.dressed, conditions.control)


def euler(noisy: Tensor, clean: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """Noisy latents one step along the flow that leads to these clean ones."""
    share = next_sigma / sigma
    return share * noisy + (1.0 - share) * clean


def noise_levels(num_steps: int, shift: float) -> tuple[float, ...]:
    """From pure noise (1) to none (0) in so many steps, shifted."""
    return tuple(shifted(1.0 - step / num_steps, shift) for step in range(num_steps + 1))


def integrate(denoise: Denoise, noise: Tensor, sigmas: Sequence[float]) -> Tensor:
    """The end point of the flow that begins at this noise, by Euler steps from level to level."""
    x = noise
    for sigma, next_sigma in pairwise(torch.tensor(sigmas, device=noise.device)):
        x = euler(x, denoise(x, sigma), sigma, next_sigma)
    return x

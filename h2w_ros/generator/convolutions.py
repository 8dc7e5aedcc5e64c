"""The network's convolutions: rays to tokens, and the refinement of a drafted frame by what stands beside it."""

from __future__ import annotations

from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.generator.config import TransformerConfig


class ResidualBlock(nn.Module):
    """3x3, ReLU, 3x3, and the input added."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(dim, dim, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions find."""
        return x + self.conv2(F.relu(self.conv1(x)))


def normalised(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Every place's vector with mean 0 and variance 1 (1607.06450): without it, sums of many branches blow up at the first steps."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)


class RefinerBlock(ResidualBlock):
    """The same of normalised input."""

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions find."""
        return x + self.conv2(F.relu(self.conv1(normalised(x))))


class GlobalContext(nn.Module):
    """A few places of the whole frame are looked up, and what stands there is told to every place (GCNet, 1904.11492).

    So the colour of a hand in the reference reaches a hand anywhere.
    """

    def __init__(self, dim: int, num_lookups: int = 4) -> None:
        super().__init__()
        self.score = nn.Conv2d(dim, num_lookups, 1)
        self.tell = nn.Linear(num_lookups * dim, dim)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """x plus what was looked up."""
        seen = normalised(x)
        weights = self.score(seen).flatten(2).softmax(-1)
        looked_up = weights @ seen.flatten(2).transpose(1, 2)  # (n, lookups, c)
        return x + self.tell(F.relu(looked_up.flatten(1)))[:, :, None, None]


class CameraAdapter(nn.Module):
    """Ray maps at picture size to one vector a token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.downscale = config.downscale_factor_control_adapter
        patch = config.patch_size[1:]
        self.conv = nn.Conv2d(config.in_dim_control_adapter * self.downscale**2, config.dim, patch, patch)
        self.residual_blocks = nn.Sequential(ResidualBlock(config.dim))

    def forward(self, plucker: Float[Tensor, "B c F H W"]) -> Float[Tensor, "B F C h w"]:
        """One map of token vectors a frame."""
        frames = F.pixel_unshuffle(plucker.transpose(1, 2).flatten(0, 1), self.downscale)
        return self.residual_blocks(self.conv(frames)).unflatten(0, (plucker.shape[0], -1))


class Refiner(nn.Module):
    """Adds to the transformer's drafted output what convolutions see, from the latents' own resolution down to the whole frame.

    Patches hide what happens inside them; hands are drawn there. The refiner sees a frame's draft and input channels and
    those of the clean frame before it, so it can copy, move and draw locally. A network with it learns hands some ten
    times sooner on a CPU than the transformer alone. It begins by adding nothing. The shape is a U-Net's (1505.04597) with sums
    for skips.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        widths, depth = config.refiner_widths, config.refiner_depth
        self.conv_in = nn.Conv2d(config.out_dim + 2 * config.in_dim, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_residual_blocks(width, depth) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths))
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(_residual_blocks(width, depth) for width in widths[:-1])
        self.conv_out = nn.Conv2d(widths[0], config.out_dim, 3, padding=1)

    def reset_parameters(self) -> None:
        """Weights to start training from: every sum begins as its first term."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        layers_that_end_a_sum = [
            m.conv2 if isinstance(m, ResidualBlock) else m.tell for m in self.modules() if isinstance(m, ResidualBlock | GlobalContext)
        ]
        for layer in [*layers_that_end_a_sum, self.conv_out]:
            nn.init.zeros_(layer.weight)

    def forward(
        self, draft: Float[Tensor, "B Z F h w"], inputs: Float[Tensor, "B C F h w"], previous: Float[Tensor, "B C F h w"]
    ) -> Float[Tensor, "B Z F h w"]:
        """The refined output; see `Transformer.refine`."""
        seen = torch.cat([draft, inputs, previous], dim=1).transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        correction = self.conv_out(F.relu(normalised(self._at_all_scales(self.conv_in(seen)))))
        return draft + correction.unflatten(0, (draft.shape[0], -1)).transpose(1, 2)

    def _at_all_scales(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Down to the coarsest scale and up again, every scale's way down added to its way up."""
        skips: list[Tensor] = []
        for blocks, shrink in zip(self.down, [*self.shrink, None], strict=True):
            x = blocks(x)
            if shrink is not None:
                skips.append(x)
                x = shrink(F.relu(x))
        for blocks, grow in reversed(list(zip(self.up, self.grow, strict=True))):
            fine = skips.pop()
            x = blocks(fine + F.interpolate(grow(F.relu(x)), size=fine.shape[-2:]))
        return x


def _residual_blocks(width: int, depth: int) -> nn.Sequential:
    """That many blocks, with a look at the whole frame after every second one."""
    pairs = ((RefinerBlock(width), GlobalContext(width)) if i % 2 else (RefinerBlock(width),) for i in range(depth))
    return nn.Sequential(*chain.from_iterable(pairs))

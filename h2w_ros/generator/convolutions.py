"""The network's convolutions: rays to tokens, and the refinement of a drafted frame by what stands beside it."""

from __future__ import annotations

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
    """Adds to the transformer's drafted output what convolutions see at the latents' own resolution.

    Patches hide what happens inside them; hands are drawn there. The refiner sees a frame's draft and input channels and the
    input channels of the clean frame before it, so it can copy, move and draw locally. A network with it learns hands some ten
    times sooner on a CPU than the transformer alone. It begins by adding nothing.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.refiner_width
        self.conv_in = nn.Conv2d(config.out_dim + 2 * config.in_dim, width, 3, padding=1)
        self.residual_blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(config.refiner_depth)))
        self.conv_out = nn.Conv2d(width, config.out_dim, 3, padding=1)

    def reset_parameters(self) -> None:
        """Weights to start training from: every sum begins as its first term."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        for block in self.residual_blocks:
            nn.init.zeros_(block.get_parameter("conv2.weight"))
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self, draft: Float[Tensor, "B Z F h w"], inputs: Float[Tensor, "B C F h w"], previous: Float[Tensor, "B C F h w"]
    ) -> Float[Tensor, "B Z F h w"]:
        """The refined output; see `Transformer.refine`."""
        seen = torch.cat([draft, inputs, previous], dim=1).transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        correction = self.conv_out(F.relu(self.residual_blocks(self.conv_in(seen))))
        return draft + correction.unflatten(0, (draft.shape[0], -1)).transpose(1, 2)

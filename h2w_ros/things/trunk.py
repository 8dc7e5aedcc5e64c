"""What networks that look at single pictures have in common: a U-Net from 1/4 of the picture to 1/16 and back.

Shapes: n pictures of H x W, c channels.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.generator.convolutions import GlobalContext

STRIDE = 4
"""Of the finest scale: what is finer is packed into channels on the way in, and unpacked on the way out. Few wide channels cost a CPU less
than many thin ones, and learn sooner."""


class Block(nn.Module):
    """Two convolutions, normalised over the batch, and the input added. Without norms it learns several times slower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions find."""
        return x + self.convolutions(x)


class Trunk(nn.Module):
    """Features of every picture by itself; `widths` are the channels at 1/4, 1/8 and 1/16 of it, `depths` the blocks there on the way down."""

    def __init__(self, channels: int, widths: tuple[int, ...], depths: tuple[int, ...] = (2, 2, 2)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], STRIDE, stride=STRIDE), nn.BatchNorm2d(widths[0]))
        self.down = nn.ModuleList(nn.Sequential(*(Block(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths))
        self.whole = GlobalContext(widths[-1])
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(Block(width) for width in widths[:-1])

    def features(self, pictures: Float[Tensor, "n c H W"]) -> tuple[Tensor, Tensor]:
        """What is seen at 1/4 and at 1/8 of the pictures' size."""
        x, skips = self.stem(pictures), []
        for blocks, shrink in zip(self.down, [*self.shrink, None], strict=True):
            x = blocks(x)
            if shrink is not None:
                skips.append(x)
                x = shrink(F.relu(x))
        x, scales = self.whole(x), []
        for blocks, grow in reversed(list(zip(self.up, self.grow, strict=True))):
            fine = skips.pop()
            x = blocks(fine + F.interpolate(grow(F.relu(x)), size=fine.shape[-2:]))
            scales.append(x)
        eighth, quarter = scales
        return quarter, eighth

"""A small network that says what stands on the table in one picture: which pixels, how far, and what belongs together.

Shapes: n pictures of H x W, multiples of 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from h2w_ros.things.trunk import STRIDE, Trunk

PICTURE_CHANNELS = 8
"""RGB, the two slopes (x/z, y/z) of each pixel's ray, log depth of the table there and whether it is met, and where hands are drawn."""
KINDS = ("surroundings", "thing", "moving part", "hand")
"""What a pixel shows. Moving parts are lids, covers and drawers; forearms count as hands."""
ANSWERS = len(KINDS) + 3
OFFSET_PX = 16.0
"""Offsets are answered in this unit."""


@dataclass(frozen=True)
class LiftingConfig:
    """The network's sizes; pictures of other sizes are brought to `width_px` x `height_px`."""

    width_px: int = 128
    height_px: int = 128
    widths: tuple[int, ...] = (48, 64, 96)
    """Channels at 1/4, 1/8 and 1/16 of the picture."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        for name in ("width_px", "height_px"):
            if getattr(self, name) % 16:
                raise ValueError(f"{name} must be a multiple of 16 (the coarsest scale), got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What the network made of n pictures."""

    kinds: Float[Tensor, "n 4 H W"]
    """Logits of `KINDS`."""
    log_nearer: Float[Tensor, "n H W"]
    """Natural logarithm of the depth over the table's depth at that pixel: 0 on the table, negative on what stands there."""
    offsets_px: Float[Tensor, "n 2 H W"]
    """From each pixel of a thing to the middle (u, v) of what is seen of it."""

    def mirrored(self) -> Surfaces:
        """Those of the mirrored pictures."""
        kinds, log_nearer, offsets = (x.flip(-1) for x in (self.kinds, self.log_nearer, self.offsets_px))
        return Surfaces(kinds, log_nearer, torch.stack([-offsets[:, 0], offsets[:, 1]], dim=1))


def mirrored(pictures: Float[Tensor, "n 8 H W"]) -> Float[Tensor, "n 8 H W"]:
    """The pictures in a world whose x points the other way."""
    flipped = pictures.flip(-1)
    return torch.cat([flipped[:, :3], -flipped[:, 3:4], flipped[:, 4:]], dim=1)


class LiftingNetwork(Trunk):
    """A U-Net with one reader at the finest scale."""

    def __init__(self, config: LiftingConfig | None = None) -> None:
        config = config or LiftingConfig()
        super().__init__(PICTURE_CHANNELS, config.widths)
        self.config = config
        self.read = nn.Sequential(nn.ReLU(), nn.Conv2d(config.widths[0], ANSWERS * STRIDE**2, 3, padding=1))

    def forward(self, pictures: Float[Tensor, "n 8 H W"]) -> Surfaces:
        """What every pixel shows."""
        answers = F.pixel_shuffle(self.read(self.features(pictures)[0]).float(), STRIDE)
        kinds, log_nearer, offsets = answers.split((len(KINDS), 1, 2), dim=1)
        return Surfaces(kinds, log_nearer[:, 0], OFFSET_PX * offsets)

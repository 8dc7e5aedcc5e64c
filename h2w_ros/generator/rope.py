"""Rotary position embedding over time, height and width, in real arithmetic (complex tensors do not export).

Wan's layout: a head's channels are pairs (2i, 2i+1); the first d - 4 (d // 6) channels turn with time, the next
2 (d // 6) with height, the last 2 (d // 6) with width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from h2w_ros.generator.config import Riflex

THETA = 10000.0


@dataclass(frozen=True)
class Rotation:
    """What `rotate` multiplies with: cosines, and sines signed for the swapped pairs; (..., tokens, 1, head_dim)."""

    cos: Tensor
    sin: Tensor

    def to(self, dtype: torch.dtype) -> Rotation:
        """The same rotation in another precision."""
        return Rotation(self.cos.to(dtype), self.sin.to(dtype))


def rotate(x_BLHD: Float[Tensor, "*B L H D"], rotation: Rotation) -> Float[Tensor, "*B L H D"]:
    """Each pair of channels turned by its token's angle."""
    swapped = x_BLHD.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x_BLHD * rotation.cos, swapped, rotation.sin)


def frequencies(head_dim: int, riflex: Riflex | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Angular frequencies [rad a position] of time, height and width, float64."""
    side = 2 * (head_dim // 6)
    time, height, width = (_axis_frequencies(size) for size in (head_dim - 2 * side, side, side))
    if riflex is not None:
        if riflex.k > len(time):
            raise ValueError(f"riflex.k must be within the {len(time)} temporal frequencies of a head of {head_dim}, got {riflex.k}")
        time[riflex.k - 1] = 0.9 * 2 * math.pi / riflex.L_test / riflex.L_test_scale
    return time, height, width


def rotation_table(positions: Int[Tensor, "*B F"], grid: tuple[int, int], head_dim: int, riflex: Riflex | None = None) -> Rotation:
    """The rotation of every token of frames at these temporal positions, over a grid (rows, columns) of tokens.

    Angles are float64 and tables float32, so any position is exact enough: there is no table of positions to run out of.
    """
    time, height, width = (f.to(positions.device) for f in frequencies(head_dim, riflex))
    rows, columns = (torch.arange(size, device=positions.device, dtype=torch.float64) for size in grid)
    shape = (*positions.shape, *grid, -1)
    angles = torch.cat(
        [
            (positions.double()[..., None] * time)[..., None, None, :].expand(shape),
            torch.outer(rows, height)[:, None].expand(shape),
            torch.outer(columns, width)[None].expand(shape),
        ],
        dim=-1,
    ).flatten(-4, -2)  # (..., F * rows * columns, head_dim / 2)
    cos, sin = angles.cos().float(), angles.sin().float()
    return Rotation(torch.stack([cos, cos], -1).flatten(-2).unsqueeze(-2), torch.stack([-sin, sin], -1).flatten(-2).unsqueeze(-2))


def _axis_frequencies(size: int) -> Tensor:
    return THETA ** -(torch.arange(0, size, 2, dtype=torch.float64) / max(size, 1))

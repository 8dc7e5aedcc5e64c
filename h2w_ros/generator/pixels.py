"""The one crossing between pictures (RGB, HWC, uint8) and the generator's tensors (CHW, [-1, 1])."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

Encode = Callable[[UInt8[ndarray, "N T H W 3"]], Tensor]
"""The next pictures of N streams to their latents (N, Z, n, h, w)."""
Decode = Callable[[Tensor], UInt8[ndarray, "N T H W 3"]]
"""The next latents of N streams (N, Z, n, h, w) to their pictures."""


def to_tensor(pictures: UInt8[ndarray, "B H W 3"], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """(B, 3, H, W) in [-1, 1], channels last in memory (convolutions on a CPU are several times faster so).

    Pictures may be read-only or mirrored views, as messages and channel flips make them.
    """
    writable = np.require(pictures, requirements=["C", "W"])
    return torch.from_numpy(writable).to(device).permute(0, 3, 1, 2).to(dtype).div_(127.5).sub_(1.0)


def to_pictures(tensor: Tensor) -> UInt8[ndarray, "B H W 3"]:
    """Pictures of (B, 3, H, W) in [-1, 1]; values outside are clamped."""
    return tensor.float().add(1.0).mul(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

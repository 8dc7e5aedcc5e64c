"""Which numbers networks are trained in."""

from __future__ import annotations

import torch

from h2w_ros.generator.checkpoint import native_dtype


def mixed_precision(device: torch.device | str) -> torch.autocast:
    """bfloat16 for matrices and convolutions where the device multiplies it natively; elsewhere float32, since emulated it is ten times slower."""
    is_native = native_dtype(device) is torch.bfloat16
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_native)

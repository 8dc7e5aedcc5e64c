"""Linear layers whose matrices are laid out once for the CPU's matrix unit, instead of anew in every call.

torch has this as an operator of its compiler's back end only (mkldnn::_linear_pointwise); with 48 tokens it takes about two
thirds of the time of F.linear in bfloat16, and applies GELU on the way. Where torch lacks it, nothing changes but the speed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 48  # tokens the layout is chosen for; any number of them works


class PackedMatrix:
    """A weight and its bias, ready for inference in bfloat16 on a CPU."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.matrix = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self.bias = bias.detach().contiguous()

    def multiply(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        return torch.ops.mkldnn._linear_pointwise(x, self.matrix, self.bias, "none", [], "")

    def multiply_gelu(self, x: Tensor) -> Tensor:
        """gelu(x W^T + b), tanh approximation."""
        return torch.ops.mkldnn._linear_pointwise(x, self.matrix, self.bias, "gelu", [], "tanh")


def packed_or_none(weight: Tensor, bias: Tensor) -> PackedMatrix | None:
    """The packed layer where that is possible and agrees with F.linear; else None."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    try:
        packed = PackedMatrix(weight, bias)
        probe = torch.ones(1, ROWS, weight.shape[1], dtype=weight.dtype)
        agrees = torch.allclose(packed.multiply(probe).float(), F.linear(probe, weight, bias).float(), rtol=0.05, atol=0.05)
    except (RuntimeError, NotImplementedError):  # a torch built without oneDNN
        return None
    return packed if agrees else None


class Linear(nn.Linear):
    """nn.Linear that can be packed for inference. Packing copies the weights: pack again after changing them."""

    packed: PackedMatrix | None = None

    def pack(self) -> None:
        """Lays the matrix out for inference, where that is possible."""
        self.packed = packed_or_none(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        return self.packed.multiply(x) if self.packed is not None and for_inference(x) else super().forward(x)


class FeedForward(nn.Sequential):
    """Linear, GELU (tanh), linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(Linear(dim, hidden_dim), nn.GELU(approximate="tanh"), Linear(hidden_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """The three in a row; GELU inside the first multiplication where that is packed."""
        first, gelu, second = self
        assert isinstance(first, Linear)
        if first.packed is not None and for_inference(x):
            return second(first.packed.multiply_gelu(x))
        return second(gelu(first(x)))


def for_inference(x: Tensor) -> bool:
    """Whether a packed layer may take this input: it has no gradient and one precision."""
    return x.dtype == torch.bfloat16 and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")

"""Muon (Jordan et al. 2024): momentum for matrices, whose every direction steps equally far.

PyTorch's own works in bfloat16, whatever that costs: on a CPU without it, four seconds a step of `tiny` where float32 takes a fifth of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.checkpoint import native_dtype

QUINTIC = 3.4445, -4.7750, 2.0315
"""Of x, x^3 and x^5: repeated, they bring singular values from (0, 1] near 1 in few steps."""
NUM_STEPS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only; weight decay is decoupled from the gradient, as in AdamW."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        shapes = [tuple(matrix.shape) for group in self.param_groups for matrix in group["params"]]
        if not_matrices := [shape for shape in shapes if len(shape) != 2]:
            raise ValueError(f"Muon is for matrices, got a parameter of shape {not_matrices[0]}: give it to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # nobody needs the loss again
        """One update, with Nesterov's momentum."""
        if closure is not None:
            raise ValueError("this optimiser takes no closure: compute the gradients, then step")
        for group in self.param_groups:
            for matrix in (p for p in group["params"] if p.grad is not None):
                state = self.state[matrix]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(matrix)
                kept = state["momentum"]
                kept.lerp_(matrix.grad, 1.0 - group["momentum"])
                direction = orthogonalised(matrix.grad.lerp(kept, group["momentum"]))
                rows, columns = matrix.shape
                matrix.mul_(1.0 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """The matrix with all its singular values near 1 (between 0.7 and 1.2), by Newton-Schulz steps in the device's fast precision."""
    of_x, of_x3, of_x5 = QUINTIC
    x = matrix.to(native_dtype(matrix.device))
    x = (x.T if x.shape[0] > x.shape[1] else x) / x.norm().clamp(min=1e-7)
    for _ in range(NUM_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=of_x3, alpha=of_x5), x, beta=of_x)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)

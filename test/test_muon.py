"""Our Muon against PyTorch's, and what it promises of singular values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from h2w_ros.training.muon import Muon, orthogonalised


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    given = matrix(*shape)
    u, _, vh = torch.linalg.svd(given, full_matrices=False)
    turned = u.T @ orthogonalised(given).float() @ vh.T
    assert turned.diagonal().min() > 0.5
    assert turned.diagonal().max() < 1.3
    assert (turned - turned.diagonal().diag()).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_it_steps_as_pytorchs_does(shape: tuple[int, int]) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch is older than 2.9 and has no Muon")
    ours, theirs = (nn.Parameter(matrix(*shape)) for _ in range(2))
    told = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.95}
    optimisers = Muon([ours], **told), torch.optim.Muon([theirs], **told)
    begun = ours.detach().clone()
    for step in range(4):
        for weight, optimiser in zip((ours, theirs), optimisers, strict=True):
            weight.grad = matrix(*shape, seed=1 + step)
            optimiser.step()
    assert (ours - begun).norm() > 0.5
    assert (ours - theirs).norm() < 0.05 * (ours - begun).norm()  # theirs rounds to bfloat16


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Muon is for matrices, got a parameter of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1, weight_decay=0.0)

"""Rotary embedding in real arithmetic."""

import math

import pytest
import torch

from h2w_ros.generator.config import Riflex
from h2w_ros.generator.rope import frequencies, rotate, rotation_table

HEAD_DIM = 32


def _queries(tokens, seed=0):
    return torch.randn(1, tokens, 2, HEAD_DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotation_keeps_lengths():
    x = _queries(12)
    table = rotation_table(torch.tensor([5, 900]), (2, 3), HEAD_DIM).to(torch.float64)
    torch.testing.assert_close(rotate(x, table).norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)


def test_rotation_equals_the_complex_product_of_the_paper():
    x = _queries(6)
    table = rotation_table(torch.tensor([7]), (2, 3), HEAD_DIM).to(torch.float64)
    time, height, width = frequencies(HEAD_DIM)
    angles = torch.stack([torch.cat([7 * time, row * height, column * width]) for row in range(2) for column in range(3)])
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)[:, None]
    torch.testing.assert_close(rotate(x, table), torch.view_as_real(turned).flatten(-2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [1, 40, 100_000])
def test_products_depend_on_differences_of_position_alone(shift):
    q, k = _queries(1, seed=1), _queries(1, seed=2)

    def product(at_query, at_key):
        tables = (rotation_table(torch.tensor([at]), (1, 1), HEAD_DIM).to(torch.float64) for at in (at_query, at_key))
        return (rotate(q, next(tables)) * rotate(k, next(tables))).sum()

    torch.testing.assert_close(product(9 + shift, 4 + shift), product(9, 4), rtol=0, atol=1e-5)


def test_riflex_changes_one_temporal_frequency_and_no_other():
    plain, changed = frequencies(HEAD_DIM), frequencies(HEAD_DIM, Riflex(k=3, L_test=30, L_test_scale=4.0))
    differs = plain[0] != changed[0]
    assert differs.tolist() == [False, False, True, False, False, False]
    assert changed[0][2] == pytest.approx(0.9 * 2 * math.pi / 30 / 4)
    assert torch.equal(plain[1], changed[1])
    assert torch.equal(plain[2], changed[2])


def test_a_riflex_index_beyond_the_head_is_refused():
    with pytest.raises(ValueError, match="within the 6 temporal frequencies"):
        frequencies(HEAD_DIM, Riflex(k=7, L_test=30))

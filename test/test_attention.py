"""Attention under frame masks, and the masks of streams."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from h2w_ros.generator.attention import attention, causal_mask, mask_plan, masked_attention, teacher_forcing_mask

TOKENS = 3  # a frame


def _tensors(frames, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, frames * TOKENS, 2, 8, generator=generator, requires_grad=requires_grad) for _ in range(3)]


@pytest.mark.parametrize("mask", [causal_mask(5, 3), causal_mask(6, 3, sink=1, latents_per_block=2), teacher_forcing_mask(4, 3)])
def test_frame_masked_attention_equals_a_token_mask(mask):
    q, k, v = _tensors(len(mask))
    tokens = torch.from_numpy(np.kron(mask, np.ones((TOKENS, TOKENS), dtype=bool)))
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), attn_mask=tokens).transpose(1, 2)
    torch.testing.assert_close(masked_attention(q, k, v, mask), expected, rtol=0, atol=1e-5)


def test_the_written_out_attention_equals_the_fused_one():
    fused = attention(*_tensors(4))
    torch.testing.assert_close(attention(*_tensors(4, requires_grad=True)).detach(), fused, rtol=0, atol=1e-6)


def test_neighbours_that_see_the_same_share_a_call():
    assert mask_plan(np.ones((4, 4), dtype=bool).tobytes(), 4) == ((0, 4, (0, 1, 2, 3)),)


def test_a_frame_that_sees_nothing_is_refused():
    mask = np.eye(3, dtype=bool)
    mask[1] = False
    with pytest.raises(ValueError, match=r"frames \[1\] see none"):
        mask_plan(mask.tobytes(), 3)


@pytest.mark.parametrize("per_block", [1, 2, 3])
def test_a_stream_sees_its_block_its_window_and_its_sink(per_block):
    window, sink = 4, 1
    mask = causal_mask(13, window, sink, per_block)
    for latent in range(13):
        end = 1 if latent == 0 else 1 + per_block * (1 + (latent - 1) // per_block)
        assert set(np.flatnonzero(mask[latent])) == (set(range(max(0, end - window), end)) | {0}) & set(range(13))


def test_no_noisy_latent_sees_another_block_s_noise_or_its_own_answer():
    n = 5
    mask = teacher_forcing_mask(n, 3, sink=1, latents_per_block=2)
    block = [0, 1, 1, 2, 2]
    for i in range(n):
        assert [block[j] for j in np.flatnonzero(mask[n + i, n:])] == [block[i]] * block.count(block[i])
        assert all(block[j] < block[i] for j in np.flatnonzero(mask[n + i, :n]))
    assert not mask[:n, n:].any()

"""Attention layers of the network, and attention under a frame-level mask.

Suffixes: B batch, L tokens, F latent frames, H heads, D channels of a head, C channels of the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from h2w_ros.generator.config import TransformerConfig
from h2w_ros.generator.packed import Linear, PackedMatrix, for_inference, packed_or_none

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q, k, v), each (B, L, H, D) and before RoPE -> what the queries read, (B, L, H, D)."""

FrameMask = Bool[np.ndarray, "F F"]
Plan = tuple[tuple[int, int, tuple[int, ...]], ...]


class RMSNorm(nn.Module):
    """Root-mean-square norm over all channels of all heads, as Wan normalises queries and keys."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x over its root mean square, times the weight, in x's dtype."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class SelfAttention(nn.Module):
    """Projections around an attention that the caller chooses: over a clip, under a mask, or over a cache."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = (config.num_heads, config.head_dim)
        self.q, self.k, self.v, self.o = (Linear(config.dim, config.dim) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(config.dim, config.eps) if config.qk_norm else nn.Identity() for _ in range(2))
        self.packed_qkv: PackedMatrix | None = None

    def pack(self) -> None:
        """Queries, keys and values by one multiplication, for inference where that is possible."""
        weight, bias = (torch.cat([getattr(layer, name) for layer in (self.q, self.k, self.v)]) for name in ("weight", "bias"))
        self.packed_qkv = packed_or_none(weight, bias)

    def project(self, x_BLC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, L, H, D), queries and keys normalised."""
        if self.packed_qkv is not None and for_inference(x_BLC):
            q, k, v = self.packed_qkv.multiply(x_BLC).chunk(3, dim=-1)
        else:
            q, k, v = self.q(x_BLC), self.k(x_BLC), self.v(x_BLC)
        return self.norm_q(q).unflatten(-1, self.heads), self.norm_k(k).unflatten(-1, self.heads), v.unflatten(-1, self.heads)

    def forward(self, x_BLC: Tensor, layer: int, attend: Attend) -> Tensor:
        """What every token reads."""
        return self.o(attend(layer, *self.project(x_BLC)).flatten(-2))


class CrossAttention(nn.Module):
    """Reading of the text, whose keys and values are computed once a stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = (config.num_heads, config.head_dim)
        self.q, self.k, self.v, self.o = (Linear(config.dim, config.dim) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(config.dim, config.eps) if config.qk_norm else nn.Identity() for _ in range(2))

    def keys_values(self, text_BLC: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, L, H, D) of embedded text."""
        return self.norm_k(self.k(text_BLC)).unflatten(-1, self.heads), self.v(text_BLC).unflatten(-1, self.heads)

    def forward(self, x_BLC: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """What every token reads from the text."""
        q = self.norm_q(self.q(x_BLC)).unflatten(-1, self.heads)
        return self.o(attention(q, *text).flatten(-2))


def attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
    """Softmax attention of every query over every key, (B, L, H, D).

    With gradients on a CPU it is written out: the fused kernel's backward pass took 2 to 6 times as long at 48 queries and 48 to
    432 keys. Without gradients the fused kernel is faster by half.
    """
    q, k, v = (x.transpose(1, 2) for x in (q_BLHD, k_BLHD, v_BLHD))
    if q.requires_grad and q.device.type == "cpu":
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def masked_attention(
    q_BLHD: Float[Tensor, "B L H D"], k_BLHD: Float[Tensor, "B L H D"], v_BLHD: Float[Tensor, "B L H D"], mask: FrameMask
) -> Float[Tensor, "B L H D"]:
    """Attention under a frame-level mask (query frame, key frame).

    One call for each run of query frames that see the same frames, over the gathered keys of just those: on a CPU this
    beats one call with a token-level mask. Unbinding once keeps the backward pass from filling a full gradient a slice.
    """
    num_frames = len(mask)
    q, k, v = (x.unflatten(1, (num_frames, -1)).unbind(1) for x in (q_BLHD, k_BLHD, v_BLHD))
    read = [
        attention(torch.cat(q[first:last], 1), torch.cat([k[i] for i in visible], 1), torch.cat([v[i] for i in visible], 1))
        for first, last, visible in mask_plan(np.ascontiguousarray(mask).tobytes(), num_frames)
    ]
    return torch.cat(read, dim=1)


@lru_cache(maxsize=64)
def mask_plan(mask_bytes: bytes, num_frames: int) -> Plan:
    """Runs (first, last + 1, visible frames) of neighbouring query frames whose mask rows are equal."""
    mask = np.frombuffer(mask_bytes, dtype=bool).reshape(num_frames, num_frames)
    blind = np.flatnonzero(~mask.any(axis=1))
    if len(blind):
        raise ValueError(f"every frame must see at least one frame (itself), frames {blind.tolist()} see none")
    edges = [0, *(i for i in range(1, num_frames) if (mask[i] != mask[i - 1]).any()), num_frames]
    return tuple((a, b, tuple(np.flatnonzero(mask[a]).tolist())) for a, b in itertools.pairwise(edges))


def causal_mask(num_latents: int, window: int, sink: int = 0, latents_per_block: int = 1) -> FrameMask:
    """Who sees whom in a stream: its own block, the window that ends with it, and the sink.

    Latent 0, the reference, is a block by itself; blocks of `latents_per_block` follow.
    """
    frame = np.arange(num_latents)
    end = 1 + latents_per_block * np.ceil(frame / latents_per_block).astype(int)  # one past the last latent of the frame's block
    key = frame[None]
    return (key < end[:, None]) & ((key >= end[:, None] - window) | (key < sink))


def teacher_forcing_mask(num_latents: int, window: int, sink: int = 0, latents_per_block: int = 1) -> FrameMask:
    """The mask of [clean latents | noisy latents]: a noisy block sees itself and the clean blocks before it.

    Clean latents see one another as a stream's do, so they stand for its cache.
    """
    causal = causal_mask(num_latents, window, sink, latents_per_block)
    block = np.ceil(np.arange(num_latents) / latents_per_block).astype(int)
    same = block[:, None] == block[None]
    return np.block([[causal, np.zeros_like(causal)], [causal & ~same, same]])

"""The network: a Wan-shaped diffusion transformer, bidirectional over clips or causal over a cache.

Suffixes: B batch, L tokens, F latent frames, G groups of tokens that share a timestep, N tokens of a group, C channels.
Parameters carry the released (Wan) names.
"""

from __future__ import annotations

import math
import typing
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from h2w_ros.generator.attention import Attend, CrossAttention, FrameMask, SelfAttention, attention, masked_attention
from h2w_ros.generator.cache import KeyValueCache
from h2w_ros.generator.config import Riflex, TransformerConfig
from h2w_ros.generator.convolutions import CameraAdapter, Refiner
from h2w_ros.generator.packed import FeedForward, Linear
from h2w_ros.generator.rope import Rotation, rotate, rotation_table
from h2w_ros.generator.winograd import pack_convolutions

TextKeys = tuple[tuple[Tensor, Tensor], ...]

GATES = (2, 5)  # places of the gates among a block's six modulations
INITIAL_GATE = 0.3  # blocks speak from the first step: random gates around zero learn some hundred steps later


class BlockModulation(NamedTuple):
    """AdaLN of one block. Scales hold 1 + scale. Each (C,), or (B, G, 1, C) when timesteps differ between tokens."""

    shift_attention: Tensor
    scale_attention: Tensor
    gate_attention: Tensor
    shift_ffn: Tensor
    scale_ffn: Tensor
    gate_ffn: Tensor


class HeadModulation(NamedTuple):
    """AdaLN before the output. `scale` holds 1 + scale. Shapes as in `BlockModulation`."""

    shift: Tensor
    scale: Tensor


class Modulation(NamedTuple):
    """Everything that the timestep decides."""

    blocks: tuple[BlockModulation, ...]
    head: HeadModulation


class Block(nn.Module):
    """Self-attention, text cross-attention (if the network knows text), feed-forward; the timestep modulates."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.self_attn = SelfAttention(config)
        if config.text_dim is not None:
            self.norm3 = nn.LayerNorm(config.dim, config.eps) if config.cross_attn_norm else nn.Identity()
            self.cross_attn = CrossAttention(config)
        self.ffn = FeedForward(config.dim, config.ffn_dim)
        self.modulation = nn.Parameter(torch.empty(1, 6, config.dim))

    def forward(self, x: Tensor, modulation: BlockModulation, layer: int, attend: Attend, text: tuple[Tensor, Tensor] | None) -> Tensor:
        """x, (B, L, C) or (B, G, N, C), after this block."""
        m = modulation
        attended = modulated_norm(x, m.scale_attention, m.shift_attention, self.eps)
        x = torch.addcmul(x, self.self_attn(_tokens(attended), layer, attend).view_as(x), m.gate_attention)
        if text is not None:
            x = x + self.cross_attn(_tokens(self.norm3(x)), text).view_as(x)
        return torch.addcmul(x, self.ffn(modulated_norm(x, m.scale_ffn, m.shift_ffn, self.eps)), m.gate_ffn)

    def project(self, x_BLC: Tensor, modulation: BlockModulation) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values that the self-attention computes from x."""
        return self.self_attn.project(modulated_norm(x_BLC, modulation.scale_attention, modulation.shift_attention, self.eps))


class Head(nn.Module):
    """The last modulated norm and the projection to patches."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.head = Linear(config.dim, config.out_dim * math.prod(config.patch_size))
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))

    def forward(self, x: Tensor, modulation: HeadModulation) -> Tensor:
        """Patches of every token, (B, L, patch * out_dim)."""
        return self.head(_tokens(modulated_norm(x, modulation.scale, modulation.shift, self.eps)))


class Transformer(nn.Module):
    """The network. `forward` sees whole clips (teacher, training); `forward_block` one block over a cache (streaming)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_dim, dim, config.patch_size, config.patch_size)
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        if config.text_dim is not None:
            self.text_embedding = nn.Sequential(nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)
        if config.add_control_adapter:
            self.control_adapter = CameraAdapter(config)
        self.refiner = None if config.refiner is None else Refiner(config, config.refiner)
        self.is_silent = False
        """Whether its output is zero whatever it sees, so that a block's need not be computed; `pack` finds out."""
        # Weights that will be loaded need no beginning, and random numbers on the meta device import torch's compiler: a second of a core.
        if not self.head.modulation.is_meta:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights to start training from: Xavier, small embeddings, and an output of zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(_bias(module))
        small = [self.time_embedding, *(getattr(self, name) for name in ("text_embedding", "control_adapter") if hasattr(self, name))]
        for layer in (layer for module in small for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)
        for modulation in (self.head.modulation, *(block.modulation for block in self._blocks())):
            nn.init.normal_(modulation, std=self.config.dim**-0.5)
        with torch.no_grad():
            for block in self._blocks():
                block.modulation[:, GATES] = INITIAL_GATE
        if self.refiner is not None:
            self.refiner.reset_parameters()

    def pack(self) -> Transformer:
        """Lays the matrices out for fast inference where that is possible (bfloat16 on a CPU), finds out whether it is silent; returns itself.

        Call it last: after loading, merging and conversion, and again after any change of the weights.
        """
        for module in self.modules():
            if isinstance(module, Linear | SelfAttention):
                module.pack()
        pack_convolutions(self)
        self.is_silent = not any(parameter.any() for parameter in self.head.head.parameters())
        return self

    def forward(
        self,
        latents: Float[Tensor, "B C_in F h w"],
        t: Float[Tensor, "B G"],
        ray_tokens: Float[Tensor, "B L C"] | None = None,
        positions: Int[Tensor, "*B F"] | None = None,
        mask: FrameMask | None = None,
        context: Float[Tensor, "B T text_dim"] | None = None,
        riflex: Riflex | None = None,
    ) -> Float[Tensor, "B C_out F h w"]:
        """The network's output for whole clips.

        `t` in [0, 1000] is given a clip (B, 1), a frame (B, F) or a token (B, L). `positions` are temporal positions
        for RoPE, by default 0 .. F-1. `mask` (query frame, key frame) None lets every frame see every frame.
        """
        num_frames, grid = latents.shape[2], self.grid(latents)
        x = self.embed(latents, ray_tokens)
        if t.shape[1] not in (1, num_frames, x.shape[1]):
            raise ValueError(f"t must hold 1, {num_frames} (a frame) or {x.shape[1]} (a token) timesteps a clip, got {t.shape[1]}")
        if positions is None:
            positions = torch.arange(num_frames, device=latents.device)
        attend = _attend_clip(rotation_table(positions, grid, self.config.head_dim, riflex).to(x.dtype), mask)
        text = None if context is None else self.text_keys(context)
        grouped = x.unflatten(1, (t.shape[1], -1))  # (B, G, N, C)
        return self.unpatchify(self.run(grouped, self.modulation(t, x.dtype), attend, text), grid)

    def forward_block(
        self,
        latents: Float[Tensor, "B C_in n h w"],
        modulation: Modulation,
        cache: KeyValueCache,
        ray_tokens: Float[Tensor, "B L C"] | None = None,
        text: TextKeys | None = None,
    ) -> Float[Tensor, "B C_out n h w"]:
        """The network's output for the block that is open in the cache, whose keys and values it writes there.

        `modulation` is that of one timestep for the whole block: `self.modulation(t)` with a scalar t.
        """
        if self.is_silent:
            return latents.new_zeros(latents.shape[0], self.config.out_dim, *latents.shape[2:])
        x = self.embed(latents, ray_tokens)
        return self.unpatchify(self.run(x, modulation, cache.attend, text), self.grid(latents))

    def refinement(
        self,
        inputs: Float[Tensor, "B C_in F h w"],
        previous: Float[Tensor, "B C_in f h w"],
        reference_control: Float[Tensor, "B Z 1 h w"],
        beside: Float[Tensor, "B M F h w"] | None = None,
    ) -> tuple[Float[Tensor, "B D F h w"], Float[Tensor, "B g F h w"]]:
        """What the refiner adds to the output of frames with these input channels, and the outputs of its memory; nothing without a refiner.

        `previous` holds the input channels of the clean frame before each of them (or one frame, before all of them), with the
        stream's reference in its place; `rollout.previous_channels` makes them. `reference_control` says where the reference
        shows hands; it takes the place of the reference in `inputs`, which is empty after the first frame. `beside` is what else it
        sees (`recall.seen_beside`); None is nothing.
        """
        if self.refiner is None:
            return inputs.new_zeros(inputs.shape[0], self.config.out_dim, *inputs.shape[2:]), inputs[:, :0]
        num_channels = reference_control.shape[1]
        filled = inputs.clone()
        filled[:, 2 * num_channels : 3 * num_channels] = reference_control
        added: tuple[Tensor, Tensor] = self.refiner(
            filled, previous.to(inputs.dtype).expand_as(inputs), None if beside is None else beside.to(inputs.dtype)
        )
        return added

    def write_block(
        self,
        latents: Float[Tensor, "B C_in n h w"],
        modulation: Modulation,
        cache: KeyValueCache,
        ray_tokens: Float[Tensor, "B L C"] | None = None,
        text: TextKeys | None = None,
    ) -> None:
        """Writes the open block's keys and values without computing an output: the last block stops at its projections.

        A silent network has no use for them.
        """
        if not self.blocks or self.is_silent:
            return
        x = self.embed(latents, ray_tokens)
        *before, last = enumerate(self._blocks())
        for layer, block in before:
            x = block(x, modulation.blocks[layer], layer, cache.attend, None if text is None else text[layer])
        layer, block = last
        _, k, v = block.project(x, modulation.blocks[layer])
        cache.write(layer, k, v)

    def run(self, x: Tensor, modulation: Modulation, attend: Attend, text: TextKeys | None) -> Tensor:
        """Embedded tokens through all blocks and the head."""
        for layer, block in enumerate(self._blocks()):
            x = block(x, modulation.blocks[layer], layer, attend, None if text is None else text[layer])
        return self.head(x, modulation.head)

    def embed(self, latents: Float[Tensor, "B C_in F h w"], ray_tokens: Float[Tensor, "B L C"] | None) -> Float[Tensor, "B L C"]:
        """Patch tokens, frame by frame and row by row, with the rays' tokens added."""
        _, rows, columns = self.config.patch_size
        patches = latents.unflatten(4, (-1, columns)).unflatten(3, (-1, rows))  # (B, C_in, F, h', rows, w', columns)
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)  # (B, L, C_in * patch)
        x = F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
        return x if ray_tokens is None else x + ray_tokens.to(x.dtype)

    def embed_rays(self, plucker: Float[Tensor, "B c F H W"]) -> Float[Tensor, "B L C"]:
        """Tokens of packed Plücker maps at picture size, to be added before the first block."""
        return self.control_adapter(plucker).flatten(3).transpose(2, 3).flatten(1, 2)

    def text_keys(self, context: Float[Tensor, "B T text_dim"]) -> TextKeys:
        """Every block's keys and values of encoded text, which is padded with zeros to `text_len` as Wan does."""
        missing = self.config.text_len - context.shape[1]
        if missing < 0:
            raise ValueError(f"text must have at most text_len = {self.config.text_len} tokens, got {context.shape[1]}")
        embedded = self.text_embedding(F.pad(context, (0, 0, 0, missing)))
        return tuple(block.cross_attn.keys_values(embedded) for block in self._blocks())

    def modulation(self, t: Float[Tensor, "*BG"], dtype: torch.dtype | None = None) -> Modulation:
        """All shifts, scales and gates at t in [0, 1000]: a scalar for a whole block, or (B, G).

        Computed in float32 whatever the weights are, and handed out in `dtype` (default: that of the weights).
        """
        dtype = dtype or self.patch_embedding.weight.dtype
        with torch.autocast(t.device.type, enabled=False):
            embedded = _time_embedding(self.time_embedding, sinusoid(t, self.config.freq_dim))
            projected = _linear_float32(self.time_projection[1], F.silu(embedded)).unflatten(-1, (6, -1))
            blocks = tuple(BlockModulation(*_modulations(block.modulation, projected, (1, 4), dtype)) for block in self._blocks())
            head = HeadModulation(*_modulations(self.head.modulation, embedded.unsqueeze(-2), (1,), dtype))
        return Modulation(blocks, head)

    def _blocks(self) -> list[Block]:
        return typing.cast(list[Block], list(self.blocks))

    def grid(self, latents: Tensor) -> tuple[int, int]:
        """Rows and columns of tokens of one latent frame."""
        _, rows, columns = self.config.patch_size
        if latents.shape[-2] % rows or latents.shape[-1] % columns:
            raise ValueError(f"latents must be a multiple of the patch ({rows}, {columns}) in size, got {tuple(latents.shape[-2:])}")
        return latents.shape[-2] // rows, latents.shape[-1] // columns

    def unpatchify(self, tokens: Float[Tensor, "B L P"], grid: tuple[int, int]) -> Float[Tensor, "B C_out F h w"]:
        """Latent frames from every token's patch, whose channels come last."""
        _, rows, columns = self.config.patch_size
        patches = tokens.view(tokens.shape[0], -1, *grid, rows, columns, self.config.out_dim)
        return patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)


def sinusoid(t: Float[Tensor, "*BG"], freq_dim: int) -> Float[Tensor, "*BG freq_dim"]:
    """Cosines, then sines, of t at geometrically falling frequencies (angles in float64), float32."""
    half = freq_dim // 2
    angles = t.double()[..., None] * 10000.0 ** -(torch.arange(half, device=t.device, dtype=torch.float64) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Layer norm, times scale, plus shift: one fused call where all tokens share them."""
    if scale.ndim == 1:
        return F.layer_norm(x, scale.shape, scale, shift, eps)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), scale)


def _attend_clip(rotation: Rotation, mask: FrameMask | None) -> Attend:
    """Attention over a whole clip, under a mask if there is one."""

    def attend(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = rotate(q, rotation), rotate(k, rotation)
        return attention(q, k, v) if mask is None else masked_attention(q, k, v, mask)

    return attend


def _tokens(x: Tensor) -> Tensor:
    """(B, G, N, C) as (B, L, C); (B, L, C) stays."""
    return x.flatten(1, -2)


def _modulations(learned: Tensor, timed: Tensor, scales: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Learned plus timed modulation, one tensor a role; those at `scales` get their 1."""
    parts = list((learned[0].float() + timed).unbind(-2))
    for i in scales:
        parts[i] = 1.0 + parts[i]
    return [(part if part.ndim == 1 else part.unsqueeze(-2)).to(dtype) for part in parts]


def _time_embedding(layers: nn.Sequential, x: Tensor) -> Tensor:
    return _linear_float32(layers[2], F.silu(_linear_float32(layers[0], x)))


def _linear_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer in float32 even where its weights are not."""
    assert isinstance(layer, nn.Linear)
    return F.linear(x, layer.weight.float(), layer.bias.float())


def _bias(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> Tensor:
    """The bias that every layer of this network has."""
    assert layer.bias is not None
    return layer.bias

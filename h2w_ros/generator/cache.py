"""Keys and values of a stream: one ring for all layers, with a sink, preallocated, the same work for every block.

A block is opened (its place in the ring and its positions are decided), written any number of times (once a denoising
step, then once clean), and closed. Slots hold one latent frame each. Slot order is not time order after the ring has
wrapped; attention does not mind.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from h2w_ros.generator.attention import attention
from h2w_ros.generator.config import RolloutConfig, TransformerConfig
from h2w_ros.generator.rope import Rotation, rotate, rotation_table


@dataclass(frozen=True, eq=False)
class _Before:
    """What a block that may be given up took the place of."""

    slots: list[int]
    visible: int
    opened: range | None
    held: tuple[Tensor, ...]
    """Keys, values and the sink's keys that stood in the block's slots."""


class KeyValueCache:
    """The context of `batch` streams that advance together.

    Keys are kept after RoPE at their latent's index in the stream. With `keys` = 'rotated' that holds for the sink too,
    which the stream leaves further and further behind. With 'relative' the sink's keys are also kept before RoPE and are
    placed anew for every block, right before the window. RoPE sees only differences of positions, so every block then sees
    what it would see at the fixed positions 0 .. sink + window - 1, and no distance ever exceeds that range.
    """

    def __init__(
        self,
        config: TransformerConfig,
        rollout: RolloutConfig,
        batch: int,
        grid: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rollout, self.grid, self.head_dim = rollout, grid, config.head_dim
        shape = (config.num_layers, batch, rollout.capacity, grid[0] * grid[1], config.num_heads, config.head_dim)
        self.keys, self.values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        self.sink_keys = torch.zeros_like(self.keys[:, :, : rollout.sink])  # before RoPE
        self.num_latents = 0
        self._slots: list[int] = []
        self._visible = 0
        self._opened: range | None = None  # latents that are still to be placed
        self._rotation: Rotation | None = None
        self._sink_at = 0  # the position of the sink's first key
        self._before: _Before | None = None

    @property
    def _stores(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.keys, self.values, self.sink_keys

    @property
    def num_bytes(self) -> int:
        """Memory of the context."""
        return self.keys.nbytes + self.values.nbytes + self.sink_keys.nbytes

    def reset(self) -> None:
        """Forgets the streams; the memory stays."""
        self.num_latents = 0
        self._slots, self._before, self._sink_at = [], None, 0

    def branch(self, num_branches: int) -> KeyValueCache:
        """That many copies of the context, as streams that advance together; this one stays as it is."""
        twin = copy.copy(self)
        twin.keys, twin.values, twin.sink_keys = (x.repeat_interleave(num_branches, 1) for x in self._stores)
        return twin

    def open_block(self, num_latents: int, may_be_given_up: bool = False) -> None:
        """Makes room for the streams' next latents; what they will see is placed when they first look, which a silent network never does.

        Until it is closed, a block may be opened again: nothing that its own context needs is lost. One that `may_be_given_up` also
        keeps what it takes the place of, which the block before it may need.
        """
        self.give_up_block()
        latents = range(self.num_latents, self.num_latents + num_latents)
        slots = [self.slot(latent) for latent in latents]
        if may_be_given_up:
            held = tuple(store[:, :, [slot for slot in slots if slot < store.shape[2]]] for store in self._stores)  # copies
            self._before = _Before(self._slots, self._visible, self._opened, held)
        self._slots = slots
        self._visible = min(latents.stop, self.rollout.capacity)
        self._opened, self._rotation = latents, None

    def give_up_block(self) -> None:
        """As if the open block had never been, where it may be given up: writing goes to the one before it again."""
        if self._before is None:
            return
        for store, held in zip(self._stores, self._before.held, strict=True):
            store[:, :, [slot for slot in self._slots if slot < store.shape[2]]] = held
        self._slots, self._visible, self._opened = self._before.slots, self._before.visible, self._before.opened
        self._rotation, self._before = None, None

    def close_block(self) -> None:
        """Keeps what was written last; the streams advance. Until the next block opens, writing still goes to this one."""
        self.num_latents += len(self._slots)
        self._before = None

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Keeps the open block's keys, before RoPE, and values, (B, L, H, D)."""
        for store, x in zip(self._stores, (rotate(k, self._placed()), v, k), strict=True):
            for slot, frame in zip(self._slots, x.unflatten(1, (len(self._slots), -1)).unbind(1), strict=True):
                if slot < store.shape[2]:
                    store[layer, :, slot] = frame

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Writes the open block's keys and values, then attends to all that is visible; (B, L, H, D).

        Gradients flow through the open block, never into what was written before it.
        """
        self.write(layer, k.detach(), v.detach())
        rotation = self._placed()
        if k.requires_grad:
            return attention(rotate(q, rotation), *self._with_gradient(layer, rotate(k, rotation), v))
        keys, values = (x[layer, :, : self._visible].flatten(1, 2) for x in (self.keys, self.values))
        return attention(rotate(q, rotation), keys, values)

    def _with_gradient(self, layer: int, rotated_k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All visible keys and values (B, L, H, D): the open block's own, and copies of the others."""
        others = [slot for slot in range(self._visible) if slot not in self._slots]
        keys, values = (x[layer, :, others].flatten(1, 2).to(v.dtype) for x in (self.keys, self.values))
        return torch.cat([keys, rotated_k.to(v.dtype)], dim=1), torch.cat([values, v], dim=1)

    def slot(self, latent: int) -> int:
        """Where the stream's latent of this index is kept."""
        sink, window = self.rollout.sink, self.rollout.window
        return latent if latent < sink else sink + (latent - sink) % window

    def sink_positions(self, stop: int) -> range:
        """Where the sink stands when the newest latent is stop - 1."""
        moved = max(0, stop - self.rollout.capacity) if self.rollout.keys == "relative" else 0
        return range(moved, moved + self.rollout.sink)

    def _placed(self) -> Rotation:
        """The open block's rotation; the sink is placed before it the first time that anybody asks."""
        if self._rotation is None:
            assert self._opened is not None
            self._rotation = self._rotation_at(self._opened)
            self._place_sink(self.sink_positions(self._opened.stop))
        return self._rotation

    def _place_sink(self, positions: range) -> None:
        """Moves it there, if it stands elsewhere: before the open block's window, or back where a block that was given up had moved it on."""
        if positions.start == self._sink_at:
            return
        self._sink_at = positions.start
        placed = rotate(self.sink_keys.flatten(2, 3), self._rotation_at(positions))
        self.keys[:, :, : self.rollout.sink] = placed.view_as(self.sink_keys)

    def _rotation_at(self, positions: range) -> Rotation:
        indices = torch.arange(positions.start, positions.stop, device=self.values.device)
        return rotation_table(indices, self.grid, self.head_dim, self.rollout.riflex).to(self.values.dtype)

"""Keys and values of a stream: one ring for all layers, with a sink, preallocated, the same work for every block.

A block is opened (its place in the ring and its positions are decided), written any number of times (once a denoising
step, then once clean), and closed. Slots hold one latent frame each. Slot order is not time order after the ring has
wrapped; attention does not mind.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from h2w_ros.generator.attention import attention
from h2w_ros.generator.config import Riflex, RolloutConfig, TransformerConfig
from h2w_ros.generator.rope import Rotation, rotate, rotation_table


class KeyValueCache:
    """The context of `batch` streams that advance together.

    With `keys` = 'rotated' a key is stored after RoPE at its absolute position. With 'relative' it is stored before
    RoPE; opening a block places every visible latent anew: the sink at 0 .. sink-1, the window behind it, the current
    block last. Positions then never exceed the window, and until it is full latent j has position j in both modes.
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
        self.placed_keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.placed_keys)
        self.bare_keys = torch.zeros_like(self.placed_keys) if rollout.keys == "relative" else None
        self.num_latents = 0
        self._slots: list[int] = []
        self._visible = 0
        self._rotation: Rotation | None = None

    @property
    def num_bytes(self) -> int:
        """Memory of the context."""
        return sum(x.nbytes for x in (self.placed_keys, self.values, self.bare_keys) if x is not None)

    def reset(self) -> None:
        """Forgets the streams; the memory stays."""
        self.num_latents = 0
        self._slots = []

    def open_block(self, num_latents: int) -> None:
        """Makes room for the streams' next latents and places everything that they will see.

        Until it is closed, a block may be opened again: nothing that its own context needs is lost.
        """
        latents = range(self.num_latents, self.num_latents + num_latents)
        self._slots = [self.slot(latent) for latent in latents]
        self._visible = min(latents.stop, self.rollout.capacity)
        shift = max(0, latents.stop - self.rollout.capacity) if self.bare_keys is not None else 0
        self._rotation = self._rotation_at(tuple(latent - shift for latent in latents))
        if self.bare_keys is not None:
            self._place(self.bare_keys, latents.stop)

    def close_block(self) -> None:
        """Keeps what was written last; the streams advance. Until the next block opens, writing still goes to this one."""
        self.num_latents += len(self._slots)

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Keeps the open block's keys, before RoPE, and values, (B, L, H, D)."""
        assert self._rotation is not None
        self._store(self.placed_keys, layer, rotate(k, self._rotation))
        self._store(self.values, layer, v)
        if self.bare_keys is not None:
            self._store(self.bare_keys, layer, k)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Writes the open block's keys and values, then attends to all that is visible; (B, L, H, D)."""
        assert self._rotation is not None
        self.write(layer, k, v)
        keys, values = (x[layer, :, : self._visible].flatten(1, 2) for x in (self.placed_keys, self.values))
        return attention(rotate(q, self._rotation), keys, values)

    def slot(self, latent: int) -> int:
        """Where the stream's latent of this index is kept."""
        sink, window = self.rollout.sink, self.rollout.window
        return latent if latent < sink else sink + (latent - sink) % window

    def _place(self, bare_keys: Tensor, stop: int) -> None:
        """Rotates all cached keys, all layers at once, to where they stand when the newest latent is stop - 1."""
        bare = bare_keys[:, :, : self._visible]
        rotation = self._rotation_at(self.slot_positions(stop))
        self.placed_keys[:, :, : self._visible] = rotate(bare.flatten(2, 3), rotation).view_as(bare)

    def slot_positions(self, stop: int) -> tuple[int, ...]:
        """Position of every visible slot: sinks at their index, the window behind them in order of time."""
        positions = list(range(self._visible))
        for latent in range(max(self.rollout.sink, stop - self.rollout.window), stop):
            positions[self.slot(latent)] = latent - max(0, stop - self.rollout.capacity)
        return tuple(positions)

    def _rotation_at(self, positions: tuple[int, ...]) -> Rotation:
        return cached_rotation(positions, self.grid, self.head_dim, self.rollout.riflex, self.values.dtype, self.values.device)

    def _store(self, store: Tensor, layer: int, x: Tensor) -> None:
        for slot, frame in zip(self._slots, x.unflatten(1, (len(self._slots), -1)).unbind(1), strict=True):
            store[layer, :, slot] = frame


@lru_cache(maxsize=64)
def cached_rotation(
    positions: tuple[int, ...], grid: tuple[int, int], head_dim: int, riflex: Riflex | None, dtype: torch.dtype, device: torch.device
) -> Rotation:
    """The rotation of frames at these positions. Window-relative positions recur, so their tables are made once."""
    return rotation_table(torch.tensor(positions, device=device), grid, head_dim, riflex).to(dtype)

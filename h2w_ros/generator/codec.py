"""Codecs without memory between frames, such as `tiny` has: one picture in, one latent out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from h2w_ros.generator.pixels import Decode, Encode, to_pictures, to_tensor


@runtime_checkable
class PictureCodec(Protocol):
    """Turns single pictures (B, 3, H, W) into latents (B, Z, h, w), and back."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of pictures in [-1, 1]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents; not clamped."""


@dataclass(frozen=True)
class FramewiseEncoder:
    """Pictures (T, H, W, 3) to latents (1, Z, T, h, w); keeps nothing from block to block."""

    codec: PictureCodec

    def __call__(self, pictures: UInt8[ndarray, "T H W 3"]) -> Tensor:
        """The block's latents."""
        return self.codec.encode(to_tensor(pictures, self.codec.dtype, self.codec.device)).transpose(0, 1)[None]

    def branch(self, num_streams: int) -> Encode:  # noqa: ARG002  no stream keeps anything, so they need not be told apart
        """Encodes that many streams together, as one long block."""
        return lambda clips: self(clips.reshape(-1, *clips.shape[2:]))[0].unflatten(1, clips.shape[:2]).transpose(0, 1)


@dataclass(frozen=True)
class FramewiseDecoder:
    """Latents (1, Z, T, h, w) to pictures (T, H, W, 3); keeps nothing from block to block."""

    codec: PictureCodec

    def __call__(self, latents: Tensor) -> UInt8[ndarray, "T H W 3"]:
        """The block's pictures."""
        frames = latents[0].transpose(0, 1).to(self.codec.device, self.codec.dtype, memory_format=torch.channels_last)
        return to_pictures(self.codec.decode(frames))

    def branch(self, num_streams: int) -> Decode:
        """Decodes that many streams together, as one long block."""

        def decode(latents: Tensor) -> UInt8[ndarray, "N T H W 3"]:
            pictures = self(latents.transpose(0, 1).flatten(1, 2)[None])
            return pictures.reshape(num_streams, -1, *pictures.shape[1:])

        return decode

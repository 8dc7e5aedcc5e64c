"""A small frame-wise autoencoder for `tiny`: one picture in, one latent out, no memory between frames.

Space is folded into channels at both ends (pixel unshuffle), and every change of resolution carries a parameter-free
shortcut that folds the same way (DC-AE, arXiv 2410.10733), so that training starts near the identity. The same weights
encode camera images, hand renders and static renders.

Legend: B batch, C channels, H W picture, h w latent (H / spatial_stride), Z latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from h2w_ros.generator.config import CodecConfig
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


class FramewiseCodec(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, Z, h, w) of zero mean and unit variance a channel, and back."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        if config.spatial_stride != 8 or config.temporal_stride != 1:
            strides = (config.spatial_stride, config.temporal_stride)
            raise ValueError(f"the frame-wise codec has spatial stride 8 and temporal stride 1, got {strides}")
        self.config = config
        width, depth = config.width, config.depth
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, width, 3, padding=1),
            Fold(width, 2 * width),
            *(Residual(2 * width) for _ in range(depth)),
            Fold(2 * width, 4 * width),
            *(Residual(4 * width) for _ in range(depth)),
            nn.Conv2d(4 * width, config.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, 4 * width, 3, padding=1),
            *(Residual(4 * width) for _ in range(2 * depth)),
            Unfold(4 * width, 2 * width),
            *(Residual(2 * width) for _ in range(depth)),
            Unfold(2 * width, width),
            *(Residual(width) for _ in range(depth)),
            nn.Conv2d(width, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("latent_mean", torch.zeros(1, config.latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, config.latent_channels, 1, 1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Normalised latents of pictures."""
        return (self.encoder(pictures) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of normalised latents; not clamped."""
        return self.decoder(latents * self.latent_std + self.latent_mean)

    def encoder_stream(self) -> FramewiseEncoder:
        """Encodes a stream of pictures, block by block."""
        return FramewiseEncoder(self)

    def decoder_stream(self) -> FramewiseDecoder:
        """Decodes a stream of latents, block by block."""
        return FramewiseDecoder(self)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.encoder.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_mean.device


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


class Residual(nn.Module):
    """x + conv(silu(conv(x))); the second convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x + self.conv2(F.silu(self.conv1(x)))


class Fold(nn.Module):
    """Halves the resolution: a strided convolution beside a shortcut that folds space and averages channel groups."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)
        self.channels_out = channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, channels_out, h / 2, w / 2)."""
        return self.conv(x) + F.pixel_unshuffle(x, 2).unflatten(1, (self.channels_out, -1)).mean(2)


class Unfold(nn.Module):
    """Doubles the resolution: a convolution whose channels become space, beside a shortcut that repeats channels."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1)
        self.repeats = 4 * channels_out // channels_in

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, channels_out, 2 h, 2 w)."""
        return F.pixel_shuffle(self.conv(x) + x.repeat_interleave(self.repeats, dim=1), 2)

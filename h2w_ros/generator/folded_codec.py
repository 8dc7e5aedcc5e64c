"""Latents that are the picture itself, smaller and folded: nothing to learn at the encoder, a learned enlargement at the decoder.

A regression that is unsure answers with a mean. The mean of two learned latents decodes to anything; the mean of two small pictures
is a picture between them. So a generator of few steps draws plausible hands from these latents long before it is sure of them,
and can lay them over what it knows by weights of its own (`prediction` = 'layers').

Legend: B batch, H W picture, h w latent (H / spatial_stride), Z = 3 fold^2 latent channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from h2w_ros.generator.codec import FramewiseDecoder, FramewiseEncoder
from h2w_ros.generator.config import CodecConfig
from h2w_ros.generator.winograd import Conv3x3, pack_convolutions

LATENT_SCALE = 2.0
"""Pictures in [-1, 1] have a standard deviation of about half."""


class FoldedCodec(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, Z, h, w), and back. The decoder's network is all that is trained."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.fold = math.isqrt(config.latent_channels // 3)
        if 3 * self.fold**2 != config.latent_channels or config.spatial_stride % self.fold:
            got = f"latent_channels={config.latent_channels}, spatial_stride={config.spatial_stride}"
            raise ValueError(f"a folded codec has 3 n^2 latent channels with n a divisor of its stride, got {got}")
        self.config, self.shrink = config, config.spatial_stride // self.fold
        self.decoder = nn.Sequential(
            Conv3x3(3, config.width),
            *(Residual(config.width) for _ in range(config.depth)),
            Conv3x3(config.width, 3 * self.shrink**2),
            nn.PixelShuffle(self.shrink),
        )
        nn.init.zeros_(self.decoder[-2].get_parameter("weight"))
        nn.init.zeros_(self.decoder[-2].get_parameter("bias"))

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of pictures."""
        return F.pixel_unshuffle(F.avg_pool2d(pictures, self.shrink), self.fold) * LATENT_SCALE

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents; not clamped."""
        small = F.pixel_shuffle(latents, self.fold) / LATENT_SCALE
        return F.interpolate(small, scale_factor=float(self.shrink), mode="bilinear") + self.decoder(small)

    def encoder_stream(self) -> FramewiseEncoder:
        """Encodes a stream of pictures, block by block."""
        return FramewiseEncoder(self)

    def decoder_stream(self) -> FramewiseDecoder:
        """Decodes a stream of latents, block by block."""
        return FramewiseDecoder(self)

    def pack(self) -> FoldedCodec:
        """Prepares the decoder for fast inference; call it last, and again after any change of the weights. Returns itself."""
        pack_convolutions(self)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.decoder[0].get_parameter("weight").dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder[0].get_parameter("weight").device


class Residual(nn.Module):
    """x + conv(silu(conv(x))); the second convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, channels)
        self.conv2 = Conv3x3(channels, channels)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x + self.conv2(F.silu(self.conv1(x)))

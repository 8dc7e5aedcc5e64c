"""Wan's causal video autoencoder (diffusers' AutoencoderKLWan) driven block by block.

diffusers clears the temporal caches at both ends of every call, so a stream would forget its past. Here each stream owns
its caches and calls the network's halves with them; the weights and layers stay diffusers' own.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from h2w_ros.generator.pixels import Decode, Encode, to_pictures, to_tensor

StreamT = TypeVar("StreamT", "WanEncoderStream", "WanDecoderStream")


class WanCodec:
    """Latents (1, Z, L, h, w), normalised by the checkpoint's own mean and deviation; temporal stride 4."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(shape)
        self._std = torch.tensor(vae.config.latents_std).view(shape)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> WanCodec:
        """Opens a diffusers VAE folder (config.json and safetensors), in float32."""
        try:
            from diffusers import AutoencoderKLWan
        except ImportError as error:
            raise ImportError("Wan's autoencoder needs diffusers: pip install 'h2w_ros[wan]'") from error
        return cls(AutoencoderKLWan.from_pretrained(path, local_files_only=True, use_safetensors=True).to(device))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.vae.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vae.device

    def encoder_stream(self) -> WanEncoderStream:
        """Encodes one stream: first one picture, then four a latent."""
        return WanEncoderStream(self)

    def decoder_stream(self) -> WanDecoderStream:
        """Decodes one stream: one picture for the first latent, four for each later one."""
        return WanDecoderStream(self)

    def normalised(self, raw: Tensor) -> Tensor:
        """Latents as the transformer takes them: zero mean and unit variance a channel."""
        return (raw - self._mean.to(raw)) / self._std.to(raw)

    def raw(self, normalised: Tensor) -> Tensor:
        """Latents as the autoencoder takes them."""
        return normalised * self._std.to(normalised) + self._mean.to(normalised)


class WanEncoderStream:
    """Pictures (T, H, W, 3) to latents (1, Z, L, h, w); T is 1 in the first call and a multiple of 4 afterwards."""

    def __init__(self, codec: WanCodec) -> None:
        self._codec = codec
        self._features: list[Any] = [None] * codec.vae._cached_conv_counts["encoder"]
        self._started = False

    def __call__(self, pictures: UInt8[ndarray, "T H W 3"]) -> Tensor:
        """The next latents of the stream."""
        expected = 4 if self._started else 1
        if len(pictures) % expected or (not self._started and len(pictures) != 1):
            raise ValueError(f"Wan's encoder takes one picture first, then multiples of four, got {len(pictures)}")
        video = to_tensor(pictures, self._codec.dtype, self._codec.device).transpose(0, 1)[None]
        self._started = True
        return torch.cat([self._encode(chunk) for chunk in video.split(expected, dim=2)], dim=2)

    def branch(self, num_streams: int) -> Encode:
        """Encodes that many streams that go on from here, one after the other."""
        streams = [_twin(self) for _ in range(num_streams)]
        return lambda clips: torch.cat([stream(clip) for stream, clip in zip(streams, clips, strict=True)])

    def _encode(self, chunk: Tensor) -> Tensor:
        vae = self._codec.vae
        if vae.config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

            chunk = patchify(chunk, patch_size=vae.config.patch_size)
        moments = vae.quant_conv(vae.encoder(chunk, feat_cache=self._features, feat_idx=[0]))
        return self._codec.normalised(moments.chunk(2, dim=1)[0])


class WanDecoderStream:
    """Latents (1, Z, L, h, w) to pictures (T, H, W, 3)."""

    def __init__(self, codec: WanCodec) -> None:
        self._codec = codec
        self._features: list[Any] = [None] * codec.vae._cached_conv_counts["decoder"]
        self._started = False

    def __call__(self, latents: Tensor) -> UInt8[ndarray, "T H W 3"]:
        """The next pictures of the stream."""
        video = torch.cat([self._decode(latent) for latent in latents.to(self._codec.device, self._codec.dtype).split(1, dim=2)], dim=2)
        return to_pictures(video[0].transpose(0, 1))

    def branch(self, num_streams: int) -> Decode:
        """Decodes that many streams that go on from here, one after the other."""
        streams = [_twin(self) for _ in range(num_streams)]
        return lambda latents: np.stack([stream(one[None]) for stream, one in zip(streams, latents, strict=True)])

    def _decode(self, latent: Tensor) -> Tensor:
        vae = self._codec.vae
        features = vae.post_quant_conv(self._codec.raw(latent))
        frames = vae.decoder(features, feat_cache=self._features, feat_idx=[0], first_chunk=not self._started)
        self._started = True
        if vae.config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

            frames = unpatchify(frames, patch_size=vae.config.patch_size)
        return frames


def _twin(stream: StreamT) -> StreamT:
    """A stream with the same past. The network replaces what it keeps, and never writes into it, so that the two may share it."""
    twin = copy.copy(stream)
    twin._features = list(stream._features)
    return twin

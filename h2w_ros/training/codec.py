"""The codec stage: reconstruct pictures of the world through a noisy latent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.codec import PictureCodec
from h2w_ros.generator.pixels import to_tensor
from h2w_ros.training.config import CodecTraining


class PictureSource:
    """Random frames of random episodes; pixel files are read as they are drawn, a few at a time."""

    def __init__(self, files: list[Path], config: CodecTraining, rng: np.random.Generator, held: int = 24) -> None:
        if not files:
            raise FileNotFoundError("No pixel files to train the codec on; run `h2w train simulate` first")
        self._files, self._config, self._rng, self._held = files, config, rng, held
        self._pool: list[dict[str, np.ndarray]] = []

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            self._refresh()
            yield to_tensor(np.stack([self._picture() for _ in range(self._config.batch_pictures)]))

    def _refresh(self) -> None:
        """Replaces the oldest held episode by a new one."""
        while len(self._pool) < self._held:
            self._pool.append(self._load())
        self._pool.pop(0)
        self._pool.append(self._load())

    def _load(self) -> dict[str, np.ndarray]:
        with np.load(self._files[self._rng.integers(len(self._files))]) as pixels:
            return {name: pixels[name] for name in ("image", "static", "hand") if name in pixels}

    def _picture(self) -> np.ndarray:
        episode = self._pool[self._rng.integers(len(self._pool))]
        shares = (1 - self._config.hand_share - self._config.static_share, self._config.static_share, self._config.hand_share)
        pictures = episode.get(self._rng.choice(("image", "static", "hand"), p=shares), episode["image"])
        return pictures[self._rng.integers(len(pictures))]


def codec_loss(codec: PictureCodec, pictures: Tensor, config: CodecTraining, random: torch.Generator) -> Tensor:
    """Error of pictures and of their differences."""
    raw = codec.encode(pictures).float()
    noisy = raw + config.latent_noise * torch.randn(raw.shape, generator=random, device=random.device)
    error = codec.decode(noisy).float() - pictures
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + config.edge_weight * edges

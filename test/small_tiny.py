"""`tiny` in small, with weights that do something, and conditions for it."""

from __future__ import annotations

import numpy as np
import torch

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import transform

CAMERA = Camera(96, 64, 80.0, 80.0, 48.0, 32.0)


def small_tiny() -> Generator:
    """A random network, the same at every call."""
    torch.manual_seed(0)
    config = preset("debug")
    transformer = Transformer(config.transformer).eval()
    for layer, spread in ((transformer.head.head, 0.1), (transformer.refiner.conv_out, 0.05)):
        torch.nn.init.normal_(layer.weight, std=spread)
    return Generator(config, transformer, FoldedCodec(config.codec).eval())


def conditions(count: int, picture: bool = True) -> list[Condition]:
    """A head that moves to the right over a resting right hand."""
    hand = HandPose("right", transform(np.eye(3), np.array([0.0, 0.0, 0.4])), np.zeros(45), np.zeros(10))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return [
        Condition(
            round(i * 62.5e6), CAMERA, transform(np.eye(3), np.array([0.01 * i, 0.0, 0.0])), (hand,), image=image if picture and i == 0 else None
        )
        for i in range(count)
    ]

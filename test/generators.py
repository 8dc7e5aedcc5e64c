"""Small random networks and inputs for the generator's tests."""

import torch

from h2w_ros.generator.config import TransformerConfig
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.generator.transformer import Transformer

CHANNELS, HEIGHT, WIDTH = 4, 4, 6  # a latent frame: 2 x 3 tokens


def small_config(**changes) -> TransformerConfig:
    sizes = {
        "in_dim": 3 * CHANNELS,
        "dim": 48,
        "ffn_dim": 64,
        "out_dim": CHANNELS,
        "num_heads": 2,
        "num_layers": 3,
        "freq_dim": 16,
        "in_dim_control_adapter": 6,
        "downscale_factor_control_adapter": 2,
    }
    return TransformerConfig(**(sizes | changes))


def random_transformer(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A network none of whose parts is zero, so that nothing can hide behind an untrained output."""
    generator = torch.Generator().manual_seed(seed)
    transformer = Transformer(config).eval().requires_grad_(False)
    for parameter in transformer.parameters():
        spread = 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + (parameter == 1.0))
    return transformer


def random_conditions(num_latents: int, batch: int = 1, seed: int = 0) -> BlockConditions:
    generator = torch.Generator().manual_seed(seed)
    control = torch.randn(batch, CHANNELS, num_latents, HEIGHT, WIDTH, generator=generator)
    return BlockConditions(control, torch.randn(batch, 6, num_latents, 2 * HEIGHT, 2 * WIDTH, generator=generator))


def random_latents(num_latents: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, CHANNELS, num_latents, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))

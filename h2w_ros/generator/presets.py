"""The generators known by name."""

from __future__ import annotations

from dataclasses import replace

from h2w_ros.generator.config import CodecConfig, GeneratorConfig, RaysConfig, RefinerConfig, Riflex, RolloutConfig, TransformerConfig

RELEASED_STEPS = (1000.0, 750.0, 500.0, 250.0)
RELEASED_RIFLEX = Riflex(k=6, L_test=376, L_test_scale=4.886)
RELEASED_ROLLOUT = RolloutConfig(window=21, riflex=RELEASED_RIFLEX, timesteps=RELEASED_STEPS, first_block=RELEASED_STEPS, shift=5.0)
REAL_EGOCENTRIC = "real egocentric video of hands and objects"

TINY = GeneratorConfig(
    name="tiny",
    transformer=TransformerConfig(
        in_dim=192,
        dim=128,
        ffn_dim=512,
        out_dim=144,
        num_heads=4,
        num_layers=2,
        in_dim_control_adapter=6,
        downscale_factor_control_adapter=8,
        refiner=RefinerConfig(width=64, depth=4, fold=4, detail_width=16, detail_depth=2, memory=4, traced=True, dressed=True, rays=True),
    ),
    codec=CodecConfig(kind="folded", latent_channels=48, spatial_stride=8, temporal_stride=1, width=32, depth=2),
    rays=RaysConfig(anchor_lag=1, motion_gain=8.0),
    rollout=RolloutConfig(window=8, sink=1, keys="relative", timesteps=(1000.0,), shift=1.0, prediction="layers", fold=4),
    height_px=128,
    width_px=128,
    hand_style="solid",
    static_scene=True,
    domain="the simulated tabletop world of h2w_ros.world",
    forearms=True,
    things=True,
)

# Twice as high and wide, with as many tokens: latents hold four times as many places. Two steps a block.
TINY_GPU = replace(
    TINY,
    name="tiny-gpu",
    transformer=replace(
        TINY.transformer,
        in_dim=4 * TINY.transformer.in_dim,
        dim=288,
        ffn_dim=1152,
        out_dim=4 * TINY.transformer.out_dim,
        num_heads=4,
        num_layers=6,
        downscale_factor_control_adapter=16,
        refiner=RefinerConfig(width=128, depth=6, fold=8, detail_width=32, detail_depth=3, memory=4, traced=True, dressed=True, rays=True),
    ),
    codec=replace(TINY.codec, width=48, latent_channels=4 * TINY.codec.latent_channels, spatial_stride=16),
    rollout=replace(TINY.rollout, timesteps=(1000.0, 500.0), shift=3.0, fold=8),
    height_px=192,
    width_px=256,
)

DEBUG = replace(
    TINY,
    name="debug",
    transformer=replace(
        TINY.transformer,
        in_dim=48,
        dim=32,
        ffn_dim=64,
        out_dim=36,
        num_heads=2,
        num_layers=2,
        refiner=RefinerConfig(8, 2, fold=2, detail_width=4, detail_depth=1, memory=2, traced=True, dressed=True, rays=True),
    ),
    codec=replace(TINY.codec, latent_channels=12, width=8),
    rollout=replace(TINY.rollout, window=3, fold=2),
    height_px=32,
    width_px=48,
    domain="nothing: it is trained for a few steps, to see that everything fits together",
)

WAN21_1_3B = GeneratorConfig(
    name="wan2.1-1.3b",
    transformer=TransformerConfig(
        in_dim=48,
        dim=1536,
        ffn_dim=8960,
        out_dim=16,
        num_heads=12,
        num_layers=30,
        text_dim=4096,
    ),
    codec=CodecConfig(kind="wan", latent_channels=16, spatial_stride=8, temporal_stride=4),
    rays=RaysConfig(),
    rollout=RELEASED_ROLLOUT,
    height_px=384,
    width_px=544,
    hand_style="silhouette_wireframe",
    static_scene=False,
    domain=REAL_EGOCENTRIC,
)

WAN22_5B = GeneratorConfig(
    name="wan2.2-5b",
    transformer=TransformerConfig(
        in_dim=144,
        dim=3072,
        ffn_dim=14336,
        out_dim=48,
        num_heads=24,
        num_layers=30,
        text_dim=4096,
        downscale_factor_control_adapter=16,
    ),
    codec=CodecConfig(kind="wan", latent_channels=48, spatial_stride=16, temporal_stride=4),
    rays=RaysConfig(aspect="released"),
    rollout=RELEASED_ROLLOUT,
    height_px=480,
    width_px=672,
    hand_style="xray",
    static_scene=False,
    domain=REAL_EGOCENTRIC,
)

PRESETS = {preset.name: preset for preset in (TINY, TINY_GPU, DEBUG, WAN21_1_3B, WAN22_5B)}


def preset(name: str) -> GeneratorConfig:
    """The config of this name; a ValueError lists the names there are."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {sorted(PRESETS)}")
    return PRESETS[name]

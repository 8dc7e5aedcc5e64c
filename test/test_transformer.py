"""The network over whole clips."""

import math

import pytest
import torch
from generators import CHANNELS, HEIGHT, WIDTH, random_conditions, random_transformer, small_config

from h2w_ros.generator.attention import causal_mask, teacher_forcing_mask
from h2w_ros.generator.config import RefinerConfig
from h2w_ros.generator.transformer import Transformer, sinusoid

FRAMES = 4


def _latents(frames=FRAMES, batch=2):
    return torch.randn(batch, 3 * CHANNELS, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def test_a_timestep_may_be_given_a_clip_a_frame_or_a_token():
    transformer, latents = random_transformer(small_config()), _latents()
    outputs = [transformer(latents, torch.full((2, groups), 300.0)) for groups in (1, FRAMES, FRAMES * 6)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=0, atol=1e-5)


def test_any_other_number_of_timesteps_is_refused():
    with pytest.raises(ValueError, match=r"1, 4 \(a frame\) or 24 \(a token\)"):
        random_transformer(small_config())(_latents(), torch.zeros(2, 3))


def test_a_causal_mask_keeps_the_future_out():
    transformer, latents = random_transformer(small_config()), _latents()
    changed = latents.clone()
    changed[:, :, -1] += 1.0
    mask, t = causal_mask(FRAMES, FRAMES), torch.full((2, 1), 500.0)
    before, after = (transformer(x, t, mask=mask) for x in (latents, changed))
    assert torch.equal(before[:, :, :-1], after[:, :, :-1])
    assert not torch.allclose(before[:, :, -1], after[:, :, -1])


def test_teacher_forcing_predicts_what_the_causal_network_predicts_from_clean_history():
    transformer, clean, noisy = random_transformer(small_config()), _latents(), _latents() + 0.5
    positions = torch.arange(FRAMES).repeat(2)
    t = torch.cat([torch.zeros(2, FRAMES), torch.full((2, FRAMES), 700.0)], dim=1)
    forced = transformer(torch.cat([clean, noisy], dim=2), t, positions=positions, mask=teacher_forcing_mask(FRAMES, FRAMES))
    history = torch.cat([clean[:, :, :-1], noisy[:, :, -1:]], dim=2)
    t_last = torch.cat([torch.zeros(2, FRAMES - 1), torch.full((2, 1), 700.0)], dim=1)
    direct = transformer(history, t_last, mask=causal_mask(FRAMES, FRAMES))
    torch.testing.assert_close(forced[:, :, -1], direct[:, :, -1], rtol=0, atol=1e-5)


def test_every_token_s_patch_returns_to_its_place():
    transformer = random_transformer(small_config())
    latents = _latents()
    patches = latents[:, :CHANNELS].unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).permute(0, 2, 3, 5, 4, 6, 1).flatten(4).flatten(1, 3)
    assert torch.equal(transformer.unpatchify(patches, transformer.grid(latents)), latents[:, :CHANNELS])


def test_text_and_rays_reach_the_output():
    transformer, latents = random_transformer(small_config(text_dim=8, text_len=5)), _latents()
    t, context = torch.full((2, 1), 500.0), torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(3))
    rays = transformer.embed_rays(random_conditions(FRAMES, batch=2).plucker)
    plain = transformer(latents, t, context=context)
    assert not torch.allclose(plain, transformer(latents, t, context=2 * context))
    assert not torch.allclose(plain, transformer(latents, t, rays, context=context))
    with pytest.raises(ValueError, match="at most text_len = 5"):
        transformer(latents, t, context=torch.zeros(2, 6, 8))


def test_a_network_without_text_has_no_cross_attention():
    assert not [name for name in Transformer(small_config()).state_dict() if "cross" in name or "text" in name or "norm3" in name]


def test_an_untrained_network_outputs_zero_and_every_weight_gets_a_gradient():
    transformer = Transformer(small_config())
    rays = random_conditions(FRAMES, batch=2).plucker
    with torch.autocast("cpu", torch.bfloat16):
        out = transformer(_latents(), torch.full((2, FRAMES), 500.0), transformer.embed_rays(rays), mask=causal_mask(FRAMES, 3))
    assert not out.any()
    (out.float() - 1.0).square().mean().backward()
    assert transformer.head.head.weight.grad.any()
    assert [name for name, p in transformer.named_parameters() if p.grad is None] == []


def test_bfloat16_weights_stay_close_to_float32():
    transformer, latents, t = random_transformer(small_config()), _latents(), torch.full((2, 1), 500.0)
    exact = transformer(latents, t)
    rough = transformer.to(torch.bfloat16)(latents.to(torch.bfloat16), t)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_the_time_embedding_is_cosines_then_sines():
    embedded = sinusoid(torch.tensor([0.0, 250.0]), 8)
    assert embedded[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    expected = torch.tensor([math.cos(250.0), math.sin(250.0), math.cos(25.0), math.sin(25.0)])
    torch.testing.assert_close(embedded[1, [0, 4, 1, 5]], expected, rtol=0, atol=1e-5)


def test_packing_changes_the_speed_and_not_the_numbers():
    transformer, t = random_transformer(small_config()).to(torch.bfloat16), torch.full((2, 1), 500.0)
    latents = _latents().to(torch.bfloat16)
    with torch.no_grad():
        plain = transformer(latents, t).float()
        packed = transformer.pack()(latents, t).float()
    assert (packed - plain).abs().max() < 0.02 * plain.abs().max()


def test_a_packed_network_still_trains():
    transformer = random_transformer(small_config()).to(torch.bfloat16).pack().requires_grad_(True)
    transformer(_latents().to(torch.bfloat16), torch.full((2, 1), 500.0)).float().square().mean().backward()
    assert [name for name, p in transformer.named_parameters() if p.grad is None and "control_adapter" not in name] == []


def test_the_refiner_does_not_blow_up_however_its_weights_grow():
    """Branches of branches multiply: with weights ten times as large, six of them made features of a billion."""
    config = small_config(refiner=RefinerConfig(8, 6))
    transformer = random_transformer(config)
    seen = []
    transformer.refiner.conv_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for weight in transformer.refiner.parameters():
            weight.mul_(10.0)
    inputs = torch.randn(1, config.in_dim, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    transformer.refinement(inputs, inputs, inputs[:, : config.in_dim // 3])
    assert seen[0].abs().max() <= math.sqrt(8)

"""A stream of blocks through Wan's autoencoder equals diffusers' own whole-video calls."""

import numpy as np
import pytest
import torch

from h2w_ros.generator.pixels import to_pictures, to_tensor
from h2w_ros.generator.wan_codec import WanCodec

diffusers = pytest.importorskip("diffusers", reason="diffusers is an optional extra (h2w_ros[wan])")


@pytest.fixture(params=[None, 2], ids=["wan2.1-like", "wan2.2-like"])
def codec(request: pytest.FixtureRequest) -> WanCodec:
    torch.manual_seed(0)
    patched = {} if request.param is None else {"patch_size": request.param, "in_channels": 12, "out_channels": 12, "is_residual": True}
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1, latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0], **patched
    )
    return WanCodec(vae)


@torch.inference_mode()
def test_streamed_latents_and_pictures_equal_the_whole_video(codec: WanCodec) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    encode, decode = codec.encoder_stream(), codec.decoder_stream()
    latents = torch.cat([encode(pictures[:1]), encode(pictures[1:5]), encode(pictures[5:])], dim=2)
    whole = codec.normalised(codec.vae.encode(to_tensor(pictures).transpose(0, 1)[None]).latent_dist.mode())
    torch.testing.assert_close(latents, whole, atol=1e-5, rtol=1e-4)
    streamed = np.concatenate([decode(latents[:, :, i : i + 1]) for i in range(3)])
    expected = to_pictures(codec.vae.decode(codec.raw(latents)).sample[0].transpose(0, 1))
    assert np.abs(streamed.astype(int) - expected).max() <= 1


def test_the_first_call_takes_one_picture_only(codec: WanCodec) -> None:
    with pytest.raises(ValueError, match="one picture first"):
        codec.encoder_stream()(np.zeros((4, 32, 32, 3), np.uint8))

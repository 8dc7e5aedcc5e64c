"""The folded codec: shapes, streams, and the one crossing between pictures and tensors."""

import numpy as np
import pytest
import torch

from h2w_ros.generator.config import CodecConfig
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.pixels import to_pictures, to_tensor
from h2w_ros.training.codec import codec_loss
from h2w_ros.training.config import CodecTraining

CONFIG = CodecConfig(kind="folded", latent_channels=48, spatial_stride=8, temporal_stride=1, width=8, depth=1)


@pytest.fixture
def codec() -> FoldedCodec:
    torch.manual_seed(0)
    return FoldedCodec(CONFIG)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 48, 3), dtype=np.uint8)


def test_pictures_survive_the_crossing_to_tensors_and_back() -> None:
    assert np.array_equal(to_pictures(to_tensor(pictures(2))), pictures(2))


def test_read_only_and_mirrored_pictures_cross_like_others() -> None:
    given = pictures(2)
    expected = to_tensor(given)
    assert torch.equal(to_tensor(np.frombuffer(given.tobytes(), np.uint8).reshape(given.shape)), expected)
    assert torch.equal(to_tensor(given[:, :, ::-1]), expected.flip(3))


def test_crossing_leaves_the_picture_as_it_was() -> None:
    given = pictures(1)
    to_tensor(given).zero_()
    assert np.array_equal(given, pictures(1))


def test_values_out_of_range_are_clamped() -> None:
    assert to_pictures(torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1)).ravel().tolist() == [0, 128, 255]


@torch.inference_mode()
def test_streamed_frames_equal_the_batch(codec: FoldedCodec) -> None:
    encode, decode = codec.encoder_stream(), codec.decoder_stream()
    latents = torch.cat([encode(pictures(3)[i : i + 1]) for i in range(3)], dim=2)
    assert latents.shape == (1, 48, 3, 4, 6)
    torch.testing.assert_close(latents[0].transpose(0, 1), codec.encode(to_tensor(pictures(3))), atol=1e-5, rtol=1e-5)
    assert decode(latents).shape == (3, 32, 48, 3)


def test_latents_are_the_small_picture(codec: FoldedCodec) -> None:
    """Two by two pixels to one, and four by four of these folded into a latent; black is -2 and white 2."""
    latents = codec.encode(to_tensor(pictures(1)))
    small = torch.nn.functional.pixel_shuffle(latents, 4)[0, :, 3, 5]
    expected = pictures(1)[0, 6:8, 10:12].mean((0, 1)) / 255 * 4 - 2
    np.testing.assert_allclose(small.numpy(), expected, atol=1e-4)


def test_an_untrained_decoder_enlarges(codec: FoldedCodec) -> None:
    flat = to_tensor(np.full((1, 32, 48, 3), 90, np.uint8))
    torch.testing.assert_close(codec.decode(codec.encode(flat)), flat, atol=1e-5, rtol=0)


def test_a_few_steps_lower_the_loss(codec: FoldedCodec) -> None:
    blocks = np.kron(np.random.default_rng(0).integers(0, 256, (4, 8, 12, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)  # edges to sharpen
    batch, random = to_tensor(blocks), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = codec_loss(codec, batch, CodecTraining(), random)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

"""Convolutions by Winograd's tiles are the convolutions, wherever they are used, and training never meets them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from h2w_ros.generator.winograd import FEWEST_CHANNELS, Conv3x3, WinogradConvolution, pack_convolutions


def pictures(num: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    random = torch.randn(num, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return random.contiguous(memory_format=torch.channels_last)


def convolution(channels: int, outputs: int) -> Conv3x3:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Conv3x3(channels, outputs)


@pytest.mark.parametrize(("num", "channels", "outputs", "size"), [(1, 48, 48, (4, 4)), (3, 128, 64, (16, 8)), (2, 50, 70, (12, 20))])
@torch.no_grad()
def test_tiles_give_what_the_convolution_gives(num: int, channels: int, outputs: int, size: tuple[int, int]) -> None:
    conv, x = convolution(channels, outputs), pictures(num, channels, *size)
    expected = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)

    given = WinogradConvolution(conv.weight, conv.bias)(x)

    torch.testing.assert_close(given.double(), expected, atol=5e-5, rtol=0.0)
    assert given.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_the_number_of_threads_changes_nothing() -> None:
    conv, x, threads = convolution(96, 64), pictures(1, 96, 32, 32), torch.get_num_threads()
    given = []
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            given.append(WinogradConvolution(conv.weight, conv.bias)(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*given)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (7, 6)])
@pytest.mark.parametrize("channels", [8, FEWEST_CHANNELS])
@torch.no_grad()
def test_a_packed_convolution_takes_pictures_of_any_size(channels: int, size: tuple[int, int]) -> None:
    conv, x = convolution(channels, 64), pictures(2, channels, *size)
    expected = conv(x)
    conv.pack()
    torch.testing.assert_close(conv(x), expected, atol=5e-5, rtol=0.0)


@torch.no_grad()
def test_other_precisions_are_left_to_the_library() -> None:
    conv, x = convolution(64, 64).bfloat16(), pictures(1, 64, 8, 8).bfloat16()
    expected = conv(x)
    conv.pack()
    assert torch.equal(conv(x), expected)


def test_gradients_reach_weights_that_were_packed_and_packing_again_takes_their_changes() -> None:
    network = torch.nn.Sequential(convolution(64, 64))
    x = pictures(1, 64, 8, 8)
    pack_convolutions(network)
    network(x).square().sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    with torch.no_grad():
        network[0].weight.mul_(2.0)
        pack_convolutions(network)
        expected = F.conv2d(x, network[0].weight, network[0].bias, padding=1)
        torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=0.0)

"""3x3 convolutions with fewer multiplications: Winograd's minimal filtering of tiles, F(4x4, 3x3) of Lavin and Gray (1509.09308).

A tile of 4 by 4 outputs takes 36 multiplications a pair of channels instead of 144. In float32 on a CPU without matrix units for
bfloat16 that is what a small network's time goes into; gathering and transforming tiles costs the rest of the gain back where channels are few.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TILE = 4
"""Outputs along a tile's side."""
SEEN = TILE + 2
"""Inputs along a tile's side: neighbours share two."""
FEWEST_CHANNELS = 48
"""With fewer going in or out, the direct convolution is as fast."""

# The paper's B^T, G and A^T (section 4.3): data, filters and products are transformed by them from both sides.
_DATA = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
)
_FILTERS = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64) / 24.0
_OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


class WinogradConvolution:
    """A 3x3 convolution of stride and padding one, its filters transformed once; float32 on a CPU."""

    def __init__(self, weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, "o"]) -> None:  # a shape
        outputs, channels = weight.shape[:2]
        filters = _from_both_sides(_FILTERS, weight.detach().double().permute(2, 3, 1, 0).reshape(3, 3, -1))
        self._filters = filters.float().reshape(SEEN**2, channels, outputs)
        self._bias = bias.detach()

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h w"]:
        """What the convolution gives, to within some 1e-5 of its scale; h and w are multiples of `TILE`. Channels last in memory."""
        num, channels, height, width = x.shape
        rows, columns = height // TILE, width // TILE
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        of_picture, of_row, of_column, _ = padded.stride()
        strides = of_row, of_column, of_picture, TILE * of_row, TILE * of_column, 1
        tiles = padded.as_strided((SEEN, SEEN, num, rows, columns, channels), strides).reshape(SEEN, SEEN, -1)
        products = _from_both_sides(_DATA, tiles).reshape(SEEN**2, -1, channels) @ self._filters
        out = _from_both_sides(_OUTPUT, products.view(SEEN, SEEN, -1))
        ordered = out.view(TILE, TILE, num, rows, columns, -1).permute(2, 3, 0, 4, 1, 5).reshape(num, height, width, -1)
        return ordered.add_(self._bias).permute(0, 3, 1, 2)


def _from_both_sides(matrix: Float[Tensor, "m k"], tiles: Float[Tensor, "k k x"]) -> Float[Tensor, "m m x"]:
    """matrix · tile · matrix^T of every tile. As batches of products, whose sums don't depend on the number of threads."""
    return matrix @ (matrix @ tiles.transpose(0, 1)).transpose(0, 1)


class PackedConvolution:
    """A 3x3 convolution's weights as inference wants them: channels last, and transformed where that pays."""

    def __init__(self, weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, "o"]) -> None:  # a shape
        self._weight, self._bias = weight.detach().contiguous(memory_format=torch.channels_last), bias.detach()

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h w"]:
        """The convolution; transformed where whole tiles cover the picture."""
        if self._winograd is None or any(size % TILE for size in x.shape[2:]):
            return F.conv2d(x, self._weight, self._bias, padding=1)
        return self._winograd(x)

    @cached_property
    def _winograd(self) -> WinogradConvolution | None:
        """Made when first asked for: pictures of other sizes never do."""
        is_suited = self._weight.dtype == torch.float32 and self._weight.device.type == "cpu"
        return WinogradConvolution(self._weight, self._bias) if is_suited and min(self._weight.shape[:2]) >= FEWEST_CHANNELS else None


class Conv3x3(nn.Conv2d):
    """nn.Conv2d of size 3 and padding 1 that can be packed for inference. Packing copies the weights: pack again after changing them."""

    packed: PackedConvolution | None = None

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def pack(self) -> None:
        """Prepares for inference."""
        assert self.bias is not None  # the default of nn.Conv2d
        self.packed = PackedConvolution(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        is_inference = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return self.packed(x) if self.packed is not None and is_inference else super().forward(x)


def pack_convolutions(module: nn.Module) -> None:
    """Prepares all convolutions of a module for inference."""
    for part in module.modules():
        if isinstance(part, Conv3x3):
            part.pack()
        elif isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.to(memory_format=torch.channels_last)

"""Where the reference shows what is at each place now.

A frame that is made of the frame before it, over and over, fades: what is nine tenths sure is a third of itself after ten frames. But
*where in the reference* a thing stood does not fade when it is handed on. So every place keeps that origin, moves it as the layer
that was chosen there moved, and the reference itself is read where it says: a cup that is carried is drawn from its own picture.

Legend: B streams, V = 2 ways to move (see `motion`): resting, carried; H W places of a small picture, of which a latent holds
fold by fold. An origin is a place of the reference, x y in [-1, 1] from edge to edge; NaN where the reference does not show it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def origins_at_start(num_streams: int, size: tuple[int, int], device: torch.device | str = "cpu") -> Float[Tensor, "B 2 H W"]:
    """The reference's own: every place shows itself."""
    y, x = (2.0 * (torch.arange(n, device=device) + 0.5) / n - 1.0 for n in size)
    return torch.stack(torch.broadcast_tensors(x, y[:, None])).expand(num_streams, -1, -1, -1)


def moved_origins(origins: Float[Tensor, "B 2 H W"], places: Float[Tensor, "B V H W 2"]) -> Float[Tensor, "V B 2 H W"]:
    """The origins of what is now at each place, if all of it moved in a way: that of the nearest place where it was, and as far beside it.

    Between two things there is no origin, so none is interpolated.
    """
    ways = places.shape[1]
    flat = places.flatten(0, 1)
    before = torch.cat([origins, origins_at_start(*_extent(origins), origins.device)], dim=1).repeat_interleave(ways, 0)
    nearest, at = F.grid_sample(before, flat, mode="nearest", padding_mode="border", align_corners=False).split(2, dim=1)
    return _within(nearest + flat.permute(0, 3, 1, 2) - at).unflatten(0, (-1, ways)).transpose(0, 1)


def shown_origins(places: Float[Tensor, "B H W 2"]) -> Float[Tensor, "B 2 H W"]:
    """The origins of what stands at these places of the reference."""
    return _within(places.permute(0, 3, 1, 2))


def traced(
    reference: Float[Tensor, "B Z 1 h w"], origins: Float[Tensor, "V B 2 H W"], otherwise: Float[Tensor, "V B Z 1 h w"], fold: int
) -> Float[Tensor, "V B Z 1 h w"]:
    """The reference read at these origins; `otherwise` where it has none."""
    picture = F.pixel_shuffle(reference[:, :, 0].float(), fold).repeat(len(origins), 1, 1, 1)
    flat = origins.flatten(0, 1)
    is_shown = flat.isfinite().all(1, keepdim=True)
    read = F.grid_sample(picture, flat.nan_to_num(0.0).permute(0, 2, 3, 1), mode="bicubic", padding_mode="border", align_corners=False)
    plain = F.pixel_shuffle(otherwise[:, :, :, 0].flatten(0, 1).float(), fold)
    return F.pixel_unshuffle(torch.where(is_shown, read, plain), fold).unflatten(0, otherwise.shape[:2])[:, :, :, None]


def chosen_origins(logits: Float[Tensor, "B L k 1 h w"], candidates: Float[Tensor, "L B 2 H W"], fold: int) -> Float[Tensor, "B 2 H W"]:
    """At each place, the origin of the layer that counts most there."""
    layers = F.pixel_shuffle(logits[:, :, :, 0].flatten(1, 2).float(), fold).split(1, dim=1)  # (B, 1, H, W) each
    most, chosen = layers[0], candidates[0]
    for logit, origins in zip(layers[1:], candidates[1:], strict=True):  # several times as fast as argmax over so few
        chosen = torch.where(logit > most, origins, chosen)
        most = torch.maximum(logit, most)
    return chosen


def _extent(origins: Tensor) -> tuple[int, tuple[int, int]]:
    return origins.shape[0], (origins.shape[2], origins.shape[3])


def _within(origins: Float[Tensor, "n 2 H W"]) -> Float[Tensor, "n 2 H W"]:
    """What lies outside the reference is not shown."""
    return torch.where((origins.abs() <= 1.0).all(1, keepdim=True), origins, torch.nan)

"""What streams keep in mind beside the last frame and the context: the memory of places (`memory`), and where the reference shows them (`origins`).

Legend: B streams, Z latent channels, V = 2 ways to move: resting, carried; L layers of the output (`schedule.layered`), h w latents,
H W places of a small picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from h2w_ros.generator.config import RefinerConfig, TransformerConfig
from h2w_ros.generator.memory import moved_memory, remembered
from h2w_ros.generator.motion import WAYS
from h2w_ros.generator.origins import chosen_origins, moved_origins, origins_at_start, shown_origins, traced

NUM_GIVEN = 1 + WAYS
"""Layers that every such network has: what is static, rests and is carried."""


@dataclass(frozen=True, eq=False)
class Recall:
    """After a frame: what its places remember (K = 0 for a network without a memory), and their origins, for a network that asks."""

    memory: Float[Tensor, "B K 1 h w"]
    origins: Float[Tensor, "B 2 H W"] | None
    fold: int

    @classmethod
    def at_start(cls, refiner: RefinerConfig | None, reference: Float[Tensor, "B Z 1 h w"]) -> Recall | None:
        """Nothing is remembered, and the reference shows itself; None for a network that keeps nothing in mind."""
        if refiner is None or not refiner.asks_for_layers:
            return None
        num_streams, (height, width) = reference.shape[0], reference.shape[3:]
        memory = torch.zeros(num_streams, refiner.memory_channels, 1, height, width, device=reference.device)
        size = height * refiner.fold, width * refiner.fold
        return cls(memory, origins_at_start(num_streams, size, reference.device) if refiner.traced else None, refiner.fold)

    def resting_since(self, places: Float[Tensor, "B H W 2"]) -> Recall:
        """For a stream that is entered later: as if all had rested, at these places of the reference."""
        return self if self.origins is None else replace(self, origins=shown_origins(places))

    def detached(self) -> Recall:
        """The same without its way back for gradients."""
        return replace(self, memory=self.memory.detach())

    def for_streams(self, num_streams: int) -> Recall:
        """One stream's, seen by that many."""
        memory, origins = (None if x is None else x.expand(num_streams, *x.shape[1:]) for x in (self.memory, self.origins))
        assert memory is not None
        return replace(self, memory=memory, origins=origins)


@dataclass(frozen=True, eq=False)
class Recalled:
    """What is kept in mind, where it belongs in the next frame, and all layers of that frame's output."""

    memory: Float[Tensor, "V B K 1 h w"]
    origins: Float[Tensor, "L B 2 H W"] | None
    layers: tuple[Tensor, ...]
    fold: int

    @property
    def channels(self) -> Float[Tensor, "B M 1 h w"]:
        """What of it the refiner sees: the memory in both ways, and the layers that it does not see otherwise."""
        return torch.cat([*self.memory, *self.layers[NUM_GIVEN:]], dim=1)

    def after(self, logits: Float[Tensor, "B l k 1 h w"], noted: Float[Tensor, "B g 1 h w"]) -> Recall:
        """What is kept in mind after the frame that these logits (of what is new and the layers) and outputs of the memory made."""
        origins = None if self.origins is None else chosen_origins(logits[:, 1:].detach(), self.origins, self.fold)
        return Recall(remembered(noted, self.memory), origins, self.fold)


def seen_beside(
    network: TransformerConfig, kept: Recalled | None, plucker: Float[Tensor, "B c n H W"] | None, device: torch.device
) -> Float[Tensor, "B M n h w"] | None:
    """What the refiner sees beside conditions and the frame before: what is kept in mind, and the rays at its places; None if it asks for neither."""
    refiner, channels = network.refiner, [] if kept is None else [kept.channels]
    if refiner is not None and refiner.rays and plucker is not None:
        small = F.avg_pool2d(plucker.to(device).transpose(1, 2).flatten(0, 1).float(), network.downscale_factor_control_adapter // refiner.fold)
        channels.append(F.pixel_unshuffle(small, refiner.fold).unflatten(0, (plucker.shape[0], -1)).transpose(1, 2))
    return torch.cat(channels, dim=1) if channels else None


def recalled(
    recall: Recall,
    places: Tensor | None,
    reference: Float[Tensor, "B Z 1 h w"],
    layers: Sequence[Tensor],
    knows_static: bool | Bool[Tensor, "B"],
    dressed: Float[Tensor, "B Z 1 h w"] | None = None,
) -> Recalled:
    """For the next frame: `places` (B, 1, V + 1, H, W, 2) are `motion.places_since`'s, `layers` what is static, rests and is carried.

    Where the static scene is not known, its layer is what rests. `dressed` is the layer of hands in their colours, for a network that asks.
    """
    memory = moved_memory(recall.memory, places, recall.fold)
    ends_with = () if dressed is None else (dressed,)
    if recall.origins is None:
        return Recalled(memory, None, (*layers, *ends_with), recall.fold)
    static, resting, carried = layers
    if places is None:
        moved = torch.stack([recall.origins] * WAYS)
        shown = recall.origins
    else:
        places = places[:, 0].to(recall.origins)
        moved, shown = moved_origins(recall.origins, places[:, :WAYS]), shown_origins(places[:, WAYS])
    is_known = torch.as_tensor(knows_static, device=shown.device).view(-1, 1, 1, 1)
    own = traced(reference, moved, torch.stack([resting, carried]), recall.fold)
    nowhere = [torch.full_like(shown, torch.nan)] * len(ends_with)  # the reference shows hands as they were, not as they are
    origins = torch.stack([torch.where(is_known, shown, moved[0]), *moved, *moved, *nowhere])
    return Recalled(memory, origins, (static, resting, carried, *own, *ends_with), recall.fold)

"""Hands in their colours as a layer: over what rests, as far as a place is covered by the hand picture."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.config import RefinerConfig
from h2w_ros.generator.folded_codec import LATENT_SCALE

FULLY_COVERED = 0.25
"""Hand pictures are black where there is no hand, and no surface of a solid hand or forearm is drawn darker than this; thin lines may be."""


Latents = Float[Tensor, "B Z n h w"]


def dressed_layer(refiner: RefinerConfig | None, dressed: Latents | None, control: Latents, resting: Latents) -> Latents | None:
    """Folded latents of pictures: `dressed` hands where the hand picture `control` shows any, what rests elsewhere.

    None for a network that does not ask; a ValueError for hands that one asks for and does not get, or gets and does not ask for.
    """
    if (refiner is not None and refiner.dressed) != (dressed is not None):
        asks, got = ("does not ask", "some") if dressed is not None else ("asks", "none; latents to train on are made anew by `h2w train encode`")
        raise ValueError(f"the network {asks} for dressed hands (refiner.dressed), got {got}")
    return None if dressed is None else laid_over(resting, dressed, control)


def laid_over(scene: Latents, dressed: Latents, control: Latents) -> Latents:
    """The scene, and over it the hands in their colours, as far as the hand picture covers a place; float32."""
    return scene + hand_cover(control).repeat(1, 3, 1, 1, 1) * (dressed.float() - scene)


def hand_cover(control: Float[Tensor, "B Z *places"]) -> Float[Tensor, "B k *places"]:
    """How far the hand picture covers each of the k places that are folded into a latent, 0..1, float32."""
    brightness = (control.float().unflatten(1, (3, -1)).amax(1) / LATENT_SCALE + 1.0) / 2.0
    return (brightness / FULLY_COVERED).clamp(0.0, 1.0)

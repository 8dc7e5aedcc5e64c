"""What colour hands and forearms are: as in the newest picture that shows them; before there is one, a skin by seed.

Poses say where hands are, and nobody says how they look. A network that has to guess paints the mean of all hands, and its hand fades
into that frame by frame. So hands are drawn for it in colours that stay, and it only says where they are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.hands.forearms import SEGMENTS

HAND = SEGMENTS + 1
"""In a picture of parts; the forearms' segments have 1 .. SEGMENTS, from the wrist on."""
LEAST_SHARE = 0.002
"""A part that covers less of a picture is not seen well enough to tell its colour."""
SHADING = 0.3
"""How far colours follow the shades of the hand's render."""
EDGE_PX = 5
LIGHTEST_RGB, DARKEST_RGB = np.array([242.0, 196.0, 168.0]), np.array([64.0, 40.0, 28.0])
"""Ends of the scale of human skin."""

Parts = UInt8[ndarray, "*T H W"]
Colour = Float[ndarray, "3"]


@dataclass(frozen=True, eq=False)
class Dress:
    """RGB in 0..255 of the hands and of the segments of forearms; NaN for a segment that was never seen."""

    skin: Colour
    forearm: Float[ndarray, "s 3"]

    @property
    def palette(self) -> Float[ndarray, "p 3"]:
        """The colour of every part, and the skin's for what is none. A segment that was never seen continues the one before it."""
        rows = [self.skin]
        for colour in self.forearm:
            rows.append(colour if np.isfinite(colour).all() else rows[-1])
        return np.stack([*rows, self.skin])


def dress_by_seed(seed: int) -> Dress:
    """Bare arms with a skin from somewhere on its scale."""
    lightness = np.random.default_rng(seed).uniform()
    return Dress(lightness * LIGHTEST_RGB + (1.0 - lightness) * DARKEST_RGB, np.full((SEGMENTS, 3), np.nan))


def parts_of(hands: Image, forearms: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Which part each pixel may show, 0 for none: a hand picture before the segments that `forearms.segments` drew."""
    return np.where(hands.any(axis=-1), np.uint8(HAND), forearms)


def seen_dress(pictures: UInt8[ndarray, "*T H W 3"], parts: Parts, shown: Bool[ndarray, "*T H W"], before: Dress) -> Dress:
    """The dress with its colours renewed where these pictures, of one or more moments, show them. `shown`: pixels that show hands or forearms."""
    least = LEAST_SHARE * parts.shape[-2] * parts.shape[-1]

    def seen(part: int, otherwise: Colour) -> Colour:
        pixels = pictures[shown & (parts == part)]
        return np.median(pixels, axis=0) if len(pixels) >= least else otherwise

    forearm = [seen(segment + 1, colour) for segment, colour in enumerate(before.forearm)]
    return Dress(seen(HAND, before.skin), np.stack(forearm))


def dressed(hands: Image, parts: UInt8[ndarray, "H W"], dress: Dress) -> Image:
    """Hands and forearms in their colours. What surrounds them continues these, so that their edges are nobody else's."""
    grown = np.where(parts > 0, parts, cv2.dilate(parts, np.ones((EDGE_PX, EDGE_PX), np.uint8)))
    picture = dress.palette.astype(np.float32)[grown]
    is_hand = parts == HAND
    if is_hand.any():
        shade = hands.max(axis=-1)[is_hand].astype(np.float32)
        picture[is_hand] *= (1.0 + SHADING * (shade / shade.mean() - 1.0))[:, None]
    return np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8)

"""What colour hands and forearms are: as in the newest picture that shows them; before there is one, a skin by seed.

Poses say where hands are, and nobody says how they look. A network that has to guess paints the mean of all hands, and its hand fades
into that frame by frame. So hands are drawn for it in colours that stay, and it only says where they are seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.hands.forearms import SEGMENTS, brightness
from h2w_ros.hands.lighting import OVERHEAD, Direction, seen_light, shades
from h2w_ros.hands.surface import HAND, HandSurface

LEAST_SHARE = 0.002
"""A part that covers less of a picture is not seen well enough to tell its colour."""
SHADING, MOST_SHADED = 0.3, 1.3
"""How far colours follow the shades of a ready-made hand picture, and the most by which they are lighter or darker for it."""
EDGE_PX = 5
LIGHTEST_RGB, DARKEST_RGB = np.array([242.0, 196.0, 168.0]), np.array([64.0, 40.0, 28.0])
"""Ends of a scale of human skin, as cameras show it in ordinary light."""
RED_SHARE = (0.36, 0.56)
"""Of skin's red, green and blue."""
APART, GLOVE_APART = 20.0, 60.0
"""How far a hand's colour is from that of its surroundings, in RGB; in the simulated world, 96 % of the hands that pictures show, and 18 % of
those that are taken off them. What is not skin has to stand out more."""
GAP_PX, RING_PX = 7, 25
LEAST_RING_PX = 50

Parts = UInt8[ndarray, "*T H W"]
Colour = Float[ndarray, "3"]


@dataclass(frozen=True, eq=False)
class Dress:
    """RGB of the hands and of the segments of forearms where their shade is 1 (`lighting`), NaN for a segment that was never seen; and a unit
    vector to where the light comes from, in the world."""

    skin: Colour
    forearm: Float[ndarray, "s 3"]
    light_from: Direction = field(default_factory=OVERHEAD.copy)

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


def shows_hands(picture: Image, parts: UInt8[ndarray, "H W"]) -> bool:
    """Whether the hands are in the picture: a scene to reach into has none yet, and its table is nobody's skin."""
    is_hand = (parts == HAND).astype(np.uint8)
    near, far = (cv2.dilate(is_hand, np.ones((size, size), np.uint8)) for size in (GAP_PX, RING_PX))
    around = (far > 0) & (near == 0) & (parts == 0)
    if is_hand.sum() < LEAST_SHARE * is_hand.size or around.sum() < LEAST_RING_PX:
        return False
    colour, surroundings = (np.median(picture[mask], axis=0) for mask in (is_hand > 0, around))
    return bool(np.linalg.norm(colour - surroundings) >= (APART if _is_skin(colour) else GLOVE_APART))


def _is_skin(colour: Colour) -> bool:
    red, green, blue = colour / max(float(colour.sum()), 1.0)
    return bool(red >= green >= blue and RED_SHARE[0] <= red <= RED_SHARE[1])


def renewed_dress(before: Dress, picture: Image, surface: HandSurface, shown: Bool[ndarray, "H W"], light_from: Direction | None = None) -> Dress:
    """The dress, and its light, as a picture shows them, if it shows the hands; see `seen_dress`.

    `light_from`: where shadows say that light comes from, which hands then need not tell.
    """
    known = before if light_from is None else replace(before, light_from=light_from)
    if not shows_hands(picture, surface.parts):
        return known
    seen = shown & (surface.parts > 0)
    if light_from is None:
        light_from = seen_light(picture[seen].astype(np.float64), surface.parts[seen], surface.normals_world[seen], before.light_from)
    return seen_dress(picture, surface, shown, replace(before, light_from=light_from))


def seen_dress(pictures: UInt8[ndarray, "*T H W 3"], surface: HandSurface, shown: Bool[ndarray, "*T H W"], before: Dress) -> Dress:
    """The dress with its colours renewed where these pictures, of one or more moments, show them in the light as it is known before.

    `shown`: pixels that show hands or forearms.
    """
    least = LEAST_SHARE * surface.parts.shape[-2] * surface.parts.shape[-1]

    def seen(part: int, otherwise: Colour) -> Colour:
        pixels = shown & (surface.parts == part)
        if pixels.sum() < least:
            return otherwise
        return np.asarray(np.median(pictures[pixels] / shades(surface.normals_world[pixels], before.light_from)[:, None], axis=0))

    forearm = [seen(segment + 1, colour) for segment, colour in enumerate(before.forearm)]
    return replace(before, skin=seen(HAND, before.skin), forearm=np.stack(forearm))


def dressed(hands: Image, surface: HandSurface, dress: Dress) -> Image:
    """Hands and forearms in their colours and light. What surrounds them continues these, so that their edges are nobody else's."""
    parts, edge = surface.parts, np.ones((EDGE_PX, EDGE_PX), np.uint8)
    is_drawn = (parts > 0).astype(np.float32)
    shade = is_drawn * _shades(hands, surface, dress)
    around, share = (cv2.boxFilter(image, -1, edge.shape) for image in (shade, is_drawn))
    shade = np.where(parts > 0, shade, np.where(share > 0, around / np.maximum(share, 1e-3), 1.0))
    grown = np.where(parts > 0, parts, cv2.dilate(parts, edge))
    picture = dress.palette.astype(np.float32)[grown] * shade[..., None]
    return np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8)


def _shades(hands: Image, surface: HandSurface, dress: Dress) -> Float[ndarray, "H W"]:
    """By the light; the hands of a ready-made picture, which does not say which way they face, keep their own shades."""
    covered, is_hand = surface.parts > 0, surface.parts == HAND
    lit = np.ones(surface.parts.shape, np.float32)
    lit[covered] = shades(surface.normals_world[covered], dress.light_from)
    if surface.normals_world[is_hand].any() or not is_hand.any():
        return lit
    bright = brightness(hands).astype(np.float32)
    own = (1.0 + SHADING * (bright / np.median(bright[is_hand]) - 1.0)).clip(1.0 / MOST_SHADED, MOST_SHADED)
    return np.where(is_hand, own, lit)

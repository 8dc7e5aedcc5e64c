"""How a hand is coloured: one function a style, from a hand in view to the pixels of its window.

A generator understands only the style that it was trained with. Sources: Hand2World's paper (silhouette_wireframe) and
its public release (wireframe, xray).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from h2w_ros.condition import Side
from h2w_ros.hands.drawing import HandView
from h2w_ros.rasterize import pixel_layers

# RGB of the paper's pictures.
FLAT_COLOURS: Mapping[Side, tuple[int, int, int]] = {"right": (200, 0, 0), "left": (0, 0, 200)}
LINE_COLOUR = (56, 0, 56)
# RGB of the release's pictures.
FULL_COLOURS: Mapping[Side, tuple[int, int, int]] = {"right": (255, 0, 0), "left": (0, 0, 255)}
GREY_LINE_COLOUR = (60, 60, 60)

AMBIENT = 0.3
XRAY_WEIGHTS = (0.55, 0.45, 0.35)
XRAY_SHINE = 0.4 * 255.0
XRAY_SHINE_POWER = 32

Pixels = Float[ndarray, "h w 3"]


def silhouette_wireframe(view: HandView) -> Pixels:
    """Flat fill, every mesh line on top: what is hidden is left for the generator to resolve."""
    return _inked(np.array(FLAT_COLOURS[view.side], dtype=np.float32), view, LINE_COLOUR)


def silhouette(view: HandView) -> Pixels:
    """Flat fill and nothing else: the 2D mask of mask-conditioned methods."""
    return np.broadcast_to(np.array(FLAT_COLOURS[view.side], dtype=np.float32), (*view.silhouette.shape, 3))


def wireframe(view: HandView) -> Pixels:
    """The shaded hand, every mesh line on top."""
    return _inked(solid(view), view, GREY_LINE_COLOUR)


def solid(view: HandView) -> Pixels:
    """The shaded hand as an opaque surface."""
    shades = np.concatenate([[0.0], AMBIENT + (1.0 - AMBIENT) * view.facing]).astype(np.float32)
    return shades[view.nearest][..., None] * np.array(FULL_COLOURS[view.side], dtype=np.float32)


def xray(view: HandView) -> Pixels:
    """The three nearest surfaces at each pixel added up, each fainter than the one before it, with a highlight."""
    layers = pixel_layers(view.runs, view.window, view.far_to_near[::-1], len(XRAY_WEIGHTS))  # face or -1
    weights = np.where(layers >= 0, np.array(XRAY_WEIGHTS, dtype=np.float32)[:, None, None], 0.0)
    facing = np.append(view.facing, 0.0)[layers]
    shade = (weights * (AMBIENT + (1.0 - AMBIENT) * facing)).sum(axis=0)
    shine = (weights * XRAY_SHINE * facing**XRAY_SHINE_POWER).sum(axis=0)
    return shade[..., None] * np.array(FULL_COLOURS[view.side]) + shine[..., None]


STYLES: Mapping[str, Callable[[HandView], Pixels]] = {
    "silhouette_wireframe": silhouette_wireframe,
    "silhouette": silhouette,
    "wireframe": wireframe,
    "solid": solid,
    "xray": xray,
}


def coloured(style: str, view: HandView) -> UInt8[ndarray, "h w 3"]:
    """The window's pixels in this style, black around the hand."""
    pixels = np.minimum(STYLES[style](view) + 0.5, 255.0).astype(np.uint8)
    return pixels * view.silhouette[..., None]


def _inked(fill: Float[ndarray, "..."], view: HandView, line_colour: tuple[int, int, int]) -> Pixels:
    return fill + view.ink * (np.array(line_colour, dtype=np.float32) - fill)

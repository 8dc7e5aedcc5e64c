"""Pictures of episodes for people: side by side in time, and one sheet for many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.world.simulate import WorldEpisode

HAND_COLOUR = (255, 80, 60)
OBJECT_COLOUR = (60, 220, 90)
PICTURES_A_ROW = 8
SHOWN_DEPTH_M = 1.2
GAP_PX = 2


def side_by_side(episode: WorldEpisode) -> Iterator[Image]:
    """For every frame: the picture, the static render, the picture with hands red and what moves green, and, where it is known, the depth."""
    for frame, (condition, hand, thing) in enumerate(zip(episode.conditions, episode.hand_masks, episode.object_masks, strict=True)):
        if condition.image is None or condition.static_render is None:
            raise ValueError("a simulated condition carries image and static_render; these were stripped")
        marked = _tinted(_tinted(condition.image, hand, HAND_COLOUR), thing, OBJECT_COLOUR)
        depth = [] if episode.truth is None else [_depth_picture(episode.truth.depth_m[frame])]
        yield np.concatenate([condition.image, condition.static_render, marked, *depth], axis=1)


def contact_row(episode: WorldEpisode) -> UInt8[ndarray, "H W 3"]:
    """Frames spread over the episode in one row, the untouched scene of the last one at its end."""
    at = np.linspace(0, len(episode.conditions) - 1, PICTURES_A_ROW).round().astype(int)
    pictures = [episode.conditions[i].image for i in at] + [episode.conditions[-1].static_render]
    bordered = [np.pad(p, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255) for p in pictures if p is not None]
    return np.concatenate(bordered, axis=1)


def contact_sheet(rows: Sequence[UInt8[ndarray, "H W 3"]]) -> Image:
    """The rows of many episodes, one under the other."""
    return np.concatenate(rows, axis=0)


def _depth_picture(depth_m: Float32[ndarray, "H W"]) -> Image:
    """Near is bright, and what is SHOWN_DEPTH_M away or further is black."""
    grey = np.round(255 * np.clip(1 - depth_m / SHOWN_DEPTH_M, 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _tinted(picture: Image, mask: Bool[ndarray, "H W"], colour: tuple[int, int, int]) -> Image:
    """The picture with the mask's pixels half in this colour."""
    tinted = picture.copy()
    tinted[mask] = (picture[mask].astype(np.uint16) + np.array(colour, dtype=np.uint16)) // 2
    return tinted

"""Pictures of episodes for people: side by side in time, and one sheet for many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.world.simulate import WorldEpisode

HAND_COLOUR = (255, 80, 60)
OBJECT_COLOUR = (60, 220, 90)
PICTURES_A_ROW = 8
GAP_PX = 2


def side_by_side(episode: WorldEpisode) -> Iterator[Image]:
    """For every frame: the picture, the untouched scene, and the picture with hands red and moving objects green."""
    for condition, hand, thing in zip(episode.conditions, episode.hand_masks, episode.object_masks, strict=True):
        if condition.image is None or condition.static_render is None:
            raise ValueError("a simulated condition carries image and static_render; these were stripped")
        marked = _tinted(_tinted(condition.image, hand, HAND_COLOUR), thing, OBJECT_COLOUR)
        yield np.concatenate([condition.image, condition.static_render, marked], axis=1)


def contact_row(episode: WorldEpisode) -> UInt8[ndarray, "H W 3"]:
    """Frames spread over the episode in one row, the untouched scene of the last one at its end."""
    at = np.linspace(0, len(episode.conditions) - 1, PICTURES_A_ROW).round().astype(int)
    pictures = [episode.conditions[i].image for i in at] + [episode.conditions[-1].static_render]
    bordered = [np.pad(p, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255) for p in pictures if p is not None]
    return np.concatenate(bordered, axis=1)


def contact_sheet(rows: Sequence[UInt8[ndarray, "H W 3"]]) -> Image:
    """The rows of many episodes, one under the other."""
    return np.concatenate(rows, axis=0)


def _tinted(picture: Image, mask: Bool[ndarray, "H W"], colour: tuple[int, int, int]) -> Image:
    """The picture with the mask's pixels half in this colour."""
    tinted = picture.copy()
    tinted[mask] = (picture[mask].astype(np.uint16) + np.array(colour, dtype=np.uint16)) // 2
    return tinted

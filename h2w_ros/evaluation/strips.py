"""Truth and predictions over time, as pictures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.pictures import labelled_row
from h2w_ros.world.view import pixel_aspect

LEVELS_KEPT = 0xF8
"""32 levels a channel: the eye hardly sees it, and a PNG has a third of the bytes."""


def strip(frames_of: Mapping[str, Sequence[Image]], num_moments: int, scale: float) -> UInt8[ndarray, "_ _ 3"]:
    """One episode: a row a contender, moments from first to last."""
    return np.concatenate([_row(name, frames, num_moments, scale) for name, frames in frames_of.items()]) & np.uint8(LEVELS_KEPT)


def _row(name: str, frames: Sequence[Image], num_moments: int, scale: float) -> UInt8[ndarray, "_ _ 3"]:
    moments = np.linspace(0, len(frames) - 1, num_moments).round().astype(int)
    return labelled_row([frames[i] for i in moments], [f"{name} {i}" for i in moments], scale, pixel_aspect(frames[0].shape[1], frames[0].shape[0]))

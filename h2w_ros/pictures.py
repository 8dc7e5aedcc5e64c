"""Pictures for people to look at: labelled, side by side, and as contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

AnySize = UInt8[ndarray, "_ _ 3"]

LABEL_HEIGHT_PX = 22
GAP_PX = 4
BACKGROUND = 24
INK = (235, 235, 235)


def resized(picture: AnySize, height_px: int) -> AnySize:
    """The picture at this height, its aspect kept; shrinking averages areas, enlarging shows the pixels as they are."""
    width_px = max(1, round(picture.shape[1] * height_px / picture.shape[0]))
    shrinks = height_px < picture.shape[0]
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST), dtype=np.uint8)


def widened(picture: AnySize, pixel_aspect: Fraction | float) -> AnySize:
    """The picture with square pixels, its height kept, for pixels that are so much wider than high."""
    if pixel_aspect == 1:
        return picture
    width_px = max(1, round(picture.shape[1] * pixel_aspect))
    return np.asarray(cv2.resize(picture, (width_px, picture.shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def labelled(picture: AnySize, label: str) -> AnySize:
    """The picture under a dark bar that carries its label; a label that is too long is written smaller."""
    bar = np.full((LABEL_HEIGHT_PX, picture.shape[1], 3), BACKGROUND, dtype=np.uint8)
    (width_px, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    # OpenCV 4 draws strokes up to two pixels past the width that it tells.
    size = min(0.5, (picture.shape[1] - 10) / max(width_px, 1))
    cv2.putText(bar, label, (4, LABEL_HEIGHT_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])


def labelled_row(pictures: Sequence[AnySize], labels: Sequence[str], scale: float = 1.0, pixel_aspect: Fraction | float = 1.0) -> AnySize:
    """Pictures side by side, each under its label, all as high as the highest one times `scale`; see `widened`."""
    if len(pictures) != len(labels) or not pictures:
        raise ValueError(f"a row needs one label a picture and at least one picture, got {len(pictures)} pictures and {len(labels)} labels")
    height_px = max(1, round(max(picture.shape[0] for picture in pictures) * scale))
    cells = [labelled(resized(widened(picture, pixel_aspect), height_px), label) for picture, label in zip(pictures, labels, strict=True)]
    gap = np.full((cells[0].shape[0], GAP_PX, 3), BACKGROUND, dtype=np.uint8)
    return np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=1)


def contact_sheet(pictures: Sequence[AnySize], num_columns: int) -> AnySize:
    """Pictures of one size in rows of `num_columns`, read like a page; the last row is filled up with background."""
    if not pictures or num_columns < 1:
        raise ValueError(f"a contact sheet needs pictures and at least one column, got {len(pictures)} pictures in {num_columns} columns")
    num_rows = -(-len(pictures) // num_columns)
    height_px, width_px = pictures[0].shape[:2]
    sheet = np.full((num_rows * (height_px + GAP_PX) - GAP_PX, num_columns * (width_px + GAP_PX) - GAP_PX, 3), BACKGROUND, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // num_columns * (height_px + GAP_PX), index % num_columns * (width_px + GAP_PX)
        sheet[top : top + height_px, left : left + width_px] = picture
    return sheet

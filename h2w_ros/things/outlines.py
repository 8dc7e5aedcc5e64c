"""Sharper outlines of things: what looks like them and unlike what is around them (GrabCut, Rother et al. 2004)."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Image

REACH_PX = 3
"""Outlines are looked for within this of where they seem to be."""
SURE_PX = 2
SURROUNDINGS_PX = 6
ROUNDS = 2


def outlined(picture: Image, is_thing: Bool[ndarray, "H W"], hidden: Bool[ndarray, "H W"]) -> Bool[ndarray, "H W"]:
    """Which pixels show things, given which seem to; none of those that hands hide."""
    guess = _guess(is_thing, hidden)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((guess != cv2.GC_BGD).astype(np.uint8))
    found = np.zeros(is_thing.shape, bool)
    for group in range(1, count):
        left, top, width, height = boxes[group, :4].tolist()
        window = np.s_[
            max(0, top - SURROUNDINGS_PX) : top + height + SURROUNDINGS_PX, max(0, left - SURROUNDINGS_PX) : left + width + SURROUNDINGS_PX
        ]
        cut = np.where(labels[window] == group, guess[window], cv2.GC_BGD).astype(np.uint8)
        found[window] |= _cut(np.ascontiguousarray(picture[window]), cut)
    return found & ~hidden


def _guess(is_thing: Bool[ndarray, "H W"], hidden: Bool[ndarray, "H W"]) -> ndarray:
    """What cuts begin with."""
    things = is_thing.astype(np.uint8)
    guess = np.full(is_thing.shape, cv2.GC_BGD, np.uint8)
    guess[cv2.dilate(things, np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)) > 0] = cv2.GC_PR_BGD
    guess[is_thing] = cv2.GC_PR_FGD
    guess[cv2.erode(things, np.ones((2 * SURE_PX + 1, 2 * SURE_PX + 1), np.uint8)) > 0] = cv2.GC_FGD
    guess[hidden] = cv2.GC_BGD
    return guess


def _cut(picture: Image, guess: ndarray) -> Bool[ndarray, "h w"]:
    """The foreground; as it was guessed where there is nothing to tell it from."""
    is_front = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not is_front.any() or is_front.all():
        return is_front
    cv2.setRNGSeed(0)  # its clusters begin at random, and the same picture must give the same things
    cv2.grabCut(picture, guess, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))

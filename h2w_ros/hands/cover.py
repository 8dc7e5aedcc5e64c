"""What hands and forearms hide of a picture.

Hands are where their render is. No pose says where a forearm is, only where it should be if it went straight on; what of its
surroundings looks like the hand and unlike the rest is found by graph cuts (GrabCut, Rother et al. 2004).
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.camera import scaled
from h2w_ros.condition import SIDES, Camera, Image, Side
from h2w_ros.geometry import Transform, invert
from h2w_ros.hands.forearms import fill_limb, wrist_camera

LIKELY_M = (0.12, 0.03)
"""Length and radius of what is most probably forearm."""
POSSIBLE_M = (0.4, 0.12)
"""Length and radius of where it may be at all."""
WIDTH_PX = 128
"""Pictures are looked at in this width: outlines need no more, and cuts take ten times as long at four times the pixels."""
ROUNDS = 2
MARGIN_PX = 2
LEAST_PX, ALIKE = 30, 6.0
"""Two pictures show the same hands if so many of their pixels or more differ by so little on average [grey levels]: video costs some."""


def hidden_by_hands(
    picture: Image, hand_render: Image, T_world_grips: Float[ndarray, "2 4 4"], camera: Camera, T_world_camera: Transform
) -> Bool[ndarray, "H W"]:
    """The pixels of a picture that show hands or forearms. `hand_render` and `camera` are of the picture's size.

    `T_world_grips` as `grip.grips_world` gives them; where no hand is known, the render alone counts.
    """
    size = WIDTH_PX, max(1, round(WIDTH_PX * camera.height_px / camera.width_px))
    small, render = (cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA) for image in (picture, hand_render))
    T_camera_grips = invert(T_world_camera) @ T_world_grips
    guess = _guess(np.any(render, axis=2), T_camera_grips, scaled(camera, *size))
    if not _has_both(guess):
        hidden = (guess == cv2.GC_FGD).astype(np.uint8)
    else:
        cv2.setRNGSeed(0)  # its clusters begin at random, and the same picture must give the same photo
        cv2.grabCut(small, guess, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
        hidden = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(hidden, (camera.width_px, camera.height_px), interpolation=cv2.INTER_NEAREST).astype(bool)


def with_margin(mask: Bool[ndarray, "H W"], margin_px: int = MARGIN_PX) -> Bool[ndarray, "H W"]:
    """The mask and what is this near, in pixels of a picture that is WIDTH_PX wide: outlines show a little of both sides."""
    side = 2 * max(1, round(margin_px * mask.shape[1] / WIDTH_PX)) + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def is_shown(is_hand: Bool[ndarray, "H W"], picture: Image, other: Image) -> bool:
    """Whether another picture shows the same hands in the same place."""
    if np.count_nonzero(is_hand) < LEAST_PX:
        return False
    return float(np.mean(cv2.absdiff(picture, other)[is_hand])) < ALIKE


def _guess(is_hand: Bool[ndarray, "h w"], T_camera_grips: Float[ndarray, "2 4 4"], camera: Camera) -> ndarray:
    """What cuts begin with: hands, likely forearms, where forearms may be, and surely none."""
    guess = np.full(is_hand.shape, cv2.GC_BGD, np.uint8)
    for (length_m, radius_m), label in ((POSSIBLE_M, cv2.GC_PR_BGD), (LIKELY_M, cv2.GC_PR_FGD)):
        for side, T_camera_grip in zip(SIDES, T_camera_grips, strict=True):
            if np.isfinite(T_camera_grip).all():
                fill_limb(guess, _straight_on(side, T_camera_grip, length_m), (radius_m, radius_m), camera, label)
    guess[is_hand] = cv2.GC_FGD
    return guess


def _has_both(guess: ndarray) -> bool:
    """Whether there is a hand, and something else that may be forearm."""
    return bool((guess == cv2.GC_FGD).any() and (guess == cv2.GC_BGD).any())


def _straight_on(side: Side, T_camera_grip: Transform, length_m: float) -> Float[ndarray, "2 3"]:
    """Wrist and a point of the forearm this far from it, as if the forearm went straight on from the hand [m]."""
    wrist = wrist_camera(side, T_camera_grip)
    along = wrist - T_camera_grip[:3, 3]
    return np.stack([wrist, wrist + length_m / float(np.linalg.norm(along)) * along])

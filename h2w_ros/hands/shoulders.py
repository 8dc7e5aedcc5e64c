"""Where the shoulders are, told by a picture: forearms come from them, and forearms cover much of what a head sees.

Without a picture shoulders are where those of a head that looks down at its hands would be. Where a picture shows hands and forearms, the whole
upper body is shifted until drawn hands and forearms cover these best, the less readily, the less usual it is (a maximum a posteriori
estimate). Shoulders then stay where they are, as those of people at a table do, until the head has gone so far that they must have followed it.

In the simulated world drawn hands and forearms overlap with those of the truth by 0.67 when shoulders go along with the head, by 0.79 when the
first picture tells where they are, and by 0.89 with the true ones.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.camera import scaled
from h2w_ros.condition import SIDES, Camera, Image
from h2w_ros.geometry import Transform, apply
from h2w_ros.hands.forearms import SHOULDERS_CAMERA_M, Shoulders, brightness, with_forearms

USUAL_M = np.array([0.105, 0.065, 0.071])
"""Standard deviation of the body's shift along the axes of the head's camera."""
CERTAINTY = 16.0
"""How much a complete miss counts, beside half the squared shift in standard deviations."""
STEPS, FINER_STEPS = (1.2, 0.8, 0.5, 0.3, 0.2), (0.3, 0.2)
"""Shifts that are tried, in standard deviations."""
TRIES = 2
LOOKED_AT_PX = 96
"""Pictures are compared in this width."""
FEWEST_PIXELS = 10
LEASH_M = 0.35


def usual_shoulders(T_world_camera: Transform) -> Shoulders:
    """Those of a head that looks down at its hands."""
    return apply(T_world_camera, np.array([SHOULDERS_CAMERA_M[side] for side in SIDES]))


def followed(shoulders_world: Shoulders | None, T_world_camera: Transform) -> Shoulders:
    """Where shoulders are when the head is here: where they were, unless it has gone away from them."""
    usual = usual_shoulders(T_world_camera)
    if shoulders_world is None:
        return usual
    away = (usual - shoulders_world).mean(axis=0)
    distance = float(np.linalg.norm(away))
    return shoulders_world if distance <= LEASH_M else shoulders_world + away * (1.0 - LEASH_M / distance)


def seen_shoulders(
    known: Shoulders | None,
    is_arm: Bool[ndarray, "H W"],
    hands: Image,
    T_world_grips: Float[ndarray, "2 4 4"],
    camera: Camera,
    T_world_camera: Transform,
) -> Shoulders:
    """Shoulders after a picture in which `is_arm` shows hands or forearms; `hands` is their render, `known` what was thought before.

    A picture that shows no hand whose pose is known tells nothing.
    """
    before = followed(known, T_world_camera)
    if (brightness(hands) > 0).sum() < FEWEST_PIXELS or not np.isfinite(T_world_grips).all((1, 2)).any():
        return before
    size = LOOKED_AT_PX, max(1, round(LOOKED_AT_PX * camera.height_px / camera.width_px))
    fit = _Fit(_shrunk(is_arm, size), _shrunk(brightness(hands) > 0, size), T_world_grips, scaled(camera, *size), T_world_camera)
    start = np.zeros(3) if known is None else (before - usual_shoulders(T_world_camera)).mean(axis=0) @ T_world_camera[:3, :3] / USUAL_M
    return fit.shoulders(fit.best(start, STEPS if known is None else FINER_STEPS))


class _Fit:
    """One picture's hands and forearms, and how well shifts of the body explain them."""

    def __init__(
        self,
        is_arm: Bool[ndarray, "h w"],
        is_hand: Bool[ndarray, "h w"],
        T_world_grips: Float[ndarray, "2 4 4"],
        camera: Camera,
        T_world_camera: Transform,
    ) -> None:
        self._is_arm, self._view = is_arm, (camera, T_world_camera)
        self._hands = np.repeat(255 * is_hand[..., None].astype(np.uint8), 3, axis=2)
        self._T_world_grips = T_world_grips

    def shoulders(self, shift: Float[ndarray, "3"]) -> Shoulders:
        """The usual ones, shifted by so many standard deviations."""
        T_world_camera = self._view[1]
        return usual_shoulders(T_world_camera) + T_world_camera[:3, :3] @ (shift * USUAL_M)

    def cost(self, shift: Float[ndarray, "3"]) -> float:
        """What drawn hands and forearms miss, and how unusual that body is."""
        drawn = brightness(with_forearms(self._hands, self._T_world_grips, *self._view, self.shoulders(shift))) > 0
        either = max(1, int((drawn | self._is_arm).sum()))
        return CERTAINTY * (1.0 - float((drawn & self._is_arm).sum()) / either) + 0.5 * float(shift @ shift)

    def best(self, start: Float[ndarray, "3"], steps: tuple[float, ...]) -> Float[ndarray, "3"]:
        """The best shift near the start, by steps along each axis that get finer."""
        best, least = start, self.cost(start)
        for step in [size for size in steps for _ in range(TRIES)]:
            for way in np.concatenate([np.eye(3), -np.eye(3)]):
                shift = best + step * way
                cost = self.cost(shift)
                if cost < least:
                    best, least = shift, cost
        return best


def _shrunk(mask: Bool[ndarray, "H W"], size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)

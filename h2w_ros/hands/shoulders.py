"""Where the shoulders are: forearms come from them, and forearms cover much of what a head sees.

Unless something tells better (`body`) they are where those of a head that looks down at its hands would be; where the height of its table is known,
a little above that, and half a metre this side of where the gaze meets it. They stay where they are, as those of people at a table do, until the
head has gone so far that they must have followed it. A picture that shows hands and forearms tells how likely
shoulders are: as hands and forearms drawn from them cover what it shows.
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
AT_TABLE_M = np.array([0.105, 0.05, 0.04])
"""Standard deviation to the right, ahead and upwards, where the table is known; upwards the simulated world has none, so that this is a guess."""
BESIDE_M, ABOVE_TABLE_M, BEHIND_GAZE_M = 0.26, 0.1, 0.53
"""Where forearms come from at a table: to both sides, above it, and behind the place that is looked at. All of it is the simulated world's
(`world.hand_bodies.SHOULDER_M`), as are the figures above, and nobody has measured it at real tables."""
GAZE_MEETS_M = (0.1, 0.5)
"""That place is so far ahead: a head that looks up, or straight down, has not left its table."""
GAZE_DOWN_RAD = np.deg2rad(50.0)
"""How far a head that looks at its hands looks down: its upwards is known by it, where no table tells."""
CERTAINTY = 40.0
"""How much less likely, as a logarithm, shoulders are that miss what a picture shows completely."""
LOOKED_AT_PX = 96
"""Pictures are compared in this width."""
FEWEST_PIXELS = 10
LEASH_M = 0.35


def usual_shoulders(T_world_camera: Transform, table_height_m: float | None = None) -> Shoulders:
    """Those of a head that looks down at its hands. With a table the world's z axis points up."""
    if table_height_m is None:
        return apply(T_world_camera, np.array([SHOULDERS_CAMERA_M[side] for side in SIDES]))
    R_level_world, eye_m = level(T_world_camera, table_height_m), float(T_world_camera[2, 3]) - table_height_m
    _, ahead, up = R_level_world @ T_world_camera[:3, 2]
    meets_m = float(np.clip(eye_m * ahead / max(-up, 1e-3), *GAZE_MEETS_M))
    places = np.array([[beside, meets_m - BEHIND_GAZE_M, ABOVE_TABLE_M - eye_m] for beside in (-BESIDE_M, BESIDE_M)])
    return np.asarray(T_world_camera[:3, 3] + places @ R_level_world)


def usual_spread_m(T_world_camera: Transform, table_height_m: float | None = None) -> Float[ndarray, "3 3"]:
    """How unsure that is: a root of the covariance of the body's shift, its columns being the ways in which it may be elsewhere."""
    if table_height_m is None:
        return np.asarray(T_world_camera[:3, :3] * USUAL_M)
    return np.asarray(level(T_world_camera, table_height_m).T * AT_TABLE_M)


def level(T_world_camera: Transform, table_height_m: float | None = None) -> Float[ndarray, "3 3"]:
    """R_level_world: right, ahead and up of a head; of one that looks down at its hands, where no table tells what is up."""
    if table_height_m is None:
        down, ahead = np.cos(GAZE_DOWN_RAD), np.sin(GAZE_DOWN_RAD)
        R_level_camera = np.array([[1.0, 0.0, 0.0], [0.0, -ahead, down], [0.0, -down, -ahead]])
        return np.asarray(R_level_camera @ T_world_camera[:3, :3].T)
    x, y = T_world_camera[:2, 0]  # whatever a head looks at, its right stays about level
    far = float(np.hypot(x, y))
    x, y = (x / far, y / far) if far > 1e-6 else (1.0, 0.0)
    return np.array([[x, y, 0.0], [-y, x, 0.0], [0.0, 0.0, 1.0]])


def followed(shoulders_world: Shoulders, T_world_camera: Transform, table_height_m: float | None = None) -> Shoulders:
    """Where shoulders are when the head is here: where they were, unless it has gone away from them."""
    away = (usual_shoulders(T_world_camera, table_height_m) - shoulders_world).mean(axis=0)
    distance = float(np.linalg.norm(away))
    return shoulders_world if distance <= LEASH_M else shoulders_world + away * (1.0 - LEASH_M / distance)


class SeenArms:
    """One picture's hands and forearms, and how well shoulders explain them."""

    def __init__(
        self,
        is_arm: Bool[ndarray, "H W"],
        hands: Image,
        T_world_grips: Float[ndarray, "2 4 4"],
        camera: Camera,
        T_world_camera: Transform,
    ) -> None:
        """`is_arm`: what shows hands or forearms; `hands` is their render."""
        size = LOOKED_AT_PX, max(1, round(LOOKED_AT_PX * camera.height_px / camera.width_px))
        self._is_arm, self._view = _shrunk(is_arm, size), (scaled(camera, *size), T_world_camera)
        self._hands = np.repeat(255 * _shrunk(brightness(hands) > 0, size)[..., None].astype(np.uint8), 3, axis=2)
        self._T_world_grips, self.T_world_camera = T_world_grips, T_world_camera
        is_known = bool(np.isfinite(T_world_grips).all((1, 2)).any())
        self.tell = is_known and int((brightness(hands) > 0).sum()) >= FEWEST_PIXELS
        """A picture that shows no hand whose pose is known tells nothing."""

    def log_likelihood(self, shoulders_world: Shoulders) -> float:
        """By what hands and forearms drawn from there miss, or cover in vain."""
        drawn = brightness(with_forearms(self._hands, self._T_world_grips, *self._view, shoulders_world)) > 0
        either = max(1, int((drawn | self._is_arm).sum()))
        return -CERTAINTY * (1.0 - float((drawn & self._is_arm).sum()) / either)


def _shrunk(mask: Bool[ndarray, "H W"], size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)

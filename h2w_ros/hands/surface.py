"""What of hands and forearms each pixel of a picture may show, and which way it faces there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.geometry import Transform
from h2w_ros.hands.forearms import SEGMENTS, ForearmSurface, brightness

HAND = SEGMENTS + 1
"""The part that is a hand; the forearms' segments have 1 .. SEGMENTS, from the wrist on, and 0 is none."""
LEAST_BRIGHTNESS = 32
"""What is darker in a hand picture is the noise of its compression."""


@dataclass(frozen=True, eq=False)
class HandSurface:
    """Of one picture, or of several that are stacked: parts, and unit normals in the world's frame, zero where they are not known."""

    parts: UInt8[ndarray, "*T H W"]
    normals_world: Float32[ndarray, "*T H W 3"]

    @classmethod
    def of(
        cls, hands: Image, normals_camera: Float32[ndarray, "H W 3"] | None, forearms: ForearmSurface | None, T_world_camera: Transform
    ) -> HandSurface:
        """Of a hand picture before forearms. `normals_camera`: None for a ready-made picture. Where one sees into the open wrist, a forearm is."""
        is_hand = brightness(hands) >= LEAST_BRIGHTNESS
        parts = np.zeros(is_hand.shape, np.uint8) if forearms is None else forearms.segments.copy()
        normals = np.zeros((parts.size, 3), np.float32) if forearms is None else forearms.normals_camera.reshape(-1, 3).copy()
        shown = np.flatnonzero(is_hand)
        if normals_camera is not None and forearms is not None:
            shown = shown[normals_camera.reshape(-1, 3)[shown].any(axis=-1) | (parts.ravel()[shown] == 0)]
        parts.ravel()[shown] = HAND
        normals[shown] = 0.0 if normals_camera is None else normals_camera.reshape(-1, 3)[shown]
        covered = np.flatnonzero(parts)
        normals[covered] = normals[covered] @ T_world_camera[:3, :3].T.astype(np.float32)
        return cls(parts, normals.reshape(*parts.shape, 3))

    @classmethod
    def stacked(cls, surfaces: Sequence[HandSurface]) -> HandSurface:
        """Those of several pictures."""
        return cls(np.stack([surface.parts for surface in surfaces]), np.stack([surface.normals_world for surface in surfaces]))

"""What every kind of static scene is to those who look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform

NEAREST_M = 0.03
"""What is nearer to the camera than this is not drawn."""


@dataclass(frozen=True, eq=False)
class SceneView:
    """The scene as a camera sees it, and where it is known at all; a picture's holes are black, and mean nothing."""

    picture: Image
    known: Bool[ndarray, "H W"]

    @property
    def known_share(self) -> float:
        """The share of the picture that shows something."""
        return float(np.mean(self.known))


@runtime_checkable
class StaticScene(Protocol):
    """An untouched scene in metres, in its world's frame."""

    def render(self, camera: Camera, T_world_camera: Transform) -> SceneView:
        """What this camera sees of it."""

    def moved(self, T_new_world: Transform) -> StaticScene:
        """The same scene in another frame."""

"""Rays of a stream: which earlier pose each frame is anchored to, and their packing for the camera adapter.

The paper anchors every frame to frame 0 (Hand2World, arXiv 2602.09600). An endless stream walks away from frame 0, so
frames may instead be anchored to the pose `anchor_lag` frames earlier. With a short lag the motion is small; `motion_gain`
multiplies its angle and its distance, so that the network sees a signal of useful size and, unlike with a long lag, the
motion since the frame before is known exactly. An amplified turn of more than half a circle comes round from the other
side: with a gain of 8 at 16 fps, that is a head that turns faster than 360 degrees a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from h2w_ros.camera import PluckerMap, plucker_rays, relative_to, scaled, scaled_as_released
from h2w_ros.condition import Camera
from h2w_ros.generator.config import RaysConfig
from h2w_ros.geometry import Transform, interpolate

ASPECT_RULES = {"per_axis": scaled, "released": scaled_as_released}


@dataclass(frozen=True, eq=False)
class FrameRays:
    """One frame's rays, computed when somebody asks: not every network does."""

    camera: Camera
    T_world_anchor: Transform
    T_world_camera: Transform
    gain: float

    @cached_property
    def plucker(self) -> PluckerMap:
        """Moment [m] and direction through every pixel, (H, W, 6)."""
        return plucker_rays(self.camera, amplified(relative_to(self.T_world_anchor, self.T_world_camera), self.gain))


class RayTrack:
    """Plücker rays of one stream, frame after frame; remembers only the poses that can still be an anchor.

    Cameras come as they are before the resize to the generator's pictures, which the config's aspect rule carries out.
    """

    def __init__(self, config: RaysConfig, width_px: int, height_px: int, anchors: Iterable[Transform] = ()) -> None:
        self._config = config
        self._size = (width_px, height_px)
        self._anchors: deque[Transform] = deque(anchors, maxlen=1 if config.anchor_lag is None else config.anchor_lag + 1)

    def begin(self) -> RayTrack:
        """A track of the same kind that has seen nothing."""
        return RayTrack(self._config, *self._size)

    def branch(self) -> RayTrack:
        """A track that goes on from here by itself."""
        return RayTrack(self._config, *self._size, self._anchors)

    def push(self, camera: Camera, T_world_camera: Transform) -> FrameRays:
        """Rays of the next frame at the generator's picture size; the first frame has moment zero."""
        return FrameRays(self.resized(camera), self._anchor(T_world_camera), T_world_camera, self._config.motion_gain)

    def anchored(self, T_world_camera: Transform) -> Transform:
        """The next frame's T_anchor_camera, with the gain."""
        return amplified(relative_to(self._anchor(T_world_camera), T_world_camera), self._config.motion_gain)

    def _anchor(self, T_world_camera: Transform) -> Transform:
        """What the next frame is anchored to."""
        if self._config.anchor_lag is not None or not self._anchors:
            self._anchors.append(T_world_camera)
        return self._anchors[0]

    def resized(self, camera: Camera) -> Camera:
        """The camera at the generator's picture size."""
        return ASPECT_RULES[self._config.aspect](camera, *self._size)


def amplified(T_anchor_camera: Transform, gain: float) -> Transform:
    """The motion continued to `gain` times its angle and its distance; gain 1 leaves it as it is."""
    return T_anchor_camera if gain == 1.0 else interpolate(np.eye(4), T_anchor_camera, gain)

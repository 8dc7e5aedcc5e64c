"""Conditions for RViz and Foxglove: hands as the generator is shown them, what the camera sees, and the way it came."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, apply
from h2w_ros.nodes.hand_markers import hand_markers, marker
from h2w_ros.nodes.messages import Moment

NUM_KEPT = 480  # half a minute
VIEW_M = 0.12
LINE_M = 0.002
GREEN = ColorRGBA(r=0.1, g=0.7, b=0.3, a=1.0)
AMBER = ColorRGBA(r=0.9, g=0.6, b=0.1, a=1.0)


class ConditionMarkers:
    """Remembers the camera's way; one set of markers a condition."""

    def __init__(self, mano: str | None) -> None:
        self._mano = mano
        self._way: deque[Float[ndarray, "3"]] = deque(maxlen=NUM_KEPT)

    def begin(self) -> None:
        """Forgets the way."""
        self._way.clear()

    def follow(self, T_world_camera: Transform) -> None:
        """The camera's next place."""
        self._way.append(T_world_camera[:3, 3])

    def message(self, moment: Moment) -> MarkerArray:
        """All markers of this moment."""
        condition, frame = moment.condition, moment.world_frame
        ends = view_lines(condition.camera, condition.T_world_camera)
        msg = hand_markers(condition.hands, condition.stamp_ns, frame, self._mano)
        msg.markers.append(marker("camera/view", Marker.LINE_LIST, ends, LINE_M, GREEN, condition.stamp_ns, frame))
        msg.markers.append(marker("camera/way", Marker.LINE_STRIP, self._way, LINE_M, AMBER, condition.stamp_ns, frame))
        return msg


def view_lines(camera: Camera, T_world_camera: Transform) -> Float[ndarray, "16 3"]:
    """Ends of the edges of the pyramid from the camera's centre to its picture at VIEW_M [m, world]."""
    right, low = camera.width_px, camera.height_px
    pixels = np.array([(0, 0), (right, 0), (right, low), (0, low)], dtype=float)
    slopes = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    corners = VIEW_M * np.column_stack([slopes, np.ones(4)])
    edges = [(np.zeros(3), corner) for corner in corners] + list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
    return apply(T_world_camera, np.array(edges).reshape(16, 3))

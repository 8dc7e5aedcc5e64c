"""In which directions a source's world has its axes, brought to ROS's (x forward, y left, z up). A new one is a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# Rows: where ROS's x, y and z axis points in the source's axes. A determinant of -1 is a left-handed source.
AXES: Mapping[str, Float[ndarray, "3 3"]] = {
    "ros": np.eye(3),
    # x right, y up, z backwards: OpenXR, ARKit, HoloLens.
    "openxr": np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    # x right, y up, z forward: Unity, left-handed.
    "unity": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    # x right, y down, z forward: cameras, MediaPipe's world landmarks.
    "optical": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}
# A left-handed source's joints are left-handed too: z towards the tip, which OpenXR has backwards.
_FLIP_Z = np.diag([1.0, 1.0, -1.0])


def to_ros(axes: str, points: Float[ndarray, "n 3"], R: Float[ndarray, "m 3 3"]) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "m 3 3"]]:
    """Positions and OpenXR-like orientations in ROS's axes; ValueError for an unknown row."""
    if axes not in AXES:
        raise ValueError(f"axes must be one of {sorted(AXES)}, got {axes!r}")
    M = AXES[axes]
    local = _FLIP_Z if np.linalg.det(M) < 0 else np.eye(3)
    return points @ M.T, M @ R @ local

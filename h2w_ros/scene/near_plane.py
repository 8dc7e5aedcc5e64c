"""Triangles cut off where they come too near to the camera, so that what reaches behind it can still be drawn.

Legend: F triangles, S triangles that are left: a cut one becomes one or two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.scene.view import NEAREST_M


class Clipped(NamedTuple):
    """What is left of triangles: corners in the optical frame [m], the triangle that each is part of, its corners as shares of that one's."""

    points_camera: Float[ndarray, "S 3 3"]
    faces: Int[ndarray, "S"]
    corners: Float[ndarray, "S 3 3"]


def clip(points_camera: Float[ndarray, "F 3 3"]) -> Clipped:
    """The parts of triangles that lie before the camera, at least NEAREST_M away."""
    before = points_camera[..., 2] > NEAREST_M
    count = before.sum(1)
    whole = np.flatnonzero(count == 3)
    parts = [(whole, np.broadcast_to(np.eye(3), (len(whole), 3, 3)))]
    parts += _one_left(points_camera, np.flatnonzero(count == 1), before)
    parts += _two_left(points_camera, np.flatnonzero(count == 2), before)
    faces, corners = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Clipped(np.einsum("skc,scx->skx", corners, points_camera[faces]), faces, corners)


def _one_left(points: ndarray, cut: Int[ndarray, "C"], before: ndarray) -> list[tuple[ndarray, ndarray]]:
    """The tip of every triangle of which one corner is before the camera."""
    tip = before[cut].argmax(1)
    ends = [_crossing(points[cut], tip, (tip + k) % 3) for k in (1, 2)]
    return [(cut, np.stack([np.eye(3)[tip], *ends], axis=1))]


def _two_left(points: ndarray, cut: Int[ndarray, "C"], before: ndarray) -> list[tuple[ndarray, ndarray]]:
    """Two triangles for every one of which only one corner is cut off."""
    lost = (~before[cut]).argmax(1)
    first, second = (lost + 1) % 3, (lost + 2) % 3
    after_first, after_second = (_crossing(points[cut], corner, lost) for corner in (first, second))
    a, b = np.eye(3)[first], np.eye(3)[second]
    return [(cut, np.stack([a, b, after_second], axis=1)), (cut, np.stack([a, after_second, after_first], axis=1))]


def _crossing(points: Float[ndarray, "C 3 3"], here: Int[ndarray, "C"], there: Int[ndarray, "C"]) -> Float[ndarray, "C 3"]:
    """Shares of the corners at the point between two of them where the near plane is."""
    rows = np.arange(len(points))
    near, far = points[rows, there, 2], points[rows, here, 2]
    share = ((far - NEAREST_M) / (far - near))[:, None]
    shares: ndarray = (1.0 - share) * np.eye(3)[here] + share * np.eye(3)[there]
    return shares

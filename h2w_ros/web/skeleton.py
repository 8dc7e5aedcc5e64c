"""Hands as lines over a picture: where their joints are in it."""

from __future__ import annotations

from collections.abc import Iterable

from h2w_ros.camera import project
from h2w_ros.condition import Camera, HandPose
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

Skeleton = list[tuple[float, float]]
"""The 21 joints and tips, as shares of the picture from its top left."""

NEAREST_M = 0.02


def skeletons(hands: Iterable[HandPose], camera: Camera, T_world_camera: Transform) -> list[Skeleton]:
    """Of every hand that is wholly before the camera."""
    found = []
    for hand in hands:
        points = apply(invert(T_world_camera), hand_joints_and_tips_world(load_hand_model(hand.side), hand))
        if (points[:, 2] > NEAREST_M).all():
            pixels = project(camera, points)
            found.append([(round(float(u) / camera.width_px, 4), round(float(v) / camera.height_px, 4)) for u, v in pixels])
    return found

"""The scale of a camera's path by what hands are before: they hide the scene behind them, and touch it where they work.

A hand is never behind the scene that it hides, so its distance in metres over that of the scene in the path's unit is at most the scale,
and it is the scale where the hand touches. Whether hands or camera move does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.scale import LEAST_PAIRS, NUM_PARTS, ScaleFound
from h2w_ros.annotate.hand_stage import FoundHand
from h2w_ros.camera import project
from h2w_ros.condition import SIDES, Side
from h2w_ros.geometry import apply, invert
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

# Scene points this near to a point of the hand in the picture, in sizes of the hand, lie behind it or beside it.
BESIDE, LEAST_POINTS = 0.3, 3
# Points count where they were seen about so many frames before or after: what a hand carries is put at a wrong place, for as long as it moves.
SECOND = 16
# Joints lie so far inside the hand [m].
THICKNESS_M = 0.01
# Few of a hand's points, and few of a clip's moments, touch; a hand and a scene that are a little off must not look like more. Chosen on
# the simulated seeds 900000 to 900008.
TOUCHING_POINTS, TOUCHING_MOMENTS = 0.9, 0.8
BY_TOUCH = "hands that touch the scene: up to a third too short where they only hover over it"


def scale_by_touch(frames: Sequence[Mapping[Side, FoundHand]], path: CameraPath) -> ScaleFound:
    """The scale, and by which factor parts of the clip differ about it; NaN where too few moments show a hand before points of the scene."""
    metres = metres_beside_hands(frames, path)
    if len(metres) < LEAST_PAIRS:
        return ScaleFound()
    scale = float(np.quantile(metres, TOUCHING_MOMENTS))
    parts = np.array([np.quantile(part, TOUCHING_MOMENTS) for part in np.array_split(metres, NUM_PARTS)])
    return ScaleFound(scale, float(np.exp(np.median(np.abs(np.log(parts / scale))))), BY_TOUCH)


def metres_beside_hands(frames: Sequence[Mapping[Side, FoundHand]], path: CameraPath) -> Float[ndarray, "n"]:
    """For every hand that is seen, in the order of time: metres per unit of the path, were it to touch the scene beside it."""
    found = []
    for number, (hands, T_world_camera) in enumerate(zip(frames, path.poses, strict=True)):
        if T_world_camera is not None:
            first, last = path.points_frames.T
            is_near = (first <= number + SECOND) & (last >= number - SECOND)
            scene = _before(apply(invert(T_world_camera), path.points_world[is_near]))
            found += [_metres(hands[side], scene, path) for side in SIDES if side in hands and hands[side].is_seen]
    return np.array([metres for metres in found if metres is not None])


def _before(points_camera: Float[ndarray, "n 3"]) -> Float[ndarray, "m 3"]:
    return points_camera[points_camera[:, 2] > 1e-6]


def _metres(hand: FoundHand, scene: Float[ndarray, "n 3"], path: CameraPath) -> float | None:
    points = hand_joints_and_tips_world(load_hand_model(hand.hand_camera.side), hand.hand_camera)
    if len(scene) < LEAST_POINTS or points[:, 2].min() <= 0.0:
        return None
    camera = path.intrinsics.camera
    gaps_px = np.linalg.norm(project(camera, scene)[:, None] - project(camera, points)[None], axis=2)
    is_beside = gaps_px.min(axis=1) < BESIDE * hand.size_px
    if is_beside.sum() < LEAST_POINTS:
        return None
    nearest = gaps_px[is_beside].argmin(axis=1)
    return float(np.quantile((points[nearest, 2] + THICKNESS_M) / scene[is_beside, 2], TOUCHING_POINTS))

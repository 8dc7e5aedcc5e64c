"""How many metres a unit of the camera's path is, by the hands, whose size is known.

A hand stands at p = R q + s c in the world, with q before the camera in metres (from its size) and c the camera's place in
the path's own unit. Hands rest, or move little, more often than they follow the head's every motion: the right s makes
them move least. Distances are summed, not their squares, so that most moments count and few fast ones do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.hand_stage import FoundHand
from h2w_ros.condition import SIDES, Side
from h2w_ros.geometry import apply

# Moments this far apart [s] are compared: nearer ones show more noise than motion.
SPAN_S = 0.25
NUM_ROUNDS = 30
LEAST_PAIRS = 8
# Motion below this [m] is the noise of a hand's distance.
NOISE_M = 0.01
NUM_PARTS = 4
# Hands rest where they move this much less than the camera: others go their own way, and their least motion says nothing.
MOST_LEFT = 0.5
BY_REST = "hands that rest while the camera moves, as no points of the scene lie behind them"


@dataclass(frozen=True)
class ScaleFound:
    """Metres per unit of the path; `spread`: the factor by which parts of the clip differ. NaN where nothing could be measured.

    `source` says to the user what it rests on; empty where nothing was scaled.
    """

    scale: float = float("nan")
    spread: float = float("nan")
    source: str = ""


def scale_by_rest(frames: Sequence[Mapping[Side, FoundHand]], path: CameraPath, stamps_ns: Sequence[int]) -> ScaleFound:
    """The scale that all hands agree on most, and how much they do; NaN where the camera hardly moved, or hands did not rest."""
    still, moved = _differences(frames, path, np.array(stamps_ns) * 1e-9)
    if len(still) < LEAST_PAIRS or not np.median(np.linalg.norm(moved, axis=1)) > 0.0:
        return ScaleFound()
    scale = _least_motion(still, moved)
    if not (scale > 0.0 and _median_m(still + scale * moved) <= MOST_LEFT * _median_m(scale * moved)):
        return ScaleFound()
    parts = [_least_motion(a, b) for a, b in zip(np.array_split(still, NUM_PARTS), np.array_split(moved, NUM_PARTS), strict=True)]
    logs = np.abs(np.log(np.maximum(parts, 1e-6) / scale))
    return ScaleFound(scale, float(np.exp(np.median(logs))), BY_REST)


def _median_m(motions: Float[ndarray, "n 3"]) -> float:
    return float(np.median(np.linalg.norm(motions, axis=1)))


def _differences(
    frames: Sequence[Mapping[Side, FoundHand]], path: CameraPath, times_s: Float[ndarray, "T"]
) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 3"]]:
    """How wrists moved if the camera had only turned [m], and how the camera moved [units], over SPAN_S, in the order of time."""
    still, moved = [], []
    for first in range(len(frames)):
        second = int(np.searchsorted(times_s, times_s[first] + SPAN_S))
        if second >= len(frames) or path.poses[first] is None or path.poses[second] is None:
            continue
        for side in SIDES:
            if side in frames[first] and side in frames[second]:
                still.append(_turned(frames[second][side], path, second) - _turned(frames[first][side], path, first))
                moved.append(_centre(path, second) - _centre(path, first))
    return np.array(still).reshape(-1, 3), np.array(moved).reshape(-1, 3)


def _turned(hand: FoundHand, path: CameraPath, frame: int) -> Float[ndarray, "3"]:
    pose = path.poses[frame]
    assert pose is not None
    return apply(pose, hand.hand_camera.T_world_wrist[:3, 3]) - pose[:3, 3]


def _centre(path: CameraPath, frame: int) -> Float[ndarray, "3"]:
    pose = path.poses[frame]
    assert pose is not None
    return pose[:3, 3]


def _least_motion(still: Float[ndarray, "n 3"], moved: Float[ndarray, "n 3"]) -> float:
    """The s of least sum of |still + s moved|, by reweighted least squares."""
    weights = np.ones(len(still))
    scale = 0.0
    for _ in range(NUM_ROUNDS):
        scale = -float((weights * np.einsum("ij,ij->i", still, moved)).sum() / max((weights * np.einsum("ij,ij->i", moved, moved)).sum(), 1e-12))
        weights = 1.0 / np.maximum(np.linalg.norm(still + scale * moved, axis=1), NOISE_M)
    return scale

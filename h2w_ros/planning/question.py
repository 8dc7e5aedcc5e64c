"""The planner's question: what would follow if the hands did this, or this, or this?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h2w_ros.condition import Condition, HandPose, Image

Candidate = Sequence[Condition]
SAME_M, SAME_COSINE, SAME_RAD = 1e-3, 1 - 1e-5, 1e-2
"""Candidates that differ by less at their first moment begin alike."""


@dataclass(frozen=True, eq=False)
class Question:
    """Candidates from one moment on, each to be predicted once a seed.

    A candidate's first condition is now: the moment of the picture that is known, the same in all of them. The others, on the
    generator's clock, are to be predicted; all candidates have the same number of them. `goal` is a picture of what is
    wanted in the end, of any size, from the last moment's camera.
    """

    candidates: Sequence[Candidate]
    seeds: Sequence[int] = (0,)
    goal: Image | None = None

    def __post_init__(self) -> None:
        if not self.candidates or not self.seeds:
            raise ValueError(f"a question needs at least one candidate and one seed, got {len(self.candidates)} and {len(self.seeds)}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from one another (equal seeds give equal futures), got {tuple(self.seeds)}")
        lengths = sorted({len(candidate) for candidate in self.candidates})
        if len(lengths) > 1 or lengths[0] < 2:
            raise ValueError(f"candidates must have the same number of moments, now and at least one to predict; got {lengths}")
        for number, candidate in enumerate(self.candidates[1:], start=1):
            difference = _difference(self.start, candidate[0])
            if difference:
                raise ValueError(f"candidates must begin at one moment, that of the picture; candidate {number} differs from 0 there: {difference}")

    @property
    def start(self) -> Condition:
        """Now."""
        return self.candidates[0][0]

    @property
    def num_frames(self) -> int:
        """Moments to predict."""
        return len(self.candidates[0]) - 1


def _difference(one: Condition, other: Condition) -> str:
    """What keeps two moments from being the same; empty when they are."""
    if one.camera != other.camera:
        return f"camera {other.camera} instead of {one.camera}"
    if not _same_pose(one.T_world_camera, other.T_world_camera):
        return "the camera stands elsewhere"
    if [hand.side for hand in one.hands] != [hand.side for hand in other.hands]:
        return f"hands {[hand.side for hand in other.hands]} instead of {[hand.side for hand in one.hands]}"
    moved = [hand.side for hand, before in zip(other.hands, one.hands, strict=True) if not _same_hand(hand, before)]
    return f"the {moved[0]} hand is elsewhere" if moved else ""


def _same_hand(one: HandPose, other: HandPose) -> bool:
    bent_alike = bool(np.abs(one.joint_angles_rad - other.joint_angles_rad).max() < SAME_RAD)
    return bent_alike and _same_pose(one.T_world_wrist, other.T_world_wrist)


def _same_pose(one: np.ndarray, other: np.ndarray) -> bool:
    turned = (one[:3, :3] * other[:3, :3]).sum(axis=0).min()
    return bool(np.linalg.norm(one[:3, 3] - other[:3, 3]) < SAME_M and turned > SAME_COSINE)

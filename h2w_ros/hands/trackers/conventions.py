"""In which order sources list their joints. A new one is a row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.hands.trackers.names import FINGER_BONES, FINGERS, OPENXR_NAMES, POINTS, THUMB_BONES

# The four points of a finger that MediaPipe and its followers know.
_FOUR_BONES = FINGER_BONES[1:]
_MANO_FINGERS = ("index", "middle", "little", "ring", "thumb")


@dataclass(frozen=True)
class Convention:
    """An order of joints by their canonical names; whether the source's orientations are known to be OpenXR's."""

    joint_names: tuple[str, ...]
    has_openxr_axes: bool = False

    @cached_property
    def points(self) -> Int[ndarray, "n"]:
        """Place of every joint among our 21 points, -1 for joints that hand models have not."""
        places = [POINTS[name] for name in self.joint_names]
        return np.array([-1 if place is None else place for place in places], dtype=np.int64)


def _mano() -> tuple[str, ...]:
    joints = [f"{finger}_{bone}" for finger in _MANO_FINGERS for bone in (THUMB_BONES[:3] if finger == "thumb" else _FOUR_BONES[:3])]
    return ("wrist", *joints, *(f"{finger}_tip" for finger in FINGERS))


def _points21() -> tuple[str, ...]:
    return ("wrist", *(f"{finger}_{bone}" for finger in FINGERS for bone in (THUMB_BONES if finger == "thumb" else _FOUR_BONES)))


def _aria() -> tuple[str, ...]:
    """Tips, wrist, the thumb's two joints (its base is not given), then three joints a finger, and the palm's centre."""
    inner = [f"{finger}_{bone}" for finger in FINGERS[1:] for bone in _FOUR_BONES[:3]]
    return (*(f"{finger}_tip" for finger in FINGERS), "wrist", "thumb_proximal", "thumb_distal", *inner, "palm")


CONVENTIONS: Mapping[str, Convention] = {
    "mano21": Convention(_mano()),
    "points21": Convention(_points21()),
    "openxr26": Convention(OPENXR_NAMES, has_openxr_axes=True),
    # OpenXR without the palm: Vision Pro, Manus.
    "wrist25": Convention(OPENXR_NAMES[1:]),
    "wrist27": Convention((*OPENXR_NAMES[1:], "forearm_wrist", "forearm_arm")),
    "aria21": Convention(_aria()),
}


def convention(name: str, num_joints: int) -> Convention:
    """The convention of this name, which must list so many joints; ValueError with what there is otherwise."""
    if name not in CONVENTIONS:
        raise ValueError(f"joint convention must be one of {sorted(CONVENTIONS)}, got {name!r}")
    found = CONVENTIONS[name]
    if len(found.joint_names) != num_joints:
        fitting = sorted(other for other, row in CONVENTIONS.items() if len(row.joint_names) == num_joints)
        raise ValueError(f"convention {name!r} lists {len(found.joint_names)} joints, got {num_joints}; {num_joints} joints fit {fitting or 'none'}")
    return found


def in_our_order(convention: Convention, values: Float[ndarray, "n *rest"]) -> Float[ndarray, "21 *rest"]:
    """Values of a convention's joints as values of our 21 points, NaN where it has none."""
    ours = np.full((21, *values.shape[1:]), np.nan)
    is_ours = convention.points >= 0
    ours[convention.points[is_ours]] = values[is_ours]
    return ours

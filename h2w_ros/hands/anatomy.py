"""How far the joints of a hand turn, and about which axes.

Every joint has three axes, taken from the flat hand of a model: twist (along the bone, towards the tip), spread (into
the palm) and bend (a positive angle closes the hand). A joint's rotation vector has its components along
these axes; a rotation without a twist component does not turn the bone about itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.hands.model import NO_PARENT, TIP_VERTICES, HandModel

NUM_FINGER_JOINTS = 15
# MANO's order of fingers; finger f owns the joints 1 + 3 f .. 3 + 3 f, from the knuckle on.
FINGERS = ("index", "middle", "pinky", "ring", "thumb")
THUMB = FINGERS.index("thumb")
FIRST_JOINTS = np.arange(1, 16, 3)
MANO_PARENTS = (NO_PARENT, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# Where each finger's tip stands among the 21 points; smplx appends the thumb first.
TIP_POINTS = np.array([17, 18, 20, 19, 16])
# Joint 0 and the first joint of every finger: they stand still in the wrist's frame.
PALM_POINTS = np.array([0, *FIRST_JOINTS])
# MANO's template lies with its palm towards -y, on either side.
PALM_DIRECTION = np.array([0.0, -1.0, 0.0])


class Limits(NamedTuple):
    """Least and greatest angle of every joint about its axes [rad], relative to the flat hand."""

    low: Float[ndarray, "15 3"]
    high: Float[ndarray, "15 3"]


# (least, greatest) angle about the twist, spread and bend axis [deg], knuckle to last joint. Active ranges of healthy adults
# with some room: a flat model hand is not an anatomical zero, and relaxed fingers bend a little backwards when pressed.
_FINGER_DEG = (((-8, 8), (-25, 25), (-35, 100)), ((-3, 3), (-4, 4), (-12, 115)), ((-3, 3), (-4, 4), (-20, 95)))
_THUMB_DEG = (((-45, 45), (-45, 45), (-45, 55)), ((-15, 15), (-15, 15), (-25, 80)), ((-4, 4), (-6, 6), (-30, 95)))


def _limits() -> Limits:
    degrees = np.array([*(_FINGER_DEG * 4), *_THUMB_DEG], dtype=np.float64)
    return Limits(*np.radians(np.moveaxis(degrees, -1, 0)))


LIMITS = _limits()


def check_tree(model: HandModel) -> None:
    """ValueError when the joints do not hang together as MANO's do: five fingers of three joints."""
    if tuple(model.parents.tolist()) != MANO_PARENTS:
        raise ValueError(f"a hand to be fitted must have MANO's joint tree {MANO_PARENTS}, got {tuple(model.parents.tolist())}")


def joint_axes(model: HandModel) -> Float[ndarray, "15 3 3"]:
    """Columns: unit twist, spread and bend axis of every finger joint, in the template frame of the mean shape."""
    points = rest_points(model, np.zeros(model.shape_directions.shape[-1]))
    axes = np.empty((5, 3, 3, 3))
    for finger, first in enumerate(FIRST_JOINTS):
        chain = points[[*range(first, first + 3), TIP_POINTS[finger]]]
        towards_palm = PALM_DIRECTION
        if finger == THUMB:
            across = points[FIRST_JOINTS[FINGERS.index("pinky")]] - points[first]
            towards_palm = PALM_DIRECTION + across / np.linalg.norm(across)
        twist = _unit(np.diff(chain, axis=0))
        bend = _unit(np.cross(twist, towards_palm))
        axes[finger] = np.stack([twist, np.cross(bend, twist), bend], axis=-1)
    return axes.reshape(NUM_FINGER_JOINTS, 3, 3)


def rest_points(model: HandModel, betas: Float[ndarray, "10"]) -> Float[ndarray, "21 3"]:
    """Joints and tips of the shaped, flat hand in the template frame [m], smplx's order."""
    vertices = model.template_vertices + model.shape_directions @ betas
    return np.concatenate([model.joint_regressor @ vertices, vertices[list(TIP_VERTICES)]])


def _unit(vectors: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

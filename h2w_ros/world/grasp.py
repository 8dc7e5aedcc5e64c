"""Where a hand must be, and how far each finger must close, to hold or to push an object."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import Transform, apply, invert, rotation_from_axis_angle, transform
from h2w_ros.world.hand_bodies import FINGERS, KNUCKLES, SHOULDER_M, HandShape, joint_frames_world
from h2w_ros.world.motion import UP
from h2w_ros.world.objects import TableObject, distance_m, extent_m

FULL_CURL_RAD = {"finger": np.radians((78.0, 85.0, 50.0)), "thumb": np.radians((35.0, 30.0, 45.0))}
CURL_STEPS = 30
TOUCH_M = 0.007
"""A finger's bones are this far from what it touches."""
PALM_CLEARANCE_M = 0.02
TOUCH_STEPS = 8
PINCH_TOP_M = 0.06
PINCH_HALF_WIDTH_M = 0.027
"""Things that are lower and narrower than this are taken between thumb and fingers."""
TABLE_CLEARANCE_M = 0.013
PINCHES = {
    "knob": ({"index": 0.5, "middle": 0.5, "ring": 0.52, "pinky": 0.55, "thumb": 0.8}, 0.3),
    "edge": ({"index": 0.5, "middle": 0.5, "ring": 0.5, "pinky": 0.5, "thumb": 0.4}, 0.25),
}
"""How far each finger is closed around a knob, or around the edge of a plate, and how much of that it opens to let go."""


def finger_angles(shape: HandShape, curls: dict[str, float]) -> Float[ndarray, "45"]:
    """Joint angles of fingers closed by these shares, 0 flat to 1 closed; fingers that are not named stay flat."""
    angles = np.zeros((15, 3))
    for finger, share in curls.items():
        bend = FULL_CURL_RAD["thumb" if finger == "thumb" else "finger"]
        for joint, angle in zip(FINGERS[finger][:3], bend, strict=True):
            angles[joint - 1] = share * angle * shape.curl_axes[finger]
    return angles.ravel()


def evenly_curled(shape: HandShape, share: float) -> Float[ndarray, "45"]:
    """Every finger closed by the same share."""
    return finger_angles(shape, dict.fromkeys(FINGERS, share))


def hand_rotation(shape: HandShape, towards_m: Float[ndarray, "3"], yaw_rad: float, pitch_rad: float, roll_rad: float) -> Float[ndarray, "3 3"]:
    """R_world_wrist of a hand whose fingers point from the shoulder towards a place.

    `yaw_rad` turns it about the vertical, `pitch_rad` lowers the finger tips, `roll_rad` turns the palm from downwards (0) to inwards (pi/2).
    """
    forward = (towards_m - SHOULDER_M[shape.side]) * (1, 1, 0)
    forward = rotation_from_axis_angle(UP * yaw_rad) @ (forward / np.linalg.norm(forward))
    fingers = np.cos(pitch_rad) * forward - np.sin(pitch_rad) * UP
    down = -(np.cos(pitch_rad) * UP + np.sin(pitch_rad) * forward)
    inwards = np.cross(UP, forward) * (1 if shape.side == "right" else -1)
    palm = np.cos(roll_rad) * down + np.sin(roll_rad) * inwards
    return np.stack([fingers, palm, np.cross(fingers, palm)], axis=1) @ shape.axes.T


def palm_point(shape: HandShape) -> Float[ndarray, "3"]:
    """The middle of the palm near the knuckles, in the wrist's frame [m]."""
    return 0.88 * shape.points[list(KNUCKLES)].mean(axis=0)


def raised_above_table(shape: HandShape, T_world_wrist: Transform, joint_angles_rad: Float[ndarray, "45"]) -> Transform:
    """The pose, lifted just so far that no joint or tip is in the table."""
    lowest = float(hand_points_world(shape, T_world_wrist, joint_angles_rad)[:, 2].min())
    lifted = T_world_wrist.copy()
    lifted[2, 3] += max(0.0, TABLE_CLEARANCE_M - lowest)
    return lifted


def closing_angles(shape: HandShape, T_world_wrist: Transform, thing: TableObject, T_world_object: Transform) -> Float[ndarray, "45"]:
    """Joint angles with every finger closed until it touches the object or the table; one that meets nothing stays half open."""
    shares = np.linspace(0.0, 1.0, CURL_STEPS)
    poses = [hand_points_world(shape, T_world_wrist, evenly_curled(shape, share)) for share in shares]
    T_object_world = invert(T_world_object)
    curls = {}
    for finger, chain in FINGERS.items():
        free = [_is_free(points[list(chain)], thing, T_object_world) for points in poses]
        first_touch = free.index(False) if False in free else None
        curls[finger] = 0.55 if first_touch is None else float(shares[max(first_touch - 1, 0)])
    return finger_angles(shape, curls)


def hand_points_world(shape: HandShape, T_world_wrist: Transform, joint_angles_rad: Float[ndarray, "45"]) -> Float[ndarray, "21 3"]:
    """16 joints and 5 tips in the world [m]."""
    frames = joint_frames_world(shape, T_world_wrist, joint_angles_rad)
    tips = np.zeros((5, 3))
    for chain in FINGERS.values():
        last, tip = chain[2], chain[3]
        tips[tip - 16] = apply(frames[last], shape.points[tip] - shape.points[last])
    return np.concatenate([frames[:, :3, 3], tips])


def _is_free(chain_points_world: Float[ndarray, "4 3"], thing: TableObject, T_object_world: Transform) -> bool:
    """Whether a finger's bones, as thick lines through these points, touch neither object nor table."""
    middles = (chain_points_world[1:] + chain_points_world[:-1]) / 2
    points = np.concatenate([chain_points_world[1:], middles])
    clearance = np.minimum(distance_m(thing, apply(T_object_world, points)), points[:, 2])
    return bool((clearance > TOUCH_M).all())


def grasp_pose(shape: HandShape, R_world_wrist: Float[ndarray, "3 3"], thing: TableObject, T_world_object: Transform) -> Transform:
    """T_world_wrist with the palm on the object, off the table with open fingers."""
    palm, middle = R_world_wrist @ shape.axes[:, 1], R_world_wrist @ palm_point(shape)
    reach = extent_m(thing, T_world_object[:3, :3], palm) + PALM_CLEARANCE_M
    towards = T_world_object[:3, 3] - palm * reach
    for _ in range(TOUCH_STEPS):  # where the object is narrower than its extent, the palm goes on until it is near
        towards = towards + palm * max(0.0, float(distance_m(thing, apply(invert(T_world_object), towards[None]))[0]) - PALM_CLEARANCE_M)
    return raised_above_table(shape, transform(R_world_wrist, towards - middle), evenly_curled(shape, 0.15))


def pinch_ways(thing: TableObject, T_world_object: Transform) -> list[Float[ndarray, "3"]]:
    """Level directions in which two fingers fit around a thing that lies low; none for what is too high or too wide."""
    rotation, half = T_world_object[:3, :3], np.array(thing.half_size_m)
    if T_world_object[2, 3] + extent_m(thing, rotation, UP) > PINCH_TOP_M:
        return []
    level = np.argsort(np.abs(rotation[2]))[:2]
    long = level[np.argmax(half[level])]
    narrow = half[level].min()
    along = rotation[:, long] * (1, 1, 0) / np.linalg.norm(rotation[:2, long])
    across = np.cross(UP, along)
    if narrow > PINCH_HALF_WIDTH_M:
        return []
    return [across, -across] if half[long] > PINCH_HALF_WIDTH_M else [across, -across, along, -along]


def pinch_pose(shape: HandShape, R_world_wrist: Float[ndarray, "3 3"], place_m: Float[ndarray, "3"]) -> Transform:
    """T_world_wrist with this place, or just above the table over it, between thumb and fingers."""
    low = np.array([*place_m[:2], max(place_m[2], TABLE_CLEARANCE_M)])
    return transform(R_world_wrist, low - R_world_wrist @ pinch_point(shape, "knob"))


def yaw_towards(shape: HandShape, place_m: Float[ndarray, "3"], ways: list[Float[ndarray, "3"]]) -> float:
    """The smallest turn [rad] that points the fingers of a hand that reaches for the place along one of these level directions."""
    forward = place_m - SHOULDER_M[shape.side]
    turns = [np.arctan2(forward[0] * way[1] - forward[1] * way[0], forward[:2] @ way[:2]) for way in ways]
    return float(min(turns, key=abs))


def pinching(shape: HandShape, way: str, closed: float = 1.0) -> Float[ndarray, "45"]:
    """Joint angles of a hand that pinches (1) or is about to (0)."""
    curls, spread = PINCHES[way]
    return finger_angles(shape, {finger: share - spread * (1 - closed) for finger, share in curls.items()})


def pinch_point(shape: HandShape, way: str) -> Float[ndarray, "3"]:
    """Between thumb and the first two fingers of a pinching hand, in the wrist's frame [m]."""
    points = hand_points_world(shape, np.eye(4), pinching(shape, way))
    return points[16] / 2 + (points[17] + points[18]) / 4

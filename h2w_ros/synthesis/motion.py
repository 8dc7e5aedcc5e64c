"""How a recording's moments are varied: other hand motions, other camera paths, the scene in a mirror.

Every variation leaves the first moment as it was (mirrors apart), because that is the moment of the picture that the generator begins from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import intrinsics
from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.geometry import Transform, invert, rotation_angle_rad, rotation_from_axis_angle, transform
from h2w_ros.timeline import interpolate_hands

Moments = Sequence[Condition]

NS_PER_S = 1e9
EASE_IN_S = 0.5
NUM_WAVES = 3
WAVE_HZ = (0.15, 0.6)

MIRROR_X = np.diag([-1.0, 1.0, 1.0, 1.0])

SAME_WRIST_M, SAME_WRIST_RAD = 0.05, math.radians(25.0)
SAME_LENS = 0.01
"""In widths and heights of the picture."""


def retimed(moments: Moments, rng: np.random.Generator) -> list[Condition]:
    """The hands go the same way at another pace: faster here, slower there, and arrive together; the camera keeps its own."""
    times_s = _times_s(moments)
    strength = rng.uniform(0.4, 0.8) * rng.choice([-1.0, 1.0])
    share = times_s / max(times_s[-1], 1e-9)
    warped_s = times_s[-1] * (share + strength * np.sin(2.0 * np.pi * share) / (2.0 * np.pi))
    places = np.interp(warped_s, times_s, np.arange(len(moments)))
    return [replace(moment, hands=_hands_between(moments, place)) for moment, place in zip(moments, places, strict=True)]


def perturbed(moments: Moments, rng: np.random.Generator) -> list[Condition]:
    """Each wrist strays smoothly from its way, by about 3 cm and 8 degrees."""
    times_s = _times_s(moments)
    strays = {side: _strays(times_s, 0.03, math.radians(8.0), rng) for side in ("left", "right")}
    return [replace(moment, hands=tuple(_moved(hand, strays[hand.side][index]) for hand in moment.hands)) for index, moment in enumerate(moments)]


def camera_swayed(moments: Moments, rng: np.random.Generator) -> list[Condition]:
    """The camera strays smoothly from its path, by about 3 cm and 4 degrees; the hands stay where they are in the world."""
    strays = _strays(_times_s(moments), 0.03, math.radians(4.0), rng)
    return [replace(moment, T_world_camera=moment.T_world_camera @ stray) for moment, stray in zip(moments, strays, strict=True)]


def mirrored(moments: Moments) -> list[Condition]:
    """Everything in a mirror across the world's x axis, whose picture is the camera's, flipped: left hands become right ones."""
    return [
        replace(
            moment,
            camera=replace(moment.camera, cx=moment.camera.width_px - moment.camera.cx),
            T_world_camera=MIRROR_X @ moment.T_world_camera @ MIRROR_X,
            hands=tuple(mirrored_hand(hand) for hand in moment.hands),
            hand_render=None if moment.hand_render is None else flipped(moment.hand_render),
        )
        for moment in moments
    ]


def mirrored_hand(hand: HandPose) -> HandPose:
    """The hand of the other side that the mirror shows; a rotation's axis keeps x and turns y and z about."""
    angles_rad = hand.joint_angles_rad.reshape(15, 3) * (1.0, -1.0, -1.0)
    return HandPose(
        "left" if hand.side == "right" else "right", MIRROR_X @ hand.T_world_wrist @ MIRROR_X, angles_rad.reshape(45), hand.betas, hand.confidence
    )


def flipped(picture: Image) -> Image:
    """The picture, left and right exchanged."""
    return np.ascontiguousarray(picture[:, ::-1])


def swapped(moments: Moments, donor: Moments) -> list[Condition]:
    """The donor's hands before this recording's cameras, as far as both go; what the hands do at the start fades over into the donor's way."""
    T_ours_theirs = moments[0].T_world_camera @ invert(donor[0].T_world_camera)
    times_s = _times_s(moments)
    given = [tuple(_carried(hand, T_ours_theirs) for hand in moment.hands) for moment in donor]
    fade = [_eased(time_s) for time_s in times_s]
    return [
        replace(moment, hands=interpolate_hands(moment.hands, hands, share) if share < 1.0 else hands, hand_render=None)
        for moment, hands, share in zip(moments, given, fade, strict=False)
    ]


def starts_alike(one: Condition, other: Condition) -> bool:
    """Whether two recordings begin with one lens and the same hands in about the same places before it."""
    if {hand.side for hand in one.hands} != {hand.side for hand in other.hands} or not one.hands:
        return False
    if not np.allclose(intrinsics(one.camera), intrinsics(other.camera), atol=SAME_LENS) or not _same_shape(one.camera, other.camera):
        return False
    return all(_near(_wrist_camera(one, hand), _wrist_camera(other, other.hand(hand.side))) for hand in one.hands)


def _same_shape(one: Camera, other: Camera) -> bool:
    return (one.width_px, one.height_px) == (other.width_px, other.height_px)


def _wrist_camera(moment: Condition, hand: HandPose | None) -> Transform:
    assert hand is not None
    return invert(moment.T_world_camera) @ hand.T_world_wrist


def _near(one: Transform, other: Transform) -> bool:
    distance_m = float(np.linalg.norm(one[:3, 3] - other[:3, 3]))
    return distance_m <= SAME_WRIST_M and rotation_angle_rad(one[:3, :3].T @ other[:3, :3]) <= SAME_WRIST_RAD


def _times_s(moments: Moments) -> Float[ndarray, "n"]:
    stamps = np.array([moment.stamp_ns for moment in moments], dtype=np.int64)
    return (stamps - stamps[0]) / NS_PER_S


def _hands_between(moments: Moments, place: float) -> tuple[HandPose, ...]:
    """The hands at a fractional frame number."""
    before = min(int(place), len(moments) - 1)
    after = min(before + 1, len(moments) - 1)
    return interpolate_hands(moments[before].hands, moments[after].hands, place - before)


def _strays(times_s: Float[ndarray, "n"], size_m: float, size_rad: float, rng: np.random.Generator) -> list[Transform]:
    """Small motions that begin at none and vary smoothly: slow waves in every direction."""
    courses = _waves(times_s, rng) * np.array([size_rad] * 3 + [size_m] * 3)
    return [transform(rotation_from_axis_angle(course[:3]), course[3:]) for course in courses]


def _waves(times_s: Float[ndarray, "n"], rng: np.random.Generator) -> Float[ndarray, "n 6"]:
    """Six smooth courses of typical size 1 that start at 0."""
    frequencies_hz, phases = rng.uniform(*WAVE_HZ, (NUM_WAVES, 6)), rng.uniform(0.0, 2.0 * np.pi, (NUM_WAVES, 6))
    waves = np.sin(2.0 * np.pi * frequencies_hz * times_s[:, None, None] + phases).sum(axis=1) / math.sqrt(NUM_WAVES / 2.0)
    return waves * np.array([_eased(time_s) for time_s in times_s])[:, None]


def _eased(time_s: float) -> float:
    """From 0 to 1 over the first half second, smoothly."""
    share = min(time_s / EASE_IN_S, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _moved(hand: HandPose, stray: Transform) -> HandPose:
    """Turned about its own wrist, moved along the world's axes."""
    T = hand.T_world_wrist.copy()
    T[:3, :3] = stray[:3, :3] @ T[:3, :3]
    T[:3, 3] += stray[:3, 3]
    return replace(hand, T_world_wrist=T)


def _carried(hand: HandPose, T_ours_theirs: Transform) -> HandPose:
    return replace(hand, T_world_wrist=T_ours_theirs @ hand.T_world_wrist)


MOTIONS: dict[str, Callable[[Moments, np.random.Generator], list[Condition]]] = {
    "retimed": retimed,
    "perturbed": perturbed,
    "camera": camera_swayed,
}

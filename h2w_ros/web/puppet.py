"""A hand on strings: from what a visitor wishes (a place in the picture, height, turns, grasp) to a hand in the world."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import project
from h2w_ros.condition import HandPose, Side
from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.grip import T_world_grip, middle
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.web.scenes import Scene

UP = np.array([0.0, 0.0, 1.0])
NEAREST_M, FARTHEST_M = 0.15, 1.0
"""How far from the eye a hand can be."""
SHOULDER_ASIDE_M, SHOULDER_BEHIND_M = 0.22, 0.1
"""Where the arm comes from, seen from the eye."""
MIDDLE_KNUCKLE = 4
FULL_CURL_RAD = np.radians([*4 * [(78.0, 85.0, 50.0)], (35.0, 30.0, 45.0)])
"""A closed fist, by finger and joint in MANO's order."""
SETTLE_S = 0.07
"""A wish is followed with this time constant: hands have mass, and the generator has only seen hands that do."""


@dataclass(frozen=True)
class Wish:
    """Where a visitor wants the hand: its middle at `u`, `v` (shares of the picture, from the top left) and `height_m` above the table.

    `turn_rad` is about the vertical, `tilt_rad` lowers the fingertips, `roll_rad` is about the fingers, each from how the
    hand is in the photo; `grasp` is 0 for a flat hand and 1 for a fist.
    """

    u: float
    v: float
    height_m: float
    turn_rad: float = 0.0
    tilt_rad: float = 0.0
    roll_rad: float = 0.0
    grasp: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} of a hand must be in {low}..{high}, got {value}")


LIMITS = {
    "u": (-0.25, 1.25),
    "v": (-0.25, 1.25),
    "height_m": (0.0, 0.4),
    "turn_rad": (-1.6, 1.6),
    "tilt_rad": (-1.2, 1.2),
    "roll_rad": (-1.6, 1.6),
    "grasp": (0.0, 1.0),
}
FASTEST = {"u": 1.6, "v": 1.6, "height_m": 0.7, "turn_rad": 4.0, "tilt_rad": 4.0, "roll_rad": 4.0, "grasp": 5.0}
"""The most that each changes in a second: about what hands in the simulated world do."""


def nearest_wish(**wanted: float) -> Wish:
    """The wish that is nearest to these numbers and within the limits."""
    return Wish(**{name: float(np.clip(value, *LIMITS[name])) for name, value in wanted.items()})


def followed(now: Wish, goal: Wish, duration_s: float) -> Wish:
    """Where the hand is after this time on its way to a goal: smoothly, and never faster than hands are."""
    share = 1.0 - np.exp(-duration_s / SETTLE_S)
    most = {name: speed * duration_s for name, speed in FASTEST.items()}
    steps = {name: np.clip(share * (getattr(goal, name) - getattr(now, name)), -most[name], most[name]) for name in FASTEST}
    return nearest_wish(**{name: getattr(now, name) + step for name, step in steps.items()})


class Puppet:
    """The hand of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._camera, self._T_world_camera = scene.condition.camera, scene.condition.T_world_camera
        self._hand = scene.hand
        self._start_m = T_world_grip(self._hand)[:3, 3]
        # A photo whose table nobody knows: its plane is taken to be as far below the hand as hands usually are.
        self._table_m = float(self._start_m[2]) - 0.08 if scene.table_height_m is None else scene.table_height_m
        share = _closed_share(self._hand)
        self._own_angles = self._hand.joint_angles_rad - _curled(self._hand.side, share)
        u, v = project(self._camera, apply(invert(self._T_world_camera), self._start_m[None]))[0]
        self.start = nearest_wish(u=u / self._camera.width_px, v=v / self._camera.height_px, height_m=self._start_m[2] - self._table_m, grasp=share)

    def hand(self, wish: Wish) -> HandPose:
        """The hand where and how it is wished."""
        place = self._place(wish)
        R = self._rotation(wish, place)
        angles = self._own_angles + _curled(self._hand.side, wish.grasp)
        return replace(self._hand, T_world_wrist=transform(R, place - R @ middle(self._hand.side)), joint_angles_rad=angles)

    def _place(self, wish: Wish) -> Float[ndarray, "3"]:
        """Where the ray through the wished place meets the plane at the wished height, within reach."""
        camera, eye = self._camera, self._T_world_camera[:3, 3]
        pixel = np.array([wish.u * camera.width_px - camera.cx, wish.v * camera.height_px - camera.cy]) / (camera.fx, camera.fy)
        ray = self._T_world_camera[:3, :3] @ np.array([*pixel, 1.0])
        ray = ray / np.linalg.norm(ray)
        below = eye[2] - self._table_m - wish.height_m
        distance_m = below / -ray[2] if ray[2] < 0.0 else FARTHEST_M
        return eye + ray * np.clip(distance_m, NEAREST_M, FARTHEST_M)

    def _rotation(self, wish: Wish, place: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
        """The photo's rotation, turned along with the arm, then as wished."""
        R_start = self._hand.T_world_wrist[:3, :3]
        fingers = R_start @ _fingers(self._hand.side)
        level = fingers * (1, 1, 0)
        across = np.cross(UP, level / max(float(np.linalg.norm(level)), 1e-6))
        turn = wish.turn_rad + self._azimuth(place) - self._azimuth(self._start_m)
        turns = rotation_from_axis_angle(np.stack([UP * turn, across * wish.tilt_rad, fingers * wish.roll_rad]))
        return turns[0] @ turns[1] @ turns[2] @ R_start

    def _azimuth(self, place: Float[ndarray, "3"]) -> float:
        """The direction [rad] from the shoulder to a place."""
        R, eye = self._T_world_camera[:3, :3], self._T_world_camera[:3, 3]
        right = np.cross(R[:, 2], UP)
        right = right / np.linalg.norm(right)
        sign = 1.0 if self._hand.side == "right" else -1.0
        way = place - (eye + sign * SHOULDER_ASIDE_M * right - SHOULDER_BEHIND_M * np.cross(UP, right))
        return float(np.arctan2(way[1], way[0]))


def describe_limits() -> dict[str, tuple[float, float]]:
    """The range of every part of a wish, for the page."""
    return {part.name: LIMITS[part.name] for part in fields(Wish)}


def _curled(side: Side, share: float) -> Float[ndarray, "45"]:
    """Joint angles of a hand closed by this share."""
    return (share * FULL_CURL_RAD.reshape(15, 1) * _curl_axes(side)).ravel()


def _closed_share(hand: HandPose) -> float:
    """How far the four fingers are closed on average, in 0..1."""
    bent = (hand.joint_angles_rad.reshape(15, 3) * _curl_axes(hand.side)).sum(axis=1)[:12]
    return float(np.clip(np.mean(bent / FULL_CURL_RAD.ravel()[:12]), 0.0, 1.0))


@cache
def _curl_axes(side: Side) -> Float[ndarray, "15 3"]:
    """Unit axis of every joint about which a relaxed hand bends."""
    mean = load_hand_model(side).pose_mean_rad.reshape(15, 3)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@cache
def _fingers(side: Side) -> Float[ndarray, "3"]:
    """Where the fingers of a flat hand point, in the wrist's frame."""
    flat = HandPose(side, np.eye(4), np.zeros(45), np.zeros(10))
    knuckle = hand_joints_and_tips_world(load_hand_model(side), flat)[MIDDLE_KNUCKLE]
    return knuckle / np.linalg.norm(knuckle)

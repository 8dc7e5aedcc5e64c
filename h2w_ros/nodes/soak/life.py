"""What the robot of a soak run lives: a head that sways, two hands that move, and what its sensors would say of each moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from geometry_msgs.msg import Point

from h2w_msgs.msg import HandSkeleton
from h2w_ros.condition import Camera, HandPose, Image, Side
from h2w_ros.geometry import Transform, rotation_from_axis_angle, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import header, image_to_msg
from h2w_ros.nodes.messages import SIDE_NUMBERS, camera_info, odometry_to_msg

CAMERA = Camera(128, 96, 120.0, 120.0, 64.0, 48.0)
WORLD_FRAME, OPTICAL_FRAME = "odom", "camera_optical_frame"
SKELETONS = "hand_skeletons"
# One beat is an odometry message; every fourth is a picture with hands, at the generator's rate of 16 Hz.
BEAT_NS = 15_625_000
BEATS_PER_PICTURE = 4
NUM_PICTURES = 16
REACHES: dict[Side, float] = {"left": -0.12, "right": 0.12}


@dataclass(frozen=True)
class Outgoing:
    """A message on its way, under the name of its topic."""

    topic: str
    msg: Any


def is_picture(beat: int) -> bool:
    """Whether the camera takes a picture at this beat."""
    return beat % BEATS_PER_PICTURE == 0


def head(beat: int) -> Transform:
    """T_world_camera: sways by a few centimetres within seconds."""
    angle = beat * 0.01
    return transform(rotation_from_axis_angle(np.array([0.0, 0.05 * np.sin(angle), 0.0])), np.array([0.05 * np.sin(angle), 0.0, 0.0]))


def hand(beat: int, side: Side) -> HandPose:
    """A hand that closes and opens in front of the camera."""
    place = np.array([REACHES[side], 0.02 * np.sin(beat * 0.02), 0.45])
    return HandPose(side, transform(np.eye(3), place), np.full(45, 0.1 + 0.1 * np.sin(beat * 0.03)), np.zeros(10))


@lru_cache(maxsize=NUM_PICTURES)
def picture(number: int) -> Image:
    """One of a few pictures that the camera takes in turn."""
    rows, columns = np.mgrid[: CAMERA.height_px, : CAMERA.width_px]
    waves = [(np.sin((rows * a + columns * b) / 9.0 + number * 2 * np.pi / NUM_PICTURES) + 1.0) * 127.0 for a, b in ((1, 0), (0, 1), (1, 1))]
    return np.stack(waves, axis=-1).astype(np.uint8)


def skeleton(beat: int, side: Side, stamp_ns: int) -> HandSkeleton:
    """What a tracker says of a hand: MANO's 16 joints and the fingertips, in the world frame."""
    points = hand_joints_and_tips_world(load_hand_model(side), hand(beat, side))
    positions = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return HandSkeleton(header=header(stamp_ns, WORLD_FRAME), side=SIDE_NUMBERS[side], convention="mano21", positions=positions)


def messages(beat: int, stamp_ns: int) -> list[Outgoing]:
    """Everything that the robot says at this beat."""
    said = [Outgoing(topics.ODOMETRY, odometry_to_msg(head(beat), stamp_ns, WORLD_FRAME, OPTICAL_FRAME))]
    if is_picture(beat):
        said.insert(0, Outgoing(topics.IMAGE, image_to_msg(picture(beat // BEATS_PER_PICTURE % NUM_PICTURES), stamp_ns, OPTICAL_FRAME)))
        said.insert(0, Outgoing(topics.CAMERA_INFO, camera_info(CAMERA, stamp_ns, OPTICAL_FRAME)))
        said += [Outgoing(SKELETONS, skeleton(beat, side, stamp_ns)) for side in REACHES]
    return said

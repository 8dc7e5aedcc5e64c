"""Hands and cameras for the tests of `h2w_ros.hands`."""

import numpy as np

from h2w_ros import geometry
from h2w_ros.condition import Camera, HandPose
from h2w_ros.hands.model import load_hand_model


def camera(height_px=480, width_px=672):
    return Camera(width_px, height_px, 0.9 * height_px, 0.9 * height_px, width_px / 2 + 1.3, height_px / 2 - 0.7)


def random_hand(seed, side="right", distance_m=0.5):
    """A hand in front of an unmoved camera, turned and bent at random."""
    rng = np.random.default_rng(seed)
    R = geometry.rotation_from_axis_angle(rng.normal(size=3))
    T_world_wrist = geometry.transform(R, np.array([*rng.uniform(-0.05, 0.05, 2), distance_m]))
    angles = load_hand_model(side).pose_mean_rad + rng.normal(scale=0.3, size=45)
    return HandPose(side, T_world_wrist, angles, rng.normal(size=10))

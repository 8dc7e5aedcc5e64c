"""Hands that move as hands do, for the tests of fitting and of trackers."""

import numpy as np

from h2w_ros import geometry
from h2w_ros.condition import HandPose
from h2w_ros.hands.anatomy import FINGERS, LIMITS
from h2w_ros.hands.kinematics import rotation_vectors, shaped_hand
from h2w_ros.hands.model import load_hand_model

FULL_CURL_RAD = {finger: np.radians((35.0, 30.0, 45.0) if finger == "thumb" else (78.0, 85.0, 50.0)) for finger in FINGERS}


def curled_angles(curls, spreads):
    """Angles about the joints' own axes of fingers that are each curled by a share and spread by an angle [rad]."""
    angles = np.zeros((15, 3))
    for finger, name in enumerate(FINGERS):
        angles[3 * finger : 3 * finger + 3, 2] = curls[finger] * FULL_CURL_RAD[name]
        angles[3 * finger, 1] = spreads[finger]
    return angles


def hand_of_angles(side, angles, T_world_wrist, betas):
    hand = shaped_hand(load_hand_model(side), betas)
    return HandPose(side, T_world_wrist, rotation_vectors(hand, angles).ravel(), betas)


def random_T(rng):
    return geometry.transform(geometry.rotation_from_axis_angle(rng.uniform(0.0, 3.1) * unit(rng.normal(size=3))), rng.normal(size=3))


def grasping_hand(seed, side="right"):
    """A hand anywhere, turned by any angle, its fingers curled one by one."""
    rng = np.random.default_rng(seed)
    angles = curled_angles(rng.uniform(-0.1, 1.0, 5), rng.normal(scale=0.12, size=5))
    return hand_of_angles(side, angles, random_T(rng), rng.normal(scale=0.7, size=10))


def limber_hand(seed, side="right"):
    """A hand anywhere, each of its angles anywhere within the limits."""
    rng = np.random.default_rng(seed)
    return hand_of_angles(side, rng.uniform(*LIMITS), random_T(rng), rng.normal(scale=0.7, size=10))


def moving_hand(seed, num_frames, rate_hz, side="right", betas=None):
    """One hand that opens and closes while it turns and travels."""
    rng = np.random.default_rng(seed)
    betas = rng.normal(scale=0.7, size=10) if betas is None else betas
    phases, speeds = rng.uniform(0.0, 6.0, 5), rng.uniform(2.0, 7.0, 5)
    hands = []
    for time_s in np.arange(num_frames) / rate_hz:
        angles = curled_angles(0.45 + 0.45 * np.sin(speeds * time_s + phases), 0.1 * np.sin(2.0 * time_s + phases))
        R = geometry.rotation_from_axis_angle(np.array([2.0 * np.sin(time_s), 1.5 * np.cos(0.7 * time_s), 0.5 * time_s]))
        t = np.array([0.3 * np.sin(2.0 * time_s), 0.2 * np.cos(1.5 * time_s), 0.5])
        hands.append(hand_of_angles(side, angles, geometry.transform(R, t), betas))
    return hands


def unit(vector):
    return vector / np.linalg.norm(vector)

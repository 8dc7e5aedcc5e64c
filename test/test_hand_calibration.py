"""A person's hand is measured once, through noise, with joints missing, and in units of its own."""

import numpy as np
import pytest
from hand_motion import moving_hand

from h2w_ros.hands.calibrate import RIGID_PAIRS, HandShape, calibrate, rigid_lengths
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world

# A large hand with long fingers and a short thumb.
BETAS = np.array([1.5, 1.0, 0.3, -1.5, 0.5, 0.0, 0.0, 0.5, -1.0, 0.5])


def skeletons(seed, noise_m=0.0, scale=1.0, side="right", num_frames=60):
    rng = np.random.default_rng(seed)
    hands = moving_hand(seed, num_frames, 20.0, side, BETAS)
    points = [hand_joints_and_tips_world(load_hand_model(side), hand) for hand in hands]
    return hands, [HandSkeleton(side, scale * p + rng.normal(scale=noise_m, size=p.shape)) for p in points]


def lengths_of(hand):
    points = hand_joints_and_tips_world(load_hand_model(hand.side), hand)
    return np.linalg.norm(points[RIGID_PAIRS[:, 0]] - points[RIGID_PAIRS[:, 1]], axis=1)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("noise_m", "most_m"), [(0.0, 5e-4), (0.003, 1.2e-3)])
def test_a_calibrated_hand_has_the_lengths_of_the_real_one(side, noise_m, most_m):
    hands, seen = skeletons(1, noise_m, side=side)
    calibration = calibrate(load_hand_model(side), seen)
    fitted = HandFitter(load_hand_model(side), calibration.shape).fit(seen[0])
    assert np.abs(lengths_of(fitted.hand) - lengths_of(hands[0])).mean() < most_m
    assert calibration.num_frames == 60
    assert calibration.error_m < most_m
    assert np.abs(lengths_of(hands[0]) - lengths_of(HandFitter(load_hand_model(side)).fit(seen[0]).hand)).mean() > 2 * most_m


def test_noise_does_not_lengthen_bones():
    hands, seen = skeletons(2, 0.005, num_frames=120)
    naive = np.mean([np.linalg.norm(s.points_world[RIGID_PAIRS[:, 0]] - s.points_world[RIGID_PAIRS[:, 1]], axis=1) for s in seen], axis=0)
    truth = lengths_of(hands[0])
    assert (naive - truth).mean() > 3 * abs((rigid_lengths(seen) - truth).mean())


def test_the_scale_of_a_tracker_without_metres_is_found():
    hands, seen = skeletons(3, scale=2.0)
    calibration = calibrate(load_hand_model("right"), seen, is_metric=False)
    fitted = HandFitter(load_hand_model("right"), calibration.shape).fit(seen[0]).hand
    ratios = lengths_of(fitted) / lengths_of(hands[0])
    assert np.ptp(ratios) < 0.12, "proportions must be those of the hand"
    assert calibration.shape.scale == pytest.approx(0.5, rel=0.15)


def test_joints_that_are_missing_at_times_do_not_matter():
    hands, seen = skeletons(4)
    for index, skeleton in enumerate(seen):
        skeleton.points_world[index % 21] = np.nan
    calibration = calibrate(load_hand_model("right"), seen)
    fitted = HandFitter(load_hand_model("right"), calibration.shape).fit(seen[0]).hand
    assert np.abs(lengths_of(fitted) - lengths_of(hands[0])).mean() < 5e-4


def test_too_little_to_calibrate_from_is_refused_with_the_remedy():
    _, seen = skeletons(5, num_frames=9)
    with pytest.raises(ValueError, match=r"each in 10 frames or more; got 0 from 9 frames: hold an open hand"):
        calibrate(load_hand_model("right"), seen)
    with pytest.raises(ValueError, match="got 0 from 0 frames"):
        calibrate(load_hand_model("right"), [])


def test_a_scale_must_be_positive():
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        HandShape(scale=0.0)

"""Poses come back from joints: exactly from exact ones, better than they came from noisy ones."""

import numpy as np
import pytest
from hand_motion import grasping_hand, hand_of_angles, limber_hand, moving_hand
from hand_poses import random_hand
from scipy.optimize import least_squares

from h2w_ros.condition import HandPose
from h2w_ros.evaluation.fit_speed import derivatives_after
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.hands.anatomy import LIMITS
from h2w_ros.hands.calibrate import HandShape
from h2w_ros.hands.fit import FitConfig, HandFitter
from h2w_ros.hands.fit_problem import FitProblem, FitState, Weights, moved, solve
from h2w_ros.hands.fit_start import rigid_fit, start_state
from h2w_ros.hands.kinematics import joint_angles, shaped_hand
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world

SIDES = ("right", "left")
PERIOD_NS = 16_666_667


def points_of(hand):
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def bone_turns(hand):
    """How every joint is turned in the world, as OpenXR turns it."""
    model = load_hand_model(hand.side)
    shaped = shaped_hand(model, hand.betas)
    R = [hand.T_world_wrist[:3, :3]]
    for joint in range(1, 16):
        R.append(R[model.parents[joint]] @ rotation_from_axis_angle(hand.joint_angles_rad[3 * joint - 3 : 3 * joint]))
    backs = shaped.backs
    ahead = np.concatenate([[np.cross(np.cross(backs[0], shaped.joints[4]), backs[0])], shaped.axes[:, :, 0]])
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return np.stack([R_bone @ np.stack([np.cross(back, -along), back, -along], axis=1) for R_bone, back, along in zip(R, backs, ahead, strict=True)])


def fitter_of(hand, **config):
    return HandFitter(load_hand_model(hand.side), HandShape(hand.betas), FitConfig(**config))


def error_m(fitted, hand):
    return np.linalg.norm(points_of(fitted.hand) - points_of(hand), axis=1).mean()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("make", [grasping_hand, limber_hand, random_hand])
def test_exact_joints_give_the_pose_back(make, side):
    errors = []
    for seed in range(8):
        hand = make(seed, side)
        errors.append(error_m(fitter_of(hand).fit(HandSkeleton(side, points_of(hand))), hand))
    assert np.mean(errors) < 3e-4
    assert np.max(errors) < 1e-3


@pytest.mark.parametrize("side", SIDES)
def test_noise_is_reduced_below_five_millimetres_from_the_first_frame_on(side):
    rng = np.random.default_rng(0)
    errors, noises = [], []
    for seed in range(8):
        hand = grasping_hand(seed, side)
        noise = rng.normal(scale=0.005, size=(21, 3))
        errors.append(error_m(fitter_of(hand).fit(HandSkeleton(side, points_of(hand) + noise)), hand))
        noises.append(np.linalg.norm(noise, axis=1).mean())
    assert np.mean(noises) > 0.0075
    assert np.mean(errors) < 0.005


@pytest.mark.parametrize("noise_m", [0.001, 0.005])
def test_a_moving_hand_shakes_less_than_its_joints_and_lags_by_nothing(noise_m):
    hands = moving_hand(1, 40, 60.0)
    rng, fitter = np.random.default_rng(1), fitter_of(hands[0])
    before, after = [], []
    for index, hand in enumerate(hands):
        noise = rng.normal(scale=noise_m, size=(21, 3))
        fitted = fitter.fit(HandSkeleton("right", points_of(hand) + noise), (index + 1) * PERIOD_NS)
        before.append(noise)
        after.append(points_of(fitted.hand) - points_of(hand))
    shake_in, shake_out = (np.linalg.norm(np.diff(errors, axis=0), axis=-1).mean() for errors in (before, after))
    assert shake_out < 0.75 * shake_in
    assert np.linalg.norm(after, axis=-1).mean() < 0.9 * noise_m * np.sqrt(8 / np.pi)
    assert 0.7 * noise_m < fitter.noise_m < 1.5 * noise_m


def test_an_exact_moving_hand_is_followed_without_lag():
    hands = moving_hand(2, 25, 16.0, "left")
    fitter = fitter_of(hands[0])
    errors = [error_m(fitter.fit(HandSkeleton("left", points_of(hand)), (1 + index) * 62_500_000), hand) for index, hand in enumerate(hands)]
    assert max(errors) < 1e-4


def test_the_derivatives_of_everything_squared_are_those_of_finite_differences():
    hand = limber_hand(3)
    skeleton = HandSkeleton("right", points_of(hand), np.linspace(0.2, 1.0, 21), bone_turns(hand))
    rng = np.random.default_rng(3)
    weights = Weights(0.05, rng.uniform(0.001, 0.01, (15, 3)), rng.normal(size=(15, 3)), 0.02)
    problem = FitProblem(shaped_hand(load_hand_model("right"), hand.betas), skeleton, weights)
    state = FitState(hand.T_world_wrist, rng.normal(scale=0.8, size=(15, 3)))
    here = problem.linearised(state)
    assert len(here.residuals) == 3 * (21 + 16)
    assert (here.penalty_slopes[0] != 0).any()
    for k, step in enumerate(np.eye(51) * 1e-6):
        up, down = (problem.linearised(moved(state, sign * step)) for sign in (1.0, -1.0))
        np.testing.assert_allclose(here.derivatives[:, k], (up.residuals - down.residuals) / 2e-6, atol=1e-8)
        if k >= 6:
            np.testing.assert_allclose(here.penalty_slopes[:, k - 6], ((up.penalties - down.penalties) / 2e-6)[:, k - 6], atol=1e-8)


def test_steps_end_no_higher_than_scipys_least_squares():
    hand = grasping_hand(3)
    noisy = points_of(hand) + np.random.default_rng(3).normal(scale=0.003, size=(21, 3))
    fitter = fitter_of(hand)
    problem = FitProblem(fitter.hand, HandSkeleton("right", noisy), fitter.weights())
    start = start_state(fitter.hand, problem.skeleton, fitter.rest_rad)
    ours = solve(problem, start, 30)
    theirs = least_squares(lambda x: problem.all_residuals(moved(start, x)), np.zeros(51), lambda x: derivatives_after(problem, start, x), xtol=1e-10)
    assert ours.cost <= 2 * theirs.cost * 1.001


def test_the_analytic_start_alone_is_close():
    for seed in range(10):
        hand = grasping_hand(seed)
        fitter = fitter_of(hand)
        state = start_state(fitter.hand, HandSkeleton("right", points_of(hand)), fitter.rest_rad)
        problem = FitProblem(fitter.hand, HandSkeleton("right", points_of(hand)), fitter.weights())
        assert problem.point_errors_m(problem.linearised(state)).mean() < 0.002


@pytest.mark.parametrize("missing", [[1, 2, 3, 17], [17], [0], [4, 7, 10], [16, 17, 18, 19, 20], [3, 5, 8, 12, 15]])
def test_missing_joints_do_not_disturb_the_others(missing):
    hand = grasping_hand(4)
    points = points_of(hand)
    points[missing] = np.nan
    fitted = fitter_of(hand).fit(HandSkeleton("right", points))
    seen = np.setdiff1d(np.arange(21), missing)
    distances = np.linalg.norm(points_of(fitted.hand) - points_of(hand), axis=1)
    assert distances[seen].mean() < 1e-3
    assert distances.max() < 0.12
    assert fitted.hand.confidence == pytest.approx(len(seen) / 21)


def test_points_without_weight_do_not_count():
    hand = grasping_hand(5)
    points, weights = points_of(hand), np.ones(21)
    points[18], weights[18] = (9.0, 9.0, 9.0), 0.0
    assert error_m(fitter_of(hand).fit(HandSkeleton("right", points, weights)), hand) < 2e-3


def test_a_hidden_hand_goes_on_from_its_last_pose():
    hand = grasping_hand(6)
    fitter = fitter_of(hand)
    fitter.fit(HandSkeleton("right", points_of(hand)), 1)
    points = points_of(hand)
    points[2:16] = np.nan
    fitted = fitter.fit(HandSkeleton("right", points), 1 + PERIOD_NS)
    assert error_m(fitted, hand) < 2e-3


def test_a_hand_that_jumps_is_found_again_at_once():
    first, second = grasping_hand(7), grasping_hand(8)
    second = HandPose("right", second.T_world_wrist, second.joint_angles_rad, first.betas)
    fitter = fitter_of(first)
    fitter.fit(HandSkeleton("right", points_of(first)), 1)
    assert error_m(fitter.fit(HandSkeleton("right", points_of(second)), 1 + PERIOD_NS), second) < 5e-4


@pytest.mark.parametrize("glitch", [17, 15, 6, 0, 7])
def test_a_joint_that_is_thrown_away_does_not_disturb_the_hand(glitch):
    hand = grasping_hand(16)
    fitter = fitter_of(hand)
    rng = np.random.default_rng(16)
    for stamp_ns in (1, 1 + PERIOD_NS, 1 + 2 * PERIOD_NS):
        points = points_of(hand) + rng.normal(scale=0.001, size=(21, 3))
        points[glitch] += (0.0, 0.12, 0.05)
        fitted = fitter.fit(HandSkeleton("right", points), stamp_ns)
        assert np.delete(np.linalg.norm(points_of(fitted.hand) - points_of(hand), axis=1), glitch).mean() < 2e-3
        assert fitted.hand.confidence == pytest.approx(20 / 21)
    assert error_m(fitter.fit(HandSkeleton("right", points_of(hand)), 1 + 3 * PERIOD_NS), hand) < 1e-3


def test_orientations_show_the_twist_that_points_cannot():
    angles = np.zeros((15, 3))
    angles[[2, 5, 8], 0] = LIMITS.high[2, 0]
    angles[14, 0] = LIMITS.high[14, 0]
    hand = hand_of_angles("right", angles, np.eye(4), np.zeros(10))
    blind, told = (fitter_of(hand).fit(HandSkeleton("right", points_of(hand), **extra)) for extra in ({}, {"R_world_joint": bone_turns(hand)}))
    shaped = shaped_hand(load_hand_model("right"), np.zeros(10))
    twists = [joint_angles(shaped, fitted.hand.joint_angles_rad.reshape(15, 3))[[2, 5, 8, 14], 0] for fitted in (blind, told)]
    np.testing.assert_allclose(twists[0], 0.0, atol=0.03)
    np.testing.assert_allclose(twists[1], angles[[2, 5, 8, 14], 0], rtol=0.3)


def test_orientations_that_contradict_the_points_are_not_used():
    hand = grasping_hand(15)
    fitter = fitter_of(hand)
    for stamp_ns in (1, 1 + PERIOD_NS):
        wrong = HandSkeleton("right", points_of(hand), R_world_joint=-bone_turns(hand))
        assert error_m(fitter.fit(wrong, stamp_ns), hand) < 1e-4


def test_no_finger_breaks_to_follow_a_point():
    hand = hand_of_angles("right", np.zeros((15, 3)), np.eye(4), np.zeros(10))
    bent_back = np.zeros((15, 3))
    bent_back[1, 2] = -1.5
    points = points_of(hand_of_angles("right", bent_back, np.eye(4), np.zeros(10)))
    fitted = fitter_of(hand, first_noise_m=0.005).fit(HandSkeleton("right", points))
    angles = joint_angles(shaped_hand(load_hand_model("right"), np.zeros(10)), fitted.hand.joint_angles_rad.reshape(15, 3))
    assert angles[1, 2] > -0.6


def test_the_same_joints_give_the_same_pose_again():
    hand = grasping_hand(9)
    noisy = HandSkeleton("right", points_of(hand) + np.random.default_rng(9).normal(scale=0.004, size=(21, 3)))
    fitter = fitter_of(hand)
    first = fitter.fit(noisy, 1)
    fitter.fit(HandSkeleton("right", points_of(grasping_hand(10))), 2)
    fitter.reset()
    np.testing.assert_array_equal(fitter.fit(noisy, 1).hand.joint_angles_rad, first.hand.joint_angles_rad)


def test_scale_turns_the_trackers_metres_into_ours():
    hand = grasping_hand(11)
    small = hand.T_world_wrist[:3, 3] + 0.8 * (points_of(hand) - hand.T_world_wrist[:3, 3])
    fitter = HandFitter(load_hand_model("right"), HandShape(hand.betas, 1.25))
    assert error_m(fitter.fit(HandSkeleton("right", small)), hand) < 5e-4


def test_a_hand_without_a_palm_is_refused_with_the_reason():
    hand = grasping_hand(12)
    points = points_of(hand)
    points[[0, 1, 4, 7]] = np.nan
    with pytest.raises(ValueError, match=r"at least three of its points .*got 2"):
        fitter_of(hand).fit(HandSkeleton("right", points))
    line = np.linspace(0.0, 0.1, 6)[:, None] * np.ones(3)
    with pytest.raises(ValueError, match="points off one line"):
        rigid_fit(line, line, np.ones(6))


def test_a_fitter_is_of_one_side():
    with pytest.raises(ValueError, match="a left hand's fitter cannot fit a right hand"):
        HandFitter(load_hand_model("left")).fit(HandSkeleton("right", points_of(grasping_hand(13))))


def test_rigid_fit_never_mirrors():
    rng = np.random.default_rng(14)
    T = transform(rotation_from_axis_angle(rng.normal(size=3) * 2), rng.normal(size=3))
    flat = rng.normal(size=(6, 3)) * (1.0, 1.0, 1e-6)
    np.testing.assert_allclose(rigid_fit(flat @ T[:3, :3].T + T[:3, 3], flat, np.ones(6)), T, atol=1e-5)
    assert np.linalg.det(rigid_fit(flat * (-1, 1, 1), flat, np.ones(6))[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_world": np.full((21, 3), np.inf)}, "infinite"),
        ({"weights": np.full(21, 2.0)}, r"weights must be in \[0, 1\]"),
        ({"confidence": 1.5}, r"confidence must be in \[0, 1\], got 1.5"),
    ],
)
def test_a_skeleton_says_what_is_wrong_with_it(changes, message):
    with pytest.raises(ValueError, match=message):
        HandSkeleton(**{"side": "right", "points_world": np.zeros((21, 3)), **changes})


@pytest.mark.parametrize("changes", [{"twist_rad": 0.0}, {"first_noise_m": 1.0}, {"noise_memory": 1.0}, {"max_steps": 0}])
def test_a_config_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match=r"must (be|satisfy)"):
        FitConfig(**changes)

"""Two hands, live: calibrated by themselves, dropped with a reason, given out together, in the world's frame."""

import numpy as np
import pytest
from hand_motion import moving_hand
from mano_files import write_official_folder

from h2w_ros.condition import HandPose
from h2w_ros.geometry import transform
from h2w_ros.hands.calibrate import calibrate
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.model import load_hand_model, mano_folder
from h2w_ros.hands.pairing import HandPairing
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.hands.trackers.tf_tree import TfTree
from h2w_ros.hands.tracking import HandTracking, TrackingConfig

PERIOD_NS = 50_000_000
BETAS = np.array([1.5, 1.0, 0.3, -1.5, 0.5, 0.0, 0.0, 0.5, -1.0, 0.5])
MS = 1_000_000
QUICK = TrackingConfig(calibrate_after_s=1.6)


def frames(side="right", count=45, scale=1.0):
    for index, hand in enumerate(moving_hand(1, count, 20.0, side, BETAS)):
        points = hand_joints_and_tips_world(load_hand_model(side), hand)
        yield (index + 1) * PERIOD_NS, hand, HandSkeleton(side, points[0] + scale * (points - points[0]))


def error_m(fitted, hand):
    model = load_hand_model(hand.side)
    return np.linalg.norm(hand_joints_and_tips_world(model, fitted.hand) - hand_joints_and_tips_world(model, hand), axis=1).mean()


def follow(tracking, side="right", **options):
    errors = []
    for stamp_ns, hand, skeleton in frames(side, **options):
        errors.append(error_m(tracking.fit(skeleton, stamp_ns), hand))
        tracking.calibrate_when_due(side)
    return errors


def test_a_hand_is_calibrated_by_itself_after_some_seconds_and_its_sibling_with_it():
    tracking = HandTracking(config=QUICK)
    errors = follow(tracking)
    assert tracking.is_calibrated("right")
    assert not tracking.is_calibrated("left")
    assert np.mean(errors[-5:]) < 0.3 * np.mean(errors[:5])
    assert np.mean(errors[-5:]) < 1.5e-3
    stamp_ns, hand, skeleton = next(frames("left"))
    assert error_m(tracking.fit(skeleton, stamp_ns), hand) < 1.5e-3


def test_a_tracker_of_unknown_scale_is_fitted_at_once_and_better_once_calibrated():
    errors = follow(HandTracking(config=QUICK, is_metric=False), scale=0.5)
    sizes = 0.5 * np.mean([np.linalg.norm(s.points_world - s.points_world[0], axis=1).mean() for _, _, s in frames(count=3)])
    assert max(errors) < 0.5 * sizes, "the unknown scale is the model's, not the hand's"


def test_calibration_on_request_rests_on_the_last_seconds():
    tracking = HandTracking(config=TrackingConfig(calibrate_after_s=0.0))
    with pytest.raises(ValueError, match="no hand was seen"):
        tracking.calibrate()
    follow(tracking, count=20)
    assert not tracking.is_calibrated("right")
    assert tracking.calibrate()["right"].num_frames == 20
    assert tracking.is_calibrated("right")


def test_points_that_no_hand_can_reach_are_refused_and_the_next_hand_is_not_disturbed():
    tracking = HandTracking()
    stamp_ns, hand, skeleton = next(frames())
    shuffled = HandSkeleton("right", skeleton.points_world[np.random.default_rng(0).permutation(21)])
    with pytest.raises(ValueError, match="check"):
        tracking.fit(shuffled, stamp_ns)
    assert error_m(tracking.fit(skeleton, stamp_ns + PERIOD_NS), hand) < 0.01


def test_units_of_the_wrong_kind_are_refused_live():
    _, _, skeleton = next(frames(scale=1000.0))
    with pytest.raises(ValueError, match="millimetres"):
        HandTracking().fit(skeleton, 1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_hands_are_fitted_with_the_users_mano_files_as_with_the_standin_that_they_were_made_from(side, tmp_path, monkeypatch):
    folder = mano_folder(str(write_official_folder(tmp_path, monkeypatch)))
    seen = [skeleton for _, _, skeleton in frames(side, 30)]
    shapes = [calibrate(load_hand_model(side, path), seen).shape for path in (None, folder)]
    np.testing.assert_allclose(shapes[1].betas, shapes[0].betas, atol=1e-6)
    fits = [HandFitter(load_hand_model(side, path), shape).fit(seen[0]).hand for path, shape in zip((None, folder), shapes, strict=True)]
    np.testing.assert_allclose(fits[1].joint_angles_rad, fits[0].joint_angles_rad, atol=1e-6)


def test_the_flat_hand_is_zero_whatever_mean_pose_a_file_has(tmp_path, monkeypatch):
    model = load_hand_model("right", write_official_folder(tmp_path, monkeypatch))
    assert np.abs(model.pose_mean_rad).max() > 0.4
    flat = hand_joints_and_tips_world(model, HandPose("right", shift(0.3), np.zeros(45), np.zeros(10)))
    np.testing.assert_allclose(HandFitter(model).fit(HandSkeleton("right", flat)).hand.joint_angles_rad, 0.0, atol=0.05)


def test_an_empty_mano_dir_is_the_standin_and_half_a_folder_is_refused(tmp_path, monkeypatch):
    assert mano_folder("") is None
    (write_official_folder(tmp_path, monkeypatch) / "MANO_RIGHT.pkl").unlink()
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT.pkl; models/hands/README.md"):
        mano_folder(str(tmp_path))


def hands_of(side, count=8):
    return [hand for _, hand, _ in frames(side, count)]


def test_hands_that_alternate_are_given_out_together_at_moments_of_either():
    left, right = hands_of("left"), hands_of("right")
    pairing = HandPairing(60 * MS)
    given = []
    for index in range(8):
        given += [pairing.add(20 * index * MS, left[index]), pairing.add((20 * index + 8) * MS, right[index])]
    moments = given[3:]
    assert all(moment is not None and [hand.side for hand in moment.hands] == ["left", "right"] for moment in moments)
    stamps = [moment.stamp_ns for moment in moments]
    assert stamps == sorted(set(stamps))
    between = moments[0]  # left 1 at 20 ms; right interpolated between 8 and 28 ms
    assert between.stamp_ns == 20 * MS
    expected = 0.4 * right[0].T_world_wrist[:3, 3] + 0.6 * right[1].T_world_wrist[:3, 3]
    np.testing.assert_allclose(between.hands[1].T_world_wrist[:3, 3], expected, atol=1e-12)


def test_hands_of_one_stamp_are_one_moment():
    left, right = hands_of("left"), hands_of("right")
    pairing = HandPairing(60 * MS)
    given = [pairing.add(20 * index * MS, hand) for index in range(4) for hand in (left[index], right[index])]
    assert [moment.stamp_ns // MS for moment in given if moment and len(moment.hands) == 2] == [20, 40, 60]


def test_a_hand_alone_is_given_out_at_once_and_again_soon_after_the_other_is_lost():
    left, right = hands_of("left"), hands_of("right")
    pairing = HandPairing(60 * MS)
    assert pairing.add(0, left[0]).hands == (left[0],)
    assert pairing.add(20 * MS, left[1]).hands == (left[1],)
    pairing.add(30 * MS, right[0])
    late = [pairing.add(20 * index * MS, left[index]) for index in range(2, 8)]
    assert [moment.stamp_ns // MS for moment in late if moment and len(moment.hands) == 1] == [100, 120, 140]


def test_a_hand_that_is_said_to_be_lost_is_not_waited_for():
    left, right = hands_of("left"), hands_of("right")
    pairing = HandPairing(60 * MS)
    pairing.add(0, left[0])
    pairing.add(10 * MS, right[0])
    assert pairing.lost(20 * MS, "right") is None, "the left hand is there and speaks for itself"
    assert pairing.add(30 * MS, left[1]).hands == (left[1],)
    assert pairing.lost(40 * MS, "left").hands == ()
    assert pairing.lost(40 * MS, "right") is None, "once a moment"


def test_a_recording_that_begins_anew_is_followed():
    left = hands_of("left")
    pairing = HandPairing(60 * MS)
    pairing.add(500 * MS, left[0])
    assert pairing.add(20 * MS, left[1]).stamp_ns == 20 * MS


def shift(x):
    return transform(np.eye(3), np.array([x, 0.0, 0.0]))


def test_moving_frames_are_found_at_the_moment_that_is_asked_for():
    tree = TfTree()
    tree.add_static("head", "tracker", shift(0.1))
    for index in range(5):
        tree.add("odom", "head", index * 100 * MS, shift(float(index)))
    assert tree.find("odom", "tracker", 250 * MS)[0, 3] == pytest.approx(2.6)
    assert tree.find("tracker", "odom", 250 * MS)[0, 3] == pytest.approx(-2.6)
    assert tree.find("odom", "tracker", 450 * MS)[0, 3] == pytest.approx(4.1)
    assert tree.find("odom", "tracker", 800 * MS) is None, "out of date"
    assert tree.find("odom", "tracker", -1) is None
    assert tree.find("odom", "moon", 0) is None
    tree.add("odom", "head", 0, shift(7.0))
    assert tree.find("odom", "head", 0)[0, 3] == 7.0


@pytest.mark.parametrize("make", [lambda: TrackingConfig(calibrate_after_s=20.0), lambda: TrackingConfig(most_error_m=0.0), lambda: HandPairing(-1)])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"must (hold|be|not)"):
        make()

"""From what a detector says to hands before the camera, checked on hands that are known."""

from dataclasses import replace

import numpy as np
import pytest
from annotate_world import CAMERA, in_picture, sighting_of, stamps_ns
from hand_motion import curled_angles, hand_of_angles

from h2w_ros import geometry
from h2w_ros.annotate.hand_stage import find_hands
from h2w_ros.annotate.lift import lifted
from h2w_ros.annotate.sighting import HandSighting
from h2w_ros.camera import project
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

AT = np.eye(4)
NUM_FRAMES = 24


def waving(side="right", x_m=0.0, z_m=0.5, seed=0, num_frames=NUM_FRAMES):
    """A hand that moves about a place before the camera, its back to it."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0.0, 6.0, 5)
    hands = []
    for time_s in np.arange(num_frames) / 16.0:
        angles = curled_angles(0.35 + 0.3 * np.sin(3.0 * time_s + phases), 0.05 * np.sin(2.0 * time_s + phases))
        R = geometry.rotation_from_axis_angle(np.array([0.3 * np.sin(time_s), 0.0, 0.4 * np.sin(2.0 * time_s)]))
        R = R @ geometry.rotation_from_axis_angle(np.array([np.pi / 2.0, 0.0, 0.0]))
        place = (x_m + 0.05 * np.sin(2.0 * time_s), 0.03 * np.cos(1.5 * time_s), z_m + 0.04 * np.sin(time_s))
        hands.append(hand_of_angles(side, angles, geometry.transform(R, np.array(place)), np.zeros(10)))
    return hands


def seen(*hands_of, noise_px=0.0, depth_noise_m=0.0, seed=1, **said):
    """The sightings of each frame, of several hands' frames."""
    rng = np.random.default_rng(seed)
    frames = zip(*hands_of, strict=True)
    return [tuple(sighting_of(hand, CAMERA, AT, rng, noise_px, depth_noise_m, **said) for hand in hands) for hands in frames]


def points_of(hand):
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def errors_mm(found, truth, side):
    return 1e3 * np.array(
        [np.linalg.norm(points_of(frame[side].hand_camera) - points_of(hand), axis=1).mean() for frame, hand in zip(found, truth, strict=True)]
    )


def test_a_lifted_hand_falls_on_its_points_and_has_its_size():
    hand = waving(x_m=0.15)[0]
    skeleton = lifted(sighting_of(hand, CAMERA, AT, np.random.default_rng(0)), CAMERA, 1.5)
    np.testing.assert_allclose(skeleton.points_world, points_of(hand), atol=2e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_are_found_within_millimetres_where_the_detector_is_exact(side):
    truth = waving(side)
    found = find_hands(seen(truth), stamps_ns(NUM_FRAMES), CAMERA)
    assert errors_mm(found.frames, truth, side).mean() < 6.0
    assert not found.dropped
    assert all(frame[side].error_px < 1.5 for frame in found.frames)


def test_fitting_over_time_is_nearer_to_the_truth_than_the_noisy_detector():
    truth = waving()
    noisy = seen(truth, noise_px=4.0, depth_noise_m=0.012)
    found = find_hands(noisy, stamps_ns(NUM_FRAMES), CAMERA)
    fitted_px = [project(CAMERA, points_of(frame["right"].hand_camera)) for frame in found.frames]
    truth_px = [project(CAMERA, points_of(hand)) for hand in truth]
    seen_px = [sightings[0].points_px for sightings in noisy]
    off, before = (np.linalg.norm(np.array(places) - truth_px, axis=2).mean() for places in (fitted_px, seen_px))
    assert off < 0.7 * before
    assert errors_mm(found.frames, truth, "right").mean() < 25.0


def test_a_short_gap_is_filled_with_less_confidence_and_a_long_one_stays_missing():
    truth = waving(num_frames=40)
    frames = seen(truth)
    for missing in (*range(5, 8), *range(20, 32)):
        frames[missing] = ()
    found = find_hands(frames, stamps_ns(40), CAMERA)
    assert [frame for frame in range(40) if not found.frames[frame]] == list(range(20, 32))
    filled = found.frames[6]["right"]
    assert not filled.is_seen
    assert filled.hand_camera.confidence < found.frames[4]["right"].hand_camera.confidence
    assert np.linalg.norm(points_of(filled.hand_camera) - points_of(truth[6]), axis=1).mean() < 0.02


def test_a_side_that_flips_in_single_frames_is_corrected_and_counted():
    frames = seen(waving("left"))
    for frame in (3, 9, 10):
        (sighting,) = frames[frame]
        frames[frame] = (HandSighting("right", sighting.points_px, sighting.points_hand_m, 0.9, 0.6),)
    found = find_hands(frames, stamps_ns(NUM_FRAMES), CAMERA)
    assert all(set(frame) == {"left"} for frame in found.frames)
    assert found.dropped == {"side corrected": 3}


def test_a_hand_that_comes_where_the_other_one_went_is_another_hand():
    left, right = waving("left"), waving("right", x_m=0.13, seed=2)
    frames = [sightings[frame >= NUM_FRAMES // 2 :][:1] for frame, sightings in enumerate(seen(left, right))]
    frames[5] = (replace(frames[5][0], side="right"),)
    found = find_hands(frames, stamps_ns(NUM_FRAMES), CAMERA)
    assert [set(frame) for frame in found.frames] == [{"left"}] * (NUM_FRAMES // 2) + [{"right"}] * (NUM_FRAMES // 2)
    assert found.dropped == {"side corrected": 1}


def test_of_two_left_hands_the_nearer_one_is_the_wearers():
    mine, theirs = waving("left", x_m=-0.12, z_m=0.4), waving("left", x_m=0.25, z_m=0.9, seed=3)
    found = find_hands(seen(theirs, mine), stamps_ns(NUM_FRAMES), CAMERA)
    assert errors_mm(found.frames, mine, "left").max() < 30.0
    assert found.dropped == {"another hand of the same side": NUM_FRAMES}


def test_two_hands_that_the_detector_calls_left_by_half_are_both_kept():
    """Its votes leave the second one open, and the other side is free."""
    left, right = waving("left", x_m=-0.15), waving("right", x_m=0.15, seed=2)
    frames = [(a, HandSighting("left", b.points_px, b.points_hand_m, 0.8, 0.5)) for a, b in seen(left, right)]
    found = find_hands(frames, stamps_ns(NUM_FRAMES), CAMERA)
    assert all(set(frame) == {"left", "right"} for frame in found.frames)
    assert errors_mm(found.frames, right, "right").mean() < 10.0


def test_a_third_hand_out_of_reach_is_left_out_and_counted():
    hands = [waving("left", x_m=-0.15), waving("right", x_m=0.15), waving("right", x_m=-1.0, z_m=2.0, seed=5)]
    found = find_hands(seen(*hands), stamps_ns(NUM_FRAMES), CAMERA)
    assert all(set(frame) == {"left", "right"} for frame in found.frames)
    assert found.dropped == {"another hand of the same side": NUM_FRAMES}
    alone = find_hands(seen(hands[2]), stamps_ns(NUM_FRAMES), CAMERA)
    assert not any(alone.frames)
    assert alone.dropped == {"out of the wearer's reach": NUM_FRAMES}


def test_flickers_are_no_hands():
    frames = seen(waving())
    frames = [sightings if frame in (4, 12, 13) else () for frame, sightings in enumerate(frames)]
    found = find_hands(frames, stamps_ns(NUM_FRAMES), CAMERA)
    assert not any(found.frames)
    assert found.dropped == {"seen too briefly": 3}


def test_a_clip_without_hands_gives_frames_without_hands():
    found = find_hands([()] * 10, stamps_ns(10), CAMERA)
    assert len(found.frames) == 10
    assert not any(found.frames)


def test_a_hand_seen_twice_is_one_hand():
    truth = waving()
    frames = [(a, a) for (a,) in seen(truth)]
    found = find_hands(frames, stamps_ns(NUM_FRAMES), CAMERA)
    assert found.dropped == {"seen twice": NUM_FRAMES}
    assert errors_mm(found.frames, truth, "right").mean() < 6.0


def test_points_that_no_hand_can_have_are_left_out_and_counted():
    rng = np.random.default_rng(0)
    frames = [(HandSighting("right", rng.uniform(100, 300, (21, 2)), rng.normal(scale=0.04, size=(21, 3))),) for _ in range(12)]
    found = find_hands(frames, stamps_ns(12), CAMERA)
    assert not any(found.frames)
    assert sum(found.dropped.values()) == 12


def test_the_waving_hands_of_these_tests_stay_in_the_picture():
    assert all(in_picture(hand, CAMERA, AT) for hand in waving(x_m=0.15))

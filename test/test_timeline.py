"""Alignment on the generator's clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.geometry import rotation_angle_rad, rotation_from_axis_angle, transform
from h2w_ros.timeline import NS_PER_MS, NS_PER_S, Timeline, TimelineConfig

CAMERA = Camera(8, 6, 10.0, 10.0, 4.0, 3.0)
START_NS = 1_700_000_000 * NS_PER_S
PERIOD_NS = 62_500_000
PICTURE = np.full((6, 8, 3), 7, np.uint8)


def pose_at(time_s: float) -> np.ndarray:
    """A head that turns by 1 rad/s and walks 1 m/s along x."""
    return transform(rotation_from_axis_angle(np.array([0.0, time_s, 0.0])), np.array([time_s, 0.0, 0.0]))


def hand_at(time_s: float, side: str = "right") -> HandPose:
    joints = np.zeros(45)
    joints[2::3] = time_s
    return HandPose(side, transform(np.eye(3), np.array([0.0, time_s, 0.0])), joints, np.full(10, time_s))


def timeline(**changes: object) -> Timeline:
    line = Timeline(replace(TimelineConfig(), **changes))
    line.set_camera(CAMERA)
    return line


def feed(line: Timeline, num_ticks: int, start_ns: int = START_NS, hands: bool = True) -> list[Condition]:
    """Aligned samples at the clock's own rate."""
    conditions = []
    for k in range(num_ticks):
        line.add_image(start_ns + k * PERIOD_NS, PICTURE)
        line.add_pose(start_ns + k * PERIOD_NS, pose_at(k * 0.0625))
        if hands:
            line.add_hands(start_ns + k * PERIOD_NS, (hand_at(k * 0.0625),))
        conditions += line.advance()
    return conditions


def test_aligned_inputs_pass_through_exactly_and_at_once() -> None:
    conditions = feed(timeline(), 5)
    assert [c.stamp_ns for c in conditions] == [START_NS + k * PERIOD_NS for k in range(5)]
    for k, condition in enumerate(conditions):
        assert np.array_equal(condition.T_world_camera, pose_at(k * 0.0625))
        assert np.array_equal(condition.hands[0].joint_angles_rad, hand_at(k * 0.0625).joint_angles_rad)
        assert condition.image is PICTURE


@pytest.mark.parametrize(("pose_hz", "hands_hz"), [(30.0, 90.0), (200.0, 24.0), (10.0, 10.0)])
def test_poses_and_hands_of_any_rate_are_interpolated_at_the_tick(pose_hz: float, hands_hz: float) -> None:
    line = timeline(wait_ms=150.0)
    line.add_image(START_NS, PICTURE)
    events = sorted([(k / pose_hz, "pose") for k in range(int(pose_hz))] + [(k / hands_hz, "hands") for k in range(int(hands_hz))])
    conditions = []
    for time_s, kind in events:
        stamp_ns = START_NS + round(time_s * NS_PER_S)
        if kind == "pose":
            line.add_pose(stamp_ns, pose_at(time_s))
        else:
            line.add_hands(stamp_ns, (hand_at(time_s), hand_at(time_s, "left")))
        conditions += line.advance()
    assert len(conditions) >= 13
    for condition in conditions:
        time_s = (condition.stamp_ns - START_NS) / NS_PER_S
        assert condition.T_world_camera == pytest.approx(pose_at(time_s), abs=1e-7)
        assert {hand.side for hand in condition.hands} == {"left", "right"}
        for hand in condition.hands:
            assert hand.joint_angles_rad == pytest.approx(hand_at(time_s).joint_angles_rad, abs=1e-7)
            assert hand.T_world_wrist[1, 3] == pytest.approx(time_s, abs=1e-7)


def test_a_tick_comes_with_the_very_sample_that_completes_it() -> None:
    line = timeline()
    line.add_image(START_NS, PICTURE)
    line.add_pose(START_NS - 10 * NS_PER_MS, pose_at(0.0))
    line.add_hands(START_NS + 1, (hand_at(0.0),))
    assert line.advance() == []
    line.add_pose(START_NS + 10 * NS_PER_MS, pose_at(0.2))
    (condition,) = line.advance()
    assert rotation_angle_rad(condition.T_world_camera[:3, :3]) == pytest.approx(0.1)


def test_a_lost_hand_is_held_for_a_moment_and_then_left_out() -> None:
    line = timeline(hands_hold_ms=100.0)
    feed(line, 4)
    conditions = []
    for k in range(4, 12):
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(k * 0.0625))
        conditions += line.advance()
    assert [len(c.hands) for c in conditions[:4]] == [1, 0, 0, 0]
    assert conditions[-1].stamp_ns == START_NS + 11 * PERIOD_NS


def test_inputs_that_are_read_one_queue_after_the_other_after_a_stall_cost_no_tick() -> None:
    now_s = [0.0]
    line = Timeline(TimelineConfig(), now_s=lambda: now_s[0])
    line.set_camera(CAMERA)
    conditions = feed(line, 2)
    stamps_ns = [START_NS + k * PERIOD_NS for k in range(2, 12)]
    for add, sample in ((line.add_image, PICTURE), (line.add_hands, (hand_at(0.0),)), (line.add_pose, pose_at(0.0))):
        for stamp_ns in stamps_ns:
            add(stamp_ns, sample)
            now_s[0] += 0.001
            conditions += line.advance()
    assert len(conditions) == 12
    assert all(len(condition.hands) == 1 for condition in conditions)
    assert not line.dropped


def test_a_live_tick_gives_up_once_the_queues_have_been_read() -> None:
    now_s = [0.0]
    line = Timeline(TimelineConfig(drain_ms=50.0), now_s=lambda: now_s[0])
    line.set_camera(CAMERA)
    feed(line, 2)
    given_out = []
    for k in range(2, 10):
        now_s[0] += 0.0625
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(0.0))
        given_out.append([round((c.stamp_ns - START_NS) / PERIOD_NS) for c in line.advance()])
    assert given_out[:5] == [[], [], [], [2], [3, 4, 5, 6]]
    assert given_out[-1] == [9]


def test_once_hands_are_gone_ticks_no_longer_wait_for_them() -> None:
    line = timeline()
    feed(line, 4)
    feed(line, 12, START_NS + 4 * PERIOD_NS, hands=False)
    line.add_pose(START_NS + 16 * PERIOD_NS, pose_at(1.0))
    assert len(line.advance()) == 1


def test_no_camera_pose_is_extrapolated_past_its_limit() -> None:
    line = timeline(pose_hold_ms=60.0)
    feed(line, 4)
    conditions = []
    for k in range(4, 20):
        line.add_hands(START_NS + k * PERIOD_NS, (hand_at(0.0),))
        conditions += line.advance()
    assert conditions == []
    assert line.dropped["tick_without_pose"] > 10


def test_poses_too_far_apart_are_not_joined() -> None:
    line = timeline(max_pose_gap_ms=200.0)
    feed(line, 2)
    later_ns = START_NS + 8 * PERIOD_NS
    line.add_hands(later_ns, (hand_at(0.5),))
    line.add_pose(later_ns, pose_at(0.5))
    conditions = line.advance()
    assert [c.stamp_ns for c in conditions] == [later_ns]
    assert line.dropped["tick_without_pose"] == 6


def test_a_side_that_only_one_sample_knows_belongs_to_the_nearer_one() -> None:
    line = timeline(rate_hz=100.0)
    feed(line, 1)
    line.add_pose(START_NS + 20 * NS_PER_MS, pose_at(0.02))
    line.add_hands(START_NS + 21 * NS_PER_MS, ())
    conditions = line.advance()
    assert [len(c.hands) for c in conditions] == [1, 0]


def test_two_messages_of_one_stamp_join_their_sides() -> None:
    line = timeline()
    line.add_image(START_NS, PICTURE)
    line.add_hands(START_NS, (hand_at(0.0, "left"),))
    line.add_hands(START_NS, (hand_at(0.0, "right"),))
    assert not line.add_hands(START_NS, (hand_at(0.0, "right"),))
    line.add_pose(START_NS, pose_at(0.0))
    assert {hand.side for hand in line.advance()[0].hands} == {"left", "right"}


def test_bad_stamps_and_poses_are_dropped_and_counted_by_reason() -> None:
    line = timeline()
    feed(line, 10)
    newest_ns = START_NS + 9 * PERIOD_NS
    assert not line.add_pose(0, pose_at(0.0))
    assert not line.add_pose(-5, pose_at(0.0))
    assert not line.add_pose(newest_ns, pose_at(0.0))
    assert not line.add_pose(newest_ns - 1, pose_at(0.0))
    assert not line.add_pose(newest_ns + 3600 * NS_PER_S, pose_at(0.0))
    assert not line.add_pose(newest_ns + 1, np.full((4, 4), np.nan))
    assert not line.add_pose(newest_ns + 1, np.zeros((4, 4)))
    assert line.dropped == {
        "pose_zero_stamp": 2,
        "pose_duplicate": 1,
        "pose_out_of_order": 1,
        "pose_clock_jump": 1,
        "pose_not_rigid": 2,
    }
    assert line.num_resets == 0


@pytest.mark.parametrize("jump_s", [-3600.0, -0.6, 3600.0])
def test_a_clock_that_jumps_starts_anew_and_is_reported(jump_s: float) -> None:
    line = timeline()
    feed(line, 20)
    again_ns = START_NS + round(jump_s * NS_PER_S)
    conditions = feed(line, 40, again_ns)
    assert line.num_resets == 1
    assert len(conditions) > 25
    assert conditions[-1].stamp_ns == again_ns + 39 * PERIOD_NS
    assert all(c.stamp_ns - again_ns in range(40 * PERIOD_NS) for c in conditions)


def test_the_first_condition_carries_the_picture_it_starts_from() -> None:
    line = timeline()
    for k in range(4):
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(0.0))
        line.add_hands(START_NS + k * PERIOD_NS, ())
    assert line.advance() == []
    line.add_image(START_NS + 2 * PERIOD_NS, PICTURE)
    conditions = line.advance()
    assert [c.stamp_ns for c in conditions] == [START_NS + k * PERIOD_NS for k in (2, 3)]
    assert conditions[0].image is PICTURE


def test_pictures_before_the_first_pose_are_passed_over() -> None:
    line = timeline()
    for k in range(6):
        line.add_image(START_NS + k * PERIOD_NS, PICTURE)
    line.add_pose(START_NS + 4 * PERIOD_NS, pose_at(0.0))
    line.add_hands(START_NS + 4 * PERIOD_NS, ())
    assert [c.stamp_ns for c in line.advance()] == [START_NS + 4 * PERIOD_NS]


def test_unreadable_pictures_and_pictures_of_another_size_are_counted_and_not_used() -> None:
    def unreadable() -> np.ndarray:
        raise ValueError("not a JPEG")

    line = timeline()
    feed(line, 1)
    for k, picture in ((1, unreadable), (2, PICTURE[:3])):
        line.add_image(START_NS + k * PERIOD_NS, picture)
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(0.0))
        line.add_hands(START_NS + k * PERIOD_NS, ())
    assert [c.image for c in line.advance()] == [None, None]
    assert line.dropped == {"image_unreadable": 1, "image_wrong_size": 1}


def test_only_pictures_that_a_tick_uses_are_decoded() -> None:
    decoded = []
    line = timeline()
    for k in range(32):
        stamp_ns = START_NS + k * PERIOD_NS // 2
        line.add_image(stamp_ns, lambda k=k: decoded.append(k) or PICTURE)
        line.add_pose(stamp_ns, pose_at(0.0))
        line.add_hands(stamp_ns, ())
        line.advance()
    assert decoded == list(range(0, 32, 2))


def test_ready_made_hand_pictures_take_the_place_of_hands() -> None:
    line = timeline(ready_made_hands=True)
    line.add_image(START_NS, PICTURE)
    for k in (0, 1, 3):
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(0.0))
        line.add_hand_render(START_NS + k * PERIOD_NS, PICTURE)
    line.add_pose(START_NS + 2 * PERIOD_NS, pose_at(0.0))
    assert [c.stamp_ns for c in line.advance()] == [START_NS, START_NS + PERIOD_NS, START_NS + 3 * PERIOD_NS]
    assert line.dropped["tick_without_hand_render"] == 1


def test_a_ready_made_scene_joins_the_moment_that_it_belongs_to_and_none_waits_for_it() -> None:
    line = timeline()
    line.add_image(START_NS, PICTURE)
    for k in range(3):
        if k != 1:
            line.add_static_render(START_NS + k * PERIOD_NS, lambda k=k: (np.full_like(PICTURE, 10 * k), None))
        line.add_pose(START_NS + k * PERIOD_NS, pose_at(0.0))
        line.add_hands(START_NS + k * PERIOD_NS, ())
    scenes = [c.static_render for c in line.advance()]
    assert [None if scene is None else int(scene.mean()) for scene in scenes] == [0, None, 20]


def test_what_stands_in_for_a_late_pose_or_hand_is_counted() -> None:
    line = timeline(wait_ms=1.0)
    line.add_image(START_NS, PICTURE)
    line.add_pose(START_NS, pose_at(0.0))
    line.add_hands(START_NS, (hand_at(0.0),))
    line.advance()
    assert not +line.stood_in
    for k in range(1, 5):
        line.add_image(START_NS + k * PERIOD_NS, PICTURE)
    held = line.advance()
    assert (line.stood_in["pose_held"], line.stood_in["hands_held"]) == (len(held), len(held))
    assert len(held) >= 1
    late = START_NS + 6 * PERIOD_NS
    for k in range(3):
        line.add_pose(late + k * PERIOD_NS, pose_at(0.0))
    assert [c.hands for c in line.advance()][-1] == ()
    assert line.stood_in["no_hands"] >= 1


def test_buffers_are_bounded_and_say_so() -> None:
    line = timeline(buffer_length=8)
    for k in range(100):
        line.add_pose(START_NS + k * NS_PER_MS, pose_at(0.0))
    assert line.dropped["pose_buffer_full"] == 92


def test_a_new_picture_size_starts_the_clock_anew_but_a_zoom_does_not() -> None:
    line = timeline()
    feed(line, 3)
    line.set_camera(replace(CAMERA, fx=11.0))
    assert line.num_resets == 0
    line.set_camera(Camera(16, 12, 20.0, 20.0, 8.0, 6.0))
    assert line.num_resets == 1


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="rate_hz must be in"):
        TimelineConfig(rate_hz=0.0)

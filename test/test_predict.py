"""The action `predict` through a real client: answers, scores, stops, and leaves the live session alone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose
from predict_fixture import ABORTED, CANCELED, SUCCEEDED, Planner, duration, trajectory
from robot_fixture import values_of
from ros_fixture import CAMERA, Ros, conditions, picture, wait_until
from small_tiny import small_tiny

from h2w_msgs.action import Predict
from h2w_msgs.msg import HandTrajectory, Prediction
from h2w_ros.branches import BranchedBlock, Branches
from h2w_ros.nodes import predictor, topics
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import image_from_compressed
from h2w_ros.session import Session
from h2w_ros.video import read_video


@pytest.fixture(scope="module")
def model() -> Any:
    return small_tiny()


@pytest.fixture
def node(ros: Ros, model: Any, monkeypatch: pytest.MonkeyPatch) -> Generator:
    """A generator of small pictures that has seen none of the camera's yet."""
    monkeypatch.setattr(predictor, "NICENESS", 0)  # a thread that steps aside for every other test starves
    return ros.add(Generator(lambda _: Session(model), context=ros.context, parameter_overrides=overrides(max_futures=8, inbox_length=8)))


@pytest.fixture
def planner(ros: Ros, node: Generator) -> Iterator[Planner]:
    client = Planner(ros)
    yield client
    client.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes every block of a prediction take at least this long."""

    def by(seconds: float) -> None:
        push = Branches.push

        def later(branches: Branches, *moments: Any) -> BranchedBlock | None:
            time.sleep(seconds)
            return push(branches, *moments)

        monkeypatch.setattr(Branches, "push", later)

    return by


IMAGE = image_to_msg(picture(1), 0, "")


def frames_of(video: Any, folder: Path) -> np.ndarray:
    path = folder / "video.mp4"
    path.write_bytes(bytes(video.data))
    return read_video(path)


def test_every_candidate_comes_back_as_a_video_with_its_scores(planner: Planner, tmp_path: Path, model: Any) -> None:
    goal_image = image_to_msg(picture(2), 0, "")
    asking = planner.ask(*(trajectory(speed) for speed in (0, 10, 20)), image=IMAGE, num_seeds=2, goal_image=goal_image)
    status, result = asking.outcome()
    assert (status, result.success, result.is_complete, result.message) == (SUCCEEDED, True, True, "")
    assert (result.frames_done, result.frames_total) == (8, 8)
    assert [(video.format, video.num_frames, video.rate_hz) for video in result.videos] == 3 * [("mp4/h264", 9, 16.0)]
    assert {score.name: len(score.values) for score in result.scores} == dict.fromkeys(
        ("goal_distance", "goal_remaining", "hand_agreement", "spread"), 3
    )
    goal = next(score for score in result.scores if score.name == "goal_distance")
    assert not goal.higher_is_better
    assert np.isfinite(goal.values).all()
    videos = [frames_of(video, tmp_path).astype(int) for video in result.videos]
    assert videos[0].shape == (9, model.config.height_px, model.config.width_px, 3)
    first, last = (float(np.abs(videos[0][frame] - videos[2][frame]).mean()) for frame in (0, -1))
    assert last > 1.5 * first  # which differs by compression alone


def test_feedback_follows_the_blocks_with_a_picture_of_every_candidate(planner: Planner, model: Any) -> None:
    asking = planner.ask(trajectory(0), trajectory(10), image=IMAGE)
    asking.outcome()
    assert wait_until(lambda: len(asking.feedback) == 8)
    assert [feedback.frames_done for feedback in asking.feedback] == list(range(1, 9))
    assert {feedback.frames_total for feedback in asking.feedback} == {8}
    assert [image_from_compressed(latest).shape for latest in asking.feedback[-1].latest] == 2 * [(model.config.height_px, model.config.width_px, 3)]


def test_without_a_picture_the_cameras_newest_is_taken(planner: Planner, node: Generator, tmp_path: Path) -> None:
    status, refused = planner.ask(trajectory(5)).outcome()
    assert (status, refused.success) == (ABORTED, False)
    assert "no picture of the camera has come yet" in refused.message
    white = np.full_like(picture(0), 255)
    for condition, image in zip(conditions(2), (picture(0), white), strict=True):
        node.accept(Moment(replace(condition, image=image)))
    result = planner.ask(trajectory(5)).outcome()[1]
    assert frames_of(result.videos[0], tmp_path)[0].mean() > 200


def test_candidates_can_go_on_where_the_live_session_is(planner: Planner, node: Generator, model: Any, tmp_path: Path) -> None:
    assert "no live session to go on from" in planner.ask(trajectory(5), continue_session=True).outcome()[1].message
    past = conditions(3)
    for condition in past:
        node.accept(Moment(condition))
        time.sleep(0.05)
    assert wait_until(lambda: node._worker.num_frames == 3)
    result = planner.ask(trajectory(5), continue_session=True).outcome()[1]
    assert result.is_complete
    expected = Session(model)
    newest = [expected.push(condition)[0].image for condition in past][-1]
    assert np.abs(frames_of(result.videos[0], tmp_path)[0].astype(int) - newest).mean() < 6
    node.accept(Moment(conditions(4)[3]))
    assert wait_until(lambda: node._worker.num_frames == 4)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda asked: setattr(asked.header, "frame_id", "base"), "must be in the live session's frame 'odom', they are in 'base'"),
        (lambda asked: setattr(asked.camera, "fx", 2 * CAMERA.fx), "must be seen by the live session's camera, and are not"),
        (lambda asked: [setattr(point.camera.position, "y", 5.0) for point in asked.points], "they begin 5.00 m and 0 degrees from there"),
    ],
    ids=["another frame", "another camera", "elsewhere"],
)
def test_candidates_that_do_not_begin_where_the_live_session_is_are_refused(planner: Planner, node: Generator, change: Callable, rule: str) -> None:
    asked = trajectory(5)
    change(asked)
    answered = node._worker.num_frames
    node.accept(Moment(conditions(1)[0]))
    assert wait_until(lambda: node._worker.num_frames == answered + 1)
    status, result = planner.ask(asked, continue_session=True).outcome()
    assert (status, result.success) == (ABORTED, False)
    assert rule in result.message


def test_a_live_session_that_is_in_use_keeps_the_other_core(planner: Planner, node: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    push = Branches.push

    def heard(branches: Branches, moments: Any, following: Any = None) -> BranchedBlock | None:
        told.append(following is not None)
        return push(branches, moments, following)

    monkeypatch.setattr(Branches, "push", heard)
    assert planner.ask(trajectory(5), image=IMAGE).outcome()[1].is_complete
    assert told == [True] * 7 + [False]
    told.clear()
    monkeypatch.setattr("h2w_ros.nodes.worker.IN_USE_S", 1000.0)
    node.accept(Moment(conditions(1)[0]))
    assert planner.ask(trajectory(5), image=IMAGE).outcome()[1].is_complete
    assert told == [False] * 8


def test_a_cancelled_goal_ends_within_one_block_and_hands_over_what_is_there(planner: Planner, slow: Callable) -> None:
    slow(0.1)
    asking = planner.ask(trajectory(5, seconds=5.0), image=IMAGE)
    assert wait_until(lambda: len(asking.feedback) >= 2)
    planner.cancel(asking)
    done_then = asking.feedback[-1].frames_done
    status, result = asking.outcome()
    assert (status, result.is_complete) == (CANCELED, False)
    assert result.frames_done <= done_then + 2  # one under way, and one whose feedback was under way
    assert "cancelled" in result.message
    assert result.videos[0].num_frames == result.frames_done + 1


def test_a_deadline_returns_what_is_done_and_says_so(planner: Planner, slow: Callable) -> None:
    slow(0.1)
    status, result = planner.ask(trajectory(5, seconds=8.0), image=IMAGE, deadline=duration(8.0)).outcome()
    assert (status, result.success, result.is_complete) == (SUCCEEDED, True, False)
    assert 1 <= result.frames_done <= 80
    assert "deadline" in result.message
    assert all(len(score.values) == 1 for score in result.scores)


def test_a_deadline_of_zero_is_none_and_one_that_has_passed_returns_what_is_done(planner: Planner, slow: Callable) -> None:
    assert planner.ask(trajectory(5), image=IMAGE, deadline=duration(0.0)).outcome()[1].is_complete
    slow(0.05)
    _, result = planner.ask(trajectory(5, seconds=1.0), image=IMAGE, deadline=duration(1e-9)).outcome()
    assert (result.is_complete, result.frames_done) == (False, 0)
    assert "deadline" in result.message


def test_a_second_goal_is_refused_while_one_is_under_way(planner: Planner, slow: Callable) -> None:
    slow(0.1)
    first = planner.ask(trajectory(5, seconds=1.0), image=IMAGE)
    status, refused = planner.ask(trajectory(5), image=IMAGE).outcome()
    assert (status, refused.success) == (ABORTED, False)
    assert "another prediction is under way" in refused.message
    assert first.outcome()[1].is_complete
    assert planner.ask(trajectory(5), image=IMAGE).outcome()[1].is_complete


def test_a_client_that_vanishes_costs_nobody_else_their_answer(ros: Ros, node: Generator, slow: Callable) -> None:
    slow(0.05)
    gone, stays = Planner(ros), Planner(ros)
    asking = gone.ask(trajectory(5), image=IMAGE)
    assert wait_until(lambda: asking.feedback)
    gone.close()
    assert wait_until(lambda: stays.ask(trajectory(5), image=IMAGE).outcome()[1].is_complete, 90.0)
    stays.close()


def test_a_live_session_is_answered_while_a_prediction_runs(ros: Ros, planner: Planner, node: Generator, slow: Callable) -> None:
    slow(0.03)
    frames, diagnostics = ros.collect(Prediction, topics.PREDICTION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    assert wait_until(node._predictions.get_subscription_count)
    asking = planner.ask(*(trajectory(speed, seconds=20.0) for speed in range(4)), image=IMAGE)
    assert wait_until(lambda: asking.feedback)
    for number, condition in enumerate(conditions(24)):
        # How fast is for the benchmark to say: here nothing is sent before the answer to the one before.
        node.accept(Moment(condition, received_ns=time.time_ns()))
        assert wait_until(lambda answered=number + 1: len(frames) == answered)
    assert not asking.result.done()
    assert wait_until(lambda: values_of(diagnostics, "generator").get("frames") == "24")
    assert not any(key.startswith("dropped") for key in values_of(diagnostics, "generator"))
    done = asking.feedback[-1].frames_done
    assert wait_until(lambda: asking.feedback[-1].frames_done > done)
    planner.cancel(asking)
    asking.outcome()


def broken(**changes: Any) -> HandTrajectory:
    """A candidate with something wrong at its last point."""
    candidate = trajectory(5)
    for name, value in changes.items():
        if name == "joint_angles_rad":
            candidate.points[-1].hands[0].joint_angles_rad = value
        else:
            setattr(candidate.points[-1], name, value)
    return candidate


def seen_by(**intrinsics: float) -> HandTrajectory:
    """A candidate whose camera is none."""
    candidate = trajectory(5)
    for name, value in intrinsics.items():
        setattr(candidate.camera, name, value)
    return candidate


@pytest.mark.parametrize(
    ("candidates", "goal", "reason"),
    [
        ([], {}, "at least one candidate, got none"),
        ([trajectory(5), trajectory(5, seconds=1.0)], {}, "candidates last from 0.5 to 1 s"),
        ([trajectory(5)], {"horizon_s": 2.0}, "horizon_s is 2 s, but a candidate ends after 0.5 s"),
        ([trajectory(5)], {"horizon_s": float("nan")}, "horizon_s must be 0"),
        ([trajectory(5)], {"horizon_s": 0.01}, "shortest prediction is a block"),
        ([trajectory(5, seconds=2e9)], {}, "at most 30 s are predicted at once .*got 2e"),
        ([broken(joint_angles_rad=np.full(45, np.nan))], {}, "candidate 0, point 1: joint_angles_rad"),
        ([broken(camera=Pose(position=Point(x=float("nan"))))], {}, "candidate 0, point 1: "),
        ([seen_by(fx=float("nan"))], {}, "candidate 0: "),
        ([trajectory(5)], {"num_seeds": 2**32 - 1}, "at most 8 futures are predicted at once .*got 1 candidates with 4294967295 seeds"),
        ([broken(time_from_start=duration(0.0))], {}, "candidate 0: times must grow"),
        ([HandTrajectory()], {}, "candidate 0: .*"),
        ([trajectory(5)] * 9, {}, "at most 8 futures are predicted at once .*got 9 candidates"),
        ([trajectory(5)], {"scorers": ["luck"]}, "no scorer 'luck'"),
        ([trajectory(5)], {"continue_session": True}, "leave one out"),
        ([trajectory(5)], {"deadline": duration(-1.0)}, "deadline must be zero"),
        ([trajectory(5)], {"goal_image": image_to_msg(picture(1), 0, "").__class__(encoding="yuv422", width=4, height=4, data=b"1")}, "yuv422"),
    ],
)
def test_a_goal_that_cannot_be_met_is_refused_with_the_reason(planner: Planner, candidates: list, goal: dict, reason: str) -> None:
    status, result = planner.ask(*candidates, image=IMAGE, **goal).outcome()
    assert (status, result.success, list(result.videos), list(result.scores)) == (ABORTED, False, [], [])
    assert re.search(reason, result.message)


def test_a_generator_that_is_not_active_refuses_and_takes_goals_again_afterwards(planner: Planner, node: Generator) -> None:
    node.trigger_deactivate()
    assert "not active" in planner.ask(trajectory(5), image=IMAGE).outcome()[1].message
    node.trigger_activate()
    assert planner.ask(trajectory(5), image=IMAGE).outcome()[1].is_complete


def test_a_generator_that_ends_hands_over_what_is_there(ros: Ros, planner: Planner, node: Generator, slow: Callable) -> None:
    slow(0.1)
    asking = planner.ask(trajectory(5, seconds=5.0), image=IMAGE)
    assert wait_until(lambda: asking.feedback)
    node.trigger_deactivate()
    node.trigger_cleanup()
    result: Predict.Result = asking.outcome()[1]
    assert not result.is_complete
    assert "being stopped" in result.message

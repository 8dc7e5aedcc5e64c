"""A planner's question: answered candidate by candidate, stopped when asked, scored in the order that eyes would give."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_tiny import CAMERA, conditions, small_tiny

from h2w_ros.branches import BranchedBlock, Branches
from h2w_ros.condition import Condition
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.geometry import transform
from h2w_ros.picture_distance import picture_distance
from h2w_ros.planning import scores
from h2w_ros.planning.goal import missing_change
from h2w_ros.planning.hand_agreement import hand_agreement
from h2w_ros.planning.prediction import Deadline, Future, Prediction, begin, go_on, run
from h2w_ros.planning.question import Question
from h2w_ros.planning.scores import Scorer, score, scorers
from h2w_ros.session import Session


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_tiny()


def candidates(num_candidates: int = 3, num_frames: int = 4) -> list[list[Condition]]:
    """Hands that leave one place at different speeds."""

    def moved(condition: Condition, by_m: float) -> Condition:
        way = transform(np.eye(3), np.array([0.0, by_m, 0.0]))
        return replace(condition, hands=tuple(replace(hand, T_world_wrist=way @ hand.T_world_wrist) for hand in condition.hands))

    moments = conditions(1 + num_frames)
    return [[moved(moment, 0.01 * number * step) for step, moment in enumerate(moments)] for number in range(num_candidates)]


def predicted(generator: Generator, question: Question) -> Prediction:
    prediction = begin(Session(generator), question)
    run(prediction)
    return prediction


def test_every_candidate_is_answered_as_a_session_by_itself_would(generator: Generator) -> None:
    question = Question(candidates(), seeds=(5, 6))
    futures = predicted(generator, question).futures()
    session = Session(generator)
    for candidate, future in zip(question.candidates, futures, strict=True):
        session.reset(seed=5)
        alone = np.stack([frame.image for condition in candidate for frame in session.push(condition)])
        assert np.abs(future.pictures[0].astype(int) - alone[1:]).max() <= 1
        assert np.abs(future.start.astype(int) - alone[0]).max() <= 1
        assert list(future.conditions) == list(candidate[1:])


def test_the_given_picture_goes_before_that_of_the_first_moment(generator: Generator) -> None:
    white = np.full((CAMERA.height_px, CAMERA.width_px, 3), 255, np.uint8)
    prediction = begin(Session(generator), Question(candidates()), white)
    assert prediction.start.mean() > 200


def test_a_question_goes_on_from_a_session_that_does_not_notice(generator: Generator) -> None:
    past, later = conditions(9)[:4], [conditions(9)[3:], conditions(9)[3:]]
    session, other = Session(generator), Session(generator)
    newest = [frame.image for condition in past for frame in session.push(condition)][-1]
    prediction = go_on(session, Question(later), newest)
    run(prediction)
    for condition in past:
        other.push(condition)
    follow = [[frame.image for condition in later[0][1:] for frame in one.push(condition)] for one in (session, other)]
    assert np.array_equal(*follow)
    assert np.abs(prediction.futures()[1].pictures[0].astype(int) - np.stack(follow[0])).max() <= 1


def test_a_stopped_prediction_is_over_within_a_block_and_says_why(generator: Generator) -> None:
    prediction = begin(Session(generator), Question(candidates()))
    run(prediction, lambda so_far: "somebody cancelled" if so_far.num_frames == 2 else "")
    assert (prediction.stopped, prediction.is_complete) == ("somebody cancelled", False)
    assert [future.pictures.shape[1] for future in prediction.futures()] == [2, 2, 2]
    assert [len(future.conditions) for future in prediction.futures()] == [2, 2, 2]


@pytest.mark.parametrize("spare", [True, False])
def test_what_follows_is_drawn_ahead_where_a_core_is_to_spare_and_nothing_else_changes(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, spare: bool
) -> None:
    told: list[bool] = []
    push = Branches.push

    def heard(branches: Branches, moments: Sequence[Condition], following: Sequence[Condition] | None = None) -> BranchedBlock | None:
        told.append(following is not None)
        return push(branches, moments, following)

    monkeypatch.setattr(Branches, "push", heard)
    prediction = begin(Session(generator), Question(candidates()))
    run(prediction, may_draw_ahead=lambda: spare)
    assert told == [spare] * (prediction.num_frames - 1) + [False]
    plain = begin(Session(generator), Question(candidates()))
    while not plain.is_complete:
        plain.advance(ahead=False)
    assert all(np.array_equal(one.pictures, other.pictures) for one, other in zip(prediction.futures(), plain.futures(), strict=True))


def test_a_deadline_leaves_out_the_block_that_would_come_too_late(generator: Generator) -> None:
    clock = [0.0]
    deadline = Deadline(2.5, lambda: clock[0])

    def ticking(prediction: Prediction) -> str:
        clock[0] = float(prediction.num_frames)
        return deadline.why_stop(prediction)

    prediction = begin(Session(generator), Question(candidates()))
    run(prediction, ticking)
    assert prediction.num_frames == 2
    assert "2 of 4 pictures" in prediction.stopped


def test_a_deadline_that_is_never_reached_changes_nothing(generator: Generator) -> None:
    prediction = begin(Session(generator), Question(candidates()))
    run(prediction, Deadline(1e6).why_stop)
    assert (prediction.is_complete, prediction.stopped) == (True, "")
    with pytest.raises(ValueError, match="must be in the future"):
        Deadline(0.0)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"candidates": []}, "at least one candidate"),
        ({"seeds": ()}, "at least one candidate and one seed"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"candidates": [candidates()[0], candidates()[1][:-1]]}, r"same number of moments.*\[4, 5\]"),
        ({"candidates": [candidates()[0][:1]]}, "at least one to predict"),
        (
            {"candidates": [candidates()[0], candidates()[1][1:] + candidates()[1][:1]]},
            "candidate 1 differs.*the camera stands elsewhere",
        ),
        ({"candidates": [candidates()[0], [replace(m, hands=()) for m in candidates()[1]]]}, r"hands \[\] instead of \['right'\]"),
    ],
)
def test_a_question_that_has_no_answer_is_refused_with_the_reason(asked: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Question(**({"candidates": candidates()} | asked))


def test_a_candidate_equal_to_the_goal_is_nearest_to_it(generator: Generator) -> None:
    plain = predicted(generator, Question(candidates()))
    goal = plain.futures()[1].pictures[0, -1]
    found = score(predicted(generator, Question(candidates(), goal=goal)).futures(), scorers(["goal_distance"]))[0]
    assert found.ranking[0] == 1
    assert found.values[1] == pytest.approx(0.0, abs=0.2)
    assert all(math.isnan(value) for value in score(plain.futures(), scorers(["goal_distance"]))[0].values)


def table(x_px: int) -> np.ndarray:
    """A red thing on a grey table; beyond its edge, none."""
    picture = np.full((96, 128, 3), 90, np.uint8)
    picture[40:52, x_px : x_px + 12] = (220, 40, 40)
    return picture


def test_the_wanted_change_is_missing_at_the_start_and_there_at_the_goal_other_changes_count_less() -> None:
    start, goal = table(20), table(80)
    assert missing_change(start, goal, goal) == 0.0
    assert missing_change(start, start, goal) == pytest.approx(1.0)
    near, elsewhere, gone = (missing_change(start, end, goal) for end in (table(84), table(50), table(200)))
    assert near < gone < 1.0
    assert near < elsewhere < 1.0
    corner = goal.copy()
    corner[80:, :20] = 250
    assert missing_change(start, corner, goal) < elsewhere
    assert math.isnan(missing_change(start, goal, start))


def test_a_thing_is_farther_from_its_goal_the_farther_it_stands_from_it() -> None:
    distances = [picture_distance(table(20 + shift), table(20)) for shift in (0, 4, 10, 20, 40)]
    assert distances[0] == 0.0
    assert distances == sorted(distances)
    assert len(set(distances)) == len(distances)


def test_spread_is_zero_only_where_seeds_agree(generator: Generator) -> None:
    two, one = (score(predicted(generator, Question(candidates(), seeds=seeds)).futures(), scorers(["spread"]))[0].values for seeds in ((1, 2), (1,)))
    assert all(value > 0.1 for value in two)
    assert all(math.isnan(value) for value in one)


def hand_future(is_where_asked: bool, background: int = 60) -> Future:
    """A hand-coloured blob that follows where it is asked to be, or stays."""
    rng = np.random.default_rng(0)

    def picture(mask: np.ndarray) -> np.ndarray:
        image = np.full((48, 64, 3), background, np.uint8)
        image[mask] = (200, 150, 120)
        return (image + rng.integers(0, 20, image.shape)).astype(np.uint8)

    masks = np.zeros((4, 48, 64), bool)
    for step, mask in enumerate(masks):
        mask[20:32, 4 + 14 * step : 16 + 14 * step] = True
    pictures = np.stack([picture(mask if is_where_asked else masks[0]) for mask in masks[1:]])
    return Future(conditions(4)[1:], picture(masks[0]), masks[0], masks[1:], pictures[None])


def test_hands_where_they_are_asked_to_be_agree_and_others_do_not() -> None:
    assert hand_agreement(hand_future(True)) > 0.95
    assert hand_agreement(hand_future(False)) < 0.6


def test_hands_that_the_first_picture_does_not_show_cannot_be_judged() -> None:
    future = hand_future(True)
    assert math.isnan(hand_agreement(replace(future, start_hands=np.zeros((48, 64), bool))))


def install(monkeypatch: pytest.MonkeyPatch, name: str, scorer: object) -> None:
    """Another package whose entry point names this object; None for a package that lacks what it names."""
    package = ModuleType("far_away")
    if scorer is not None:
        package.scorer = scorer
    monkeypatch.setitem(sys.modules, "far_away", package)
    monkeypatch.setattr(scores, "entry_points", lambda group: [EntryPoint(name, "far_away:scorer", group)] if group == "h2w_ros.scorers" else [])


def test_another_packages_scorer_is_found_by_name_and_runs_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "brightness", Scorer("brightness", "mean grey level", True, lambda future: float(future.pictures.mean())))
    values = {found.scorer.name: found.values for found in score([hand_future(True), hand_future(True, background=120)], scorers())}
    assert set(values) == {"goal_distance", "goal_remaining", "hand_agreement", "spread", "brightness"}
    assert values["brightness"][1] > values["brightness"][0]


def test_a_scorer_that_fails_is_told_and_costs_no_other_score(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "broken", Scorer("broken", "nothing", True, lambda _: 1 / 0))
    ours, broken = score([hand_future(True)], scorers(["hand_agreement", "broken"]))
    assert not ours.fault
    assert ours.values[0] > 0.9
    assert "broken failed: ZeroDivisionError" in broken.fault
    assert math.isnan(broken.values[0])


@pytest.mark.parametrize(
    ("name", "scorer", "rule"),
    [
        ("far", None, r"'far' \(far_away:scorer\) cannot be loaded: module 'far_away' has no attribute 'scorer'"),
        ("plain", len, "must be an h2w_ros.planning.scores.Scorer, got builtin"),
        ("spread", len, "rename its entry point"),
    ],
)
def test_an_installed_scorer_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, scorer: object, rule: str) -> None:
    install(monkeypatch, name, scorer)
    with pytest.raises(ValueError, match=rule):
        scorers([name])
    if name != "spread":
        assert [scorer.name for scorer in scorers()] == ["goal_distance", "goal_remaining", "hand_agreement", "spread"]


def test_an_unknown_scorer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no scorer 'luck'; there are goal_distance, goal_remaining, hand_agreement, spread"):
        scorers(["luck"])


@pytest.mark.slow
def test_the_documented_example_runs_and_scores_both_candidates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    root = Path(__file__).resolve().parent.parent
    monkeypatch.chdir(root)
    example = (root / "docs/planners.md").read_text().split("```python\n")[1].split("```")[0]
    exec(compile(example, "docs/planners.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [scorer.name for scorer in scorers()]
    agreement = next(line for line in lines if line.startswith("hand_agreement"))
    assert len(re.findall(r"0\.\d+", agreement.split("]")[0])) == 2

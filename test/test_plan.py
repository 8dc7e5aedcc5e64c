"""`h2w plan`: scenes whose truth is known, choices that are judged by it, and a hand that acts on what it imagines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tiny import small_tiny

pytest.importorskip("mujoco")

from h2w_ros.cli import main
from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.planning.closed_loop import run_closed_loop
from h2w_ros.evaluation.planning.judgement import Judged, Planner, Tally, judge, rank_correlation
from h2w_ros.evaluation.planning.scenes import PlanScene, PlanSpec, SceneSource
from h2w_ros.generator.checkpoint import save_generator
from h2w_ros.planning.prediction import Future
from h2w_ros.planning.scores import scorers
from h2w_ros.session import Session
from h2w_ros.video import video_info

SEED = 900_000


@pytest.fixture
def scene() -> Iterator[PlanScene]:
    """One with four short motions, at the size of `tiny`."""
    config = replace(small_tiny().config, height_px=96, width_px=128)
    yield from SceneSource(config, PlanSpec(4, 2.0)).scenes(SEED, 1)


class Told(Planner):
    """Costs as they are told, choice after choice, whatever is asked."""

    def __init__(self, *costs: list[float]) -> None:
        super().__init__(Session(small_tiny()), scorers(["goal_remaining"])[0])
        object.__setattr__(self, "told", list(costs))

    def futures(self, candidates: list[list[Condition]], now: Image, goal: Image) -> list[Future]:
        nowhere = np.zeros((32, *now.shape[:2]), bool)
        return [Future(candidate[1:], now, nowhere[0], nowhere, np.repeat(now[None, None], 32, axis=1)) for candidate in candidates]

    def costs(self, futures: list[Future]) -> list[float]:
        return self.told.pop(0)


def test_trying_changes_nothing_and_comes_out_the_same_twice(scene: PlanScene) -> None:
    before, picture = scene.distance_m, scene.stage.picture(scene.renderer)
    motion = scene.motions()[0]
    first, second = scene.attempt(motion), scene.attempt(motion)
    assert (first.distance_m, scene.distance_m) == (second.distance_m, before)
    assert np.array_equal(first.final_picture, second.final_picture)
    assert np.array_equal(scene.stage.picture(scene.renderer), picture)
    assert not np.array_equal(first.final_picture, picture)


def test_every_motion_takes_its_time_and_brings_the_hand_back(scene: PlanScene) -> None:
    trials = [scene.attempt(motion) for motion in scene.motions()]
    assert {len(trial.conditions) for trial in trials} == {1 + 32}
    for trial in trials:
        wrists = np.stack([condition.hands[0].T_world_wrist for condition in trial.conditions])
        assert np.abs(wrists[-1] - wrists[0]).max() < 1e-9
        assert np.linalg.norm(wrists[:, :3, 3] - wrists[0, :3, 3], axis=1).max() > 0.03
        assert [c.stamp_ns for c in trial.conditions] == [round(frame * 1e9 / 16) for frame in range(33)]
    assert len({trial.distance_m for trial in trials}) > 1


def test_a_goal_is_away_from_where_the_thing_is_and_looks_different(scene: PlanScene) -> None:
    assert scene.distance_m > 0.06
    assert np.abs(scene.goal.picture.astype(int) - scene.stage.picture(scene.renderer)).max() > 20


def test_a_closed_loop_does_what_it_chose_and_ends_when_nothing_is_better(scene: PlanScene) -> None:
    before = deepcopy(scene.rng)
    tried = [scene.attempt(motion) for motion in scene.motions()]
    scene.rng = before
    loop = run_closed_loop(Told([3.0, 2.0, 1.0, 2.0, 2.0], [0.0, 1.0, 1.0, 1.0, 1.0]), scene, num_rounds=3)
    assert loop.distances_m == [loop.distance_m, tried[1].distance_m]
    assert np.array_equal(loop.rounds[0].executed[-1], tried[1].final_picture)
    assert scene.stage.frame == 32
    assert len(list(loop.film())) == 33


def judged(costs: tuple[float, ...], distances_m: tuple[float, ...] = (0.3, 0.02, 0.1)) -> Judged:
    return Judged(SEED, distances_m, costs, distances_m)


def test_costs_in_the_order_of_the_truth_have_no_regret() -> None:
    tally = Tally([judged((3.0, 1.0, 2.0))])
    report = tally.report()
    assert report["rank_correlation"] == report["rank_correlation_of_true_pictures"] == 1.0
    assert report["top1_regret_m"] == {"model": 0.0, "random": 0.12, "true_pictures": 0.0}
    assert report["success"] == {"model": 1.0, "random": pytest.approx(1 / 3, abs=1e-3), "simulator": 1.0, "true_pictures": 1.0}


def test_costs_against_the_truth_regret_the_whole_difference() -> None:
    report = Tally([judged((1.0, 3.0, 2.0))]).report()
    assert report["rank_correlation"] == -1.0
    assert report["top1_regret_m"]["model"] == pytest.approx(0.28)
    assert report["success"]["model"] == 0.0


def test_costs_that_are_all_the_same_tell_nothing_apart() -> None:
    assert rank_correlation((1.0, 1.0, 1.0), (0.3, 0.02, 0.1)) == 0.0
    with pytest.raises(ValueError, match="nothing to report"):
        Tally().report()


def test_seeds_that_may_have_been_trained_on_are_refused() -> None:
    with pytest.raises(ValueError, match="900000 or more"):
        next(SceneSource(small_tiny().config).scenes(7, 1))
    with pytest.raises(ValueError, match="at least 2 candidates"):
        PlanSpec(num_candidates=1)


def test_a_model_is_judged_on_a_scene_by_what_the_simulator_knows(scene: PlanScene) -> None:
    planner = Planner.of(small_tiny(), scorers(["goal_distance"])[0])
    result, trials, futures = judge(planner, scene)
    assert result.distances_m == tuple(trial.distance_m for trial in trials)
    assert len(result.costs) == len(result.true_costs) == len(futures) == 4
    assert min(result.true_costs) < max(result.true_costs)
    with pytest.raises(ValueError, match="scorer spread gives no value"):
        judge(Planner.of(small_tiny(), scorers(["spread"])[0]), scene)


@pytest.mark.slow
def test_the_command_writes_numbers_pictures_and_films(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = small_tiny()
    save_generator(tmp_path / "model", model.config, model.transformer, model.codec, torch.float32)
    options = ["--scenes", "1", "--candidates", "2", "--duration", "1.5", "--closed-loop", "1", "--rounds", "1"]
    assert main(["plan", "--model", str(tmp_path / "model"), *options, "--json", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "plan.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert -1.0 <= report["rank_correlation"] <= 1.0
    assert set(report["top1_regret_m"]) >= {"model", "random"}
    assert set(report["success"]) >= {"model", "random", "simulator"}
    assert report["success"]["simulator"] >= report["success"]["model"]
    assert len(list((tmp_path / "out").glob("candidates_*.png"))) == 1
    (loop,) = report["closed_loop"]
    films = list((tmp_path / "out").glob("closed_loop_*.mp4"))
    assert len(films) == (len(loop["distance_m"]) > 1)
    assert all(video_info(film).num_frames == (len(loop["distance_m"]) - 1) * 25 for film in films)

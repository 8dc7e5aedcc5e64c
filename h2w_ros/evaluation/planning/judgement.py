"""How well candidates are told apart: predicted, scored against the goal's picture, and held to what the simulator knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import ConstantInputWarning, spearmanr

from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.planning.scenes import SUCCESS_M, PlanScene, Trial
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.planning.prediction import Future, begin, run
from h2w_ros.planning.question import Question
from h2w_ros.planning.scores import Scorer, score
from h2w_ros.session import Session
from h2w_ros.world.spec import TABLE_HEIGHT_M


@dataclass(frozen=True, eq=False)
class Planner:
    """A generator that is asked, and how its answers are judged."""

    session: Session
    scorer: Scorer
    seeds: Sequence[int] = (0,)

    @classmethod
    def of(cls, generator: Generator, scorer: Scorer, seeds: Sequence[int] = (0,)) -> Planner:
        """One that knows how high the table is."""
        return cls(Session(generator, table_height_m=TABLE_HEIGHT_M), scorer, seeds)

    def futures(self, candidates: Sequence[Sequence[Condition]], now: Image, goal: Image) -> list[Future]:
        """What is predicted from a picture, candidate by candidate."""
        prediction = begin(self.session, Question(candidates, self.seeds, goal), now)
        run(prediction)
        return prediction.futures()

    def costs(self, futures: Sequence[Future]) -> list[float]:
        """The lower the better; ValueError where the scorer has nothing to say."""
        scored, sign = score(futures, [self.scorer])[0], -1.0 if self.scorer.higher_is_better else 1.0
        if np.isnan(scored.values).any():
            raise ValueError(f"scorer {self.scorer.name} gives no value for some candidate, so it cannot choose one {scored.fault}".rstrip())
        return [sign * value for value in scored.values]


@dataclass(frozen=True)
class Judged:
    """One scene: of every candidate the distance in the end [m], what the model's picture cost, and what the true one would."""

    seed: int
    distances_m: tuple[float, ...]
    costs: tuple[float, ...]
    true_costs: tuple[float, ...]

    def regret_m(self, costs: Sequence[float]) -> float:
        """How much farther the cheapest candidate ends than the best one."""
        return self.distances_m[int(np.argmin(costs))] - min(self.distances_m)

    def success(self, costs: Sequence[float]) -> float:
        """1 where the cheapest candidate brings the thing to its goal, else 0."""
        return float(self.distances_m[int(np.argmin(costs))] < SUCCESS_M)


def judge(planner: Planner, scene: PlanScene) -> tuple[Judged, list[Trial], list[Future]]:
    """Asks the model about the scene's candidates, and tries them all in the simulator."""
    trials = [scene.attempt(motion) for motion in scene.motions()]
    now, resized = scene.stage.picture(scene.renderer), planner.session.resized
    futures = planner.futures([trial.conditions for trial in trials], now, scene.goal.picture)
    true = [_as_it_was(future, resized(now), resized(trial.final_picture)) for future, trial in zip(futures, trials, strict=True)]
    distances_m = tuple(trial.distance_m for trial in trials)
    return Judged(scene.seed, distances_m, tuple(planner.costs(futures)), tuple(planner.costs(true))), trials, futures


def _as_it_was(future: Future, now: Image, final: Image) -> Future:
    """The future that the simulator shows: its first and last pictures."""
    return Future(future.conditions[-1:], now, future.start_hands, future.hands[-1:], final[None, None], future.goal)


@dataclass
class Tally:
    """Scenes so far, and their means."""

    scenes: list[Judged] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        """`rank_correlation` (Spearman, cost against distance), `top1_regret_m` and `success`; `true_pictures`: with the simulator's own pictures."""
        scenes = self.scenes
        if not scenes:
            raise ValueError("no scene could be judged, so there is nothing to report")
        random_regrets = [float(np.mean(scene.distances_m)) - min(scene.distances_m) for scene in scenes]
        random_success = [float(np.mean(np.array(scene.distances_m) < SUCCESS_M)) for scene in scenes]
        return {
            "rank_correlation": _mean([rank_correlation(scene.costs, scene.distances_m) for scene in scenes]),
            "rank_correlation_of_true_pictures": _mean([rank_correlation(scene.true_costs, scene.distances_m) for scene in scenes]),
            "top1_regret_m": {
                "model": _mean([scene.regret_m(scene.costs) for scene in scenes]),
                "random": _mean(random_regrets),
                "true_pictures": _mean([scene.regret_m(scene.true_costs) for scene in scenes]),
            },
            "success": {
                "model": _mean([scene.success(scene.costs) for scene in scenes]),
                "random": _mean(random_success),
                "simulator": _mean([scene.success(scene.distances_m) for scene in scenes]),
                "true_pictures": _mean([scene.success(scene.true_costs) for scene in scenes]),
            },
        }


def rank_correlation(costs: Sequence[float], distances_m: Sequence[float]) -> float:
    """Spearman's; 0 where one of them is all the same, which tells nothing apart."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        value = float(spearmanr(costs, distances_m).statistic)
    return 0.0 if np.isnan(value) else value


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)

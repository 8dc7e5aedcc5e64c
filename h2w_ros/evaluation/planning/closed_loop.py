"""Imagine, choose, do, look again: a hand brings a thing to its goal by nothing but the generator's pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.planning.judgement import Planner
from h2w_ros.evaluation.planning.motions import stay
from h2w_ros.evaluation.planning.scenes import PlanScene
from h2w_ros.pictures import labelled_row
from h2w_ros.world.view import pixel_aspect

SHOWN_SCALE = 2.5


@dataclass(frozen=True, eq=False)
class Round:
    """One choice: what was imagined for it, what then happened, and how far the thing was from its goal afterwards [m]."""

    imagined: list[Image]
    executed: list[Image]
    distance_m: float


@dataclass(eq=False)
class ClosedLoop:
    """A run on one scene, which it changes."""

    planner: Planner
    scene: PlanScene
    distance_m: float = 0.0
    """From the thing to its goal at the start."""
    rounds: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.distance_m = self.scene.distance_m

    @property
    def distances_m(self) -> list[float]:
        """At the start, and after every round."""
        return [self.distance_m, *(done.distance_m for done in self.rounds)]

    def advance(self) -> bool:
        """One round; False when nothing seems better than to leave things as they are."""
        stage = self.scene.stage
        motions = [stay(stage, self.scene.spec.duration_s), *self.scene.motions()]
        now = stage.picture(self.scene.renderer)
        futures = self.planner.futures([self.scene.conditions(motion) for motion in motions], now, self.scene.goal.picture)
        best = int(np.argmin(self.planner.costs(futures)))
        if best == 0:
            return False
        executed = [self._filmed(moment) for moment in stage.play(motions[best], self.scene.num_frames)]
        self.rounds.append(Round([now, *futures[best].pictures[0]], [now, *executed], self.scene.distance_m))
        return True

    def film(self) -> Iterator[UInt8[ndarray, "_ _ 3"]]:
        """Imagined beside executed, and the goal."""
        goal = self.scene.goal.picture
        aspect = pixel_aspect(goal.shape[1], goal.shape[0])
        for number, done in enumerate(self.rounds, start=1):
            labels = [f"imagined {number}", f"executed {number}", "goal"]
            for imagined, executed in zip(done.imagined, done.executed, strict=True):
                yield labelled_row([imagined, executed, goal], labels, SHOWN_SCALE, aspect)

    def _filmed(self, _: Condition) -> Image:
        return self.scene.stage.picture(self.scene.renderer)


def run_closed_loop(planner: Planner, scene: PlanScene, num_rounds: int) -> ClosedLoop:
    """At most that many rounds."""
    loop = ClosedLoop(planner, scene)
    for _ in range(num_rounds):
        if not loop.advance():
            break
    return loop

"""Scenes in which a hand is to bring a thing to a goal, with motions to choose from and the truth about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.planning.motions import Motion, sample_motion, sample_motions
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.world.objects import TableObject
from h2w_ros.world.physics import UnstableSimulationError
from h2w_ros.world.render import SceneRenderer
from h2w_ros.world.spec import EVALUATION_SEEDS_FROM, WORLD_VERSION
from h2w_ros.world.stage import Stage, stage_spec

GOAL_TRIES = 12
MIN_WAY_M, MAX_RISE_M = 0.06, 0.03
"""A goal is at least this far from where the thing is, and on the table as it is now."""
MIN_SHARE = 0.004
"""Of the picture: a thing that shows less cannot be told from its picture, neither now nor at its goal."""
SUCCESS_M = 0.05
"""A thing this near its goal is there."""


@dataclass(frozen=True)
class PlanSpec:
    """What every scene asks for."""

    num_candidates: int = 8
    duration_s: float = 3.0
    """Of every motion."""

    def __post_init__(self) -> None:
        if self.num_candidates < 2:
            raise ValueError(f"there must be at least 2 candidates to choose from, got {self.num_candidates}")
        if not 1.5 <= self.duration_s <= 30.0:
            raise ValueError(f"a motion takes 1.5 to 30 s, got {self.duration_s}")


@dataclass(frozen=True, eq=False)
class Goal:
    """Where a thing is wanted, and what that looks like with the hand back where it is now."""

    position_m: Float[ndarray, "3"]
    picture: Image


@dataclass(frozen=True, eq=False)
class Trial:
    """One candidate, and what it does in the simulator."""

    motion: Motion
    conditions: list[Condition]
    """Now, and every moment of the motion; no pictures."""
    distance_m: float
    """From the thing to its goal in the end."""
    final_picture: Image


@dataclass(eq=False)
class PlanScene:
    """A scene, the thing to move, where to, and the renderer that draws it."""

    seed: int
    stage: Stage
    thing: TableObject
    goal: Goal
    renderer: SceneRenderer
    spec: PlanSpec
    rng: np.random.Generator

    @property
    def num_frames(self) -> int:
        """Moments of a motion after now."""
        return round(self.spec.duration_s * self.stage.spec.rate_hz)

    @property
    def distance_m(self) -> float:
        """From the thing to its goal, now."""
        return float(np.linalg.norm(self.stage.position(self.thing.name) - self.goal.position_m))

    def motions(self) -> list[Motion]:
        """Candidates from how things are now; fewer than wanted, or none, where the hand cannot get at the thing any more."""
        return sample_motions(self.rng, self.stage, self.thing, self.spec.duration_s, self.spec.num_candidates)

    def conditions(self, motion: Motion) -> list[Condition]:
        """Now, and the motion's moments; hands are told by the motion alone, whatever the things do."""
        return [self.stage.now, *self.stage.fork().play(motion, self.num_frames)]

    def attempt(self, motion: Motion) -> Trial:
        """What the motion would really do; nothing happens on the stage."""
        there = self.stage.fork()
        conditions = [self.stage.now, *there.play(motion, self.num_frames)]
        distance_m = float(np.linalg.norm(there.position(self.thing.name) - self.goal.position_m))
        return Trial(motion, conditions, distance_m, there.picture(self.renderer))


@dataclass
class SceneSource:
    """Scenes for a model, one seed after the other; `skipped` counts by reason the seeds that offer none."""

    config: GeneratorConfig
    spec: PlanSpec = field(default_factory=PlanSpec)
    skipped: dict[str, int] = field(default_factory=dict)

    def scenes(self, seed: int, count: int) -> Iterator[PlanScene]:
        """That many scenes from this seed on, each whose renderer is open until the next one is asked for."""
        if seed < EVALUATION_SEEDS_FROM:
            raise ValueError(f"seed must be {EVALUATION_SEEDS_FROM} or more (smaller ones may have been trained on), got {seed}")
        found = 0
        while found < count:
            for scene in self.scene(seed):
                found += 1
                yield scene
            seed += 1

    def scene(self, seed: int) -> Iterator[PlanScene]:
        """The scene of a seed, if it offers one."""
        try:
            stage = Stage.of_seed(seed, stage_spec(self.config.width_px, self.config.height_px, self.config.rate_hz))
            rng = np.random.default_rng((WORLD_VERSION, seed, 2))
            with SceneRenderer(stage.world.model, stage.spec.width_px, stage.spec.height_px, stage.spec.supersampling) as renderer:
                thing = _thing_to_move(rng, stage, renderer)
                goal = None if thing is None else _goal(rng, stage, thing, self.spec.duration_s, renderer)
                if thing is None or goal is None:
                    self._skip("nothing to move" if thing is None else "no goal within reach and sight")
                    return
                yield PlanScene(seed, stage, thing, goal, renderer, self.spec, rng)
        except UnstableSimulationError:
            self._skip("unstable physics")

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def _thing_to_move(rng: np.random.Generator, stage: Stage, renderer: SceneRenderer) -> TableObject | None:
    """One that does not open, is seen, and that the hand can get at."""
    table = stage.world.table(stage.actor)
    names = [name for name in table.usable if table.things[name].articulation is None and stage.shows(name, renderer) > MIN_SHARE]
    return table.things[str(rng.choice(names))] if names else None


def _goal(rng: np.random.Generator, stage: Stage, thing: TableObject, duration_s: float, renderer: SceneRenderer) -> Goal | None:
    """Where some motion, which no candidate is, would bring the thing."""
    before = stage.position(thing.name)
    for _ in range(GOAL_TRIES):
        motion = sample_motion(rng, stage, thing, duration_s)
        if motion is None:
            return None
        there = stage.fork()
        for _ in there.play(motion, round(duration_s * stage.spec.rate_hz)):
            pass
        after = there.position(thing.name)
        way_m, rise_m = np.linalg.norm((after - before)[:2]), abs(after[2] - before[2])
        if way_m > MIN_WAY_M and rise_m < MAX_RISE_M and there.shows(thing.name, renderer) > MIN_SHARE:
            return Goal(after, there.picture(renderer))
    return None

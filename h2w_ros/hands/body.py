"""The body behind the hands: where its shoulders are thought to be, and how surely.

A picture that shows hands and forearms tells where they come from: among shoulders that are likely so far, those count that explain it (importance
sampling, once more around what that finds). Hands tell it too, without any picture: seen from above, a hand goes on about as its forearm does, so
every place it reaches for is one more bearing of its shoulder. Bearings are taken in by an extended Kalman filter, iterated since the first of
them are far from where it was linear (Bell and Cathey 1993).

Where the height of the table is known, the height of the body is, nearly (`shoulders`), and no bearing tells that. Drawn hands and forearms overlap
with those of the simulated world's truth by 0.90 so, by 0.83 where it is not known (24 episodes); with the true shoulders by 0.92 (96 others).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import SIDES
from h2w_ros.geometry import Transform
from h2w_ros.hands.forearms import Shoulders, wrist_camera
from h2w_ros.hands.shoulders import LEASH_M, USUAL_M, SeenArms, followed, level, usual_shoulders, usual_spread_m

BEARING_RAD = 0.28
"""Standard deviation of a hand's bearing from its forearm's, seen from above."""
FARTHEST_OFF_RAD = 1.2
"""A wrist bends no further sideways: what is farther off counts as this."""
NEW_PLACE_M = 0.5
"""How far a wrist has gone when its bearing is new. On the way it counts in proportion: a hand that rests, or carries something, repeats itself.
Fingers that point down tell little, too."""
LEAST_NEWS = 0.2
NEAREST_M = 0.05
"""Nearer to the vertical through the shoulder no bearing means anything."""
ITERATIONS = 3
NUM_TRIES = 32
"""Shifts of the body that are tried at first, their opposites, and as many around what is found."""
FARTHEST_TRY = 2.5
"""In standard deviations."""
FEWEST_THAT_COUNT = 6
WIDER, BLUR = 1.3, 0.02
"""How much more widely than what was found is looked around, and what few tries leave unsure: shares of variances."""
LEAST_UNSURE = 0.01
"""Of the usual variance, after a picture."""
FORGETS, PICTURE_FORGETS = 0.01, 0.05
"""With every bearing and every picture, so much of the uncertainty becomes the usual again: bodies move, and nobody says so."""


def _tries() -> Float[ndarray, "n 3"]:
    """Of mean zero and exactly unit spread: a picture that tells nothing then changes nothing, however often it is seen."""
    ways = np.random.default_rng(0).standard_normal((NUM_TRIES, 3)).clip(-FARTHEST_TRY, FARTHEST_TRY)
    ways = np.concatenate([ways, -ways])
    return np.asarray(ways @ np.linalg.inv(np.linalg.cholesky(ways.T @ ways / len(ways))).T)


TRIES = _tries()


@dataclass(frozen=True, eq=False)
class Body:
    """What is known of one stream's body. `shoulders_world` (left, right) [m] is None until a head is seen; the covariance is of a shift of both."""

    shoulders_world: Shoulders | None = None
    covariance_m2: Float[ndarray, "3 3"] = field(default_factory=lambda: np.diag(USUAL_M**2))
    heard_at_m: Float[ndarray, "2 3"] = field(default_factory=lambda: np.full((2, 3), np.nan))
    """Where wrists were when they last told something."""
    table_height_m: float | None = None
    """Of the table that it is at, in a world whose z axis points up."""

    def under(self, T_world_camera: Transform) -> Body:
        """The body when the head is here: where it was, unless the head has gone away from it; the farther it follows, the less is known of it."""
        usual = self._usual_covariance(T_world_camera)
        if self.shoulders_world is None:
            return replace(self, shoulders_world=usual_shoulders(T_world_camera, self.table_height_m), covariance_m2=usual)
        shoulders = followed(self.shoulders_world, T_world_camera, self.table_height_m)
        pulled = min(1.0, float(np.linalg.norm(shoulders[0] - self.shoulders_world[0])) / LEASH_M)
        if pulled == 0.0:
            return self
        return replace(self, shoulders_world=shoulders, covariance_m2=self.covariance_m2 + pulled * (usual - self.covariance_m2))

    def _usual_covariance(self, T_world_camera: Transform) -> Float[ndarray, "3 3"]:
        spread = usual_spread_m(T_world_camera, self.table_height_m)
        return np.asarray(spread @ spread.T)

    def seen(self, arms: SeenArms) -> Body:
        """What is known after a picture that shows these hands and forearms."""
        body = self.under(arms.T_world_camera)
        rounds = (1.0, WIDER) if self.shoulders_world is None else (1.0,)
        return body._explaining(arms, rounds, arms.T_world_camera) if arms.tell else body

    def _explaining(self, arms: SeenArms, rounds: tuple[float, ...], T_world_camera: Transform) -> Body:
        """After the arms that a picture shows; each round looks so much more widely around what the one before has found."""
        assert self.shoulders_world is not None
        prior = self.covariance_m2 + PICTURE_FORGETS * (self._usual_covariance(T_world_camera) - self.covariance_m2)
        shift, covariance = np.zeros(3), prior
        for widened in rounds:
            spread = np.linalg.cholesky(widened * covariance)
            shifts = shift + TRIES @ spread.T
            told = np.array([arms.log_likelihood(self.shoulders_world + tried) for tried in shifts])
            likely = told - 0.5 * (shifts * np.linalg.solve(prior, shifts.T).T).sum(1) + 0.5 * np.square(TRIES).sum(1)
            weights = _shares(likely)
            shift = weights @ shifts
            covariance = ((shifts - shift).T * weights) @ (shifts - shift) + BLUR * prior
        return replace(
            self,
            shoulders_world=self.shoulders_world + shift,
            covariance_m2=_bounded(covariance, usual_spread_m(T_world_camera, self.table_height_m)),
        )

    def heard(self, T_world_grips: Float[ndarray, "2 4 4"], T_world_camera: Transform) -> Body:
        """What is known after hands were here, under a head that was there."""
        body, R_level_world = self.under(T_world_camera), level(T_world_camera, self.table_height_m)
        usual = self._usual_covariance(T_world_camera)
        for index, (side, T_world_grip) in enumerate(zip(SIDES, T_world_grips, strict=True)):
            if np.isfinite(T_world_grip).all():
                wrist = wrist_camera(side, T_world_grip)
                body = body._with_bearing(index, wrist, T_world_grip[:3, 3] - wrist, R_level_world, usual)
        return body

    def _with_bearing(
        self, index: int, wrist: Float[ndarray, "3"], fingers: Float[ndarray, "3"], R_level_world: Float[ndarray, "3 3"], usual: Float[ndarray, "3 3"]
    ) -> Body:
        """After one hand's bearing, if that is news."""
        gone_m = float(np.linalg.norm(wrist - self.heard_at_m[index]))
        x, y, _ = R_level_world @ fingers
        news = math.hypot(x, y) / float(np.linalg.norm(fingers)) * (1.0 if np.isnan(gone_m) else min(1.0, gone_m / NEW_PLACE_M))
        if news < LEAST_NEWS:
            return self
        assert self.shoulders_world is not None
        bearing, start = math.atan2(y, x), self.shoulders_world[index]
        covariance, shift = self.covariance_m2 + FORGETS * news * (usual - self.covariance_m2), np.zeros(3)
        x, y, _ = R_level_world @ (wrist - start)
        thought = math.atan2(y, x)
        bearing = thought - min(max(_wrapped(thought - bearing), -FARTHEST_OFF_RAD), FARTHEST_OFF_RAD)
        for _ in range(ITERATIONS):
            x, y, _ = R_level_world @ (wrist - start - shift)
            off = _wrapped(math.atan2(y, x) - bearing)
            slope = np.array([y, -x, 0.0]) @ R_level_world / max(x * x + y * y, NEAREST_M**2)  # of the bearing, by the shoulder's place
            gain = covariance @ slope / (slope @ covariance @ slope + BEARING_RAD**2 / news)
            shift = -gain * (off - slope @ shift)
        heard_at = self.heard_at_m.copy()
        heard_at[index] = wrist
        shoulders, told = self.shoulders_world + shift, covariance - np.outer(gain, slope @ covariance)
        return replace(self, shoulders_world=shoulders, covariance_m2=told, heard_at_m=heard_at)


def _shares(likely: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """Weights of what is so likely, as a logarithm. Where next to none would count, it is taken less seriously: one try is no distribution."""
    while True:
        weights = np.exp(likely - likely.max())
        weights /= weights.sum()
        if weights @ weights <= 1.0 / FEWEST_THAT_COUNT:
            return np.asarray(weights)
        likely = likely / 2.0


def _bounded(covariance_m2: Float[ndarray, "3 3"], spread_m: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    """No less sure than usually, and never surer than few tries can be: or the same picture, seen for ever, would make a body infinitely sure."""
    values, ways = np.linalg.eigh(np.linalg.solve(spread_m, np.linalg.solve(spread_m, covariance_m2).T))
    ways = spread_m @ ways
    return np.asarray((ways * values.clip(LEAST_UNSURE, 1.0)) @ ways.T)


def _wrapped(angle_rad: float) -> float:
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi

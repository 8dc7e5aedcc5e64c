"""The least squares of one hand at one moment, with exact derivatives, and the damped Gauss-Newton steps that solve it.

What moves is the wrist (a turn, then a shift, both in its own frame) and the 45 joint angles. What is squared, all in
metres: the distances of the points that were seen; how far bones are turned against the tracker's orientations; how far
joints leave their limits; and how far angles are from where they are expected, which decides what no point shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.geometry import Transform, transform
from h2w_ros.hands.anatomy import LIMITS
from h2w_ros.hands.kinematics import TURNS, PosedHand, ShapedHand, cross_matrices, lever_derivatives, point_derivatives, pose, rotations_and_rates
from h2w_ros.hands.skeleton import HandSkeleton

NUM_ANGLES = 45
NUM_PARAMETERS = 6 + NUM_ANGLES
# Levenberg's damping [m per rad, m per m], squared in use: its start, its least, and how it answers to steps.
FIRST_DAMPING = 1e-3
LEAST_DAMPING = 1e-4
DAMPING_DOWN, DAMPING_UP = 0.5, 4.0


class FitState(NamedTuple):
    """A pose under way: the wrist in the world, angles about the joints' own axes."""

    T_world_wrist: Transform
    angles_rad: Float[ndarray, "15 3"]


class Weights(NamedTuple):
    """What a radian weighs beside a metre of point error [m per rad], and where angles are expected [rad]."""

    beyond_limits: float
    angles: Float[ndarray, "15 3"]
    expected_rad: Float[ndarray, "15 3"]
    orientation: float


class Linearised(NamedTuple):
    """Residuals [m] at a state and their derivatives by the 51 parameters; penalties are diagonal in the angles."""

    residuals: Float[ndarray, "n"]
    derivatives: Float[ndarray, "n 51"]
    penalties: Float[ndarray, "2 45"]
    penalty_slopes: Float[ndarray, "2 45"]

    @property
    def cost(self) -> float:
        """The sum of squares [m^2]."""
        return float(self.residuals @ self.residuals + np.vdot(self.penalties, self.penalties))


class Solution(NamedTuple):
    """Where the steps led, the distance that remains of every seen point [m], the sum of squares, and the number of steps."""

    state: FitState
    point_errors_m: Float[ndarray, "n"]
    cost: float
    num_steps: int


@dataclass(frozen=True, eq=False)
class FitProblem:
    """A shaped hand, what was seen of it, and how much everything weighs."""

    hand: ShapedHand
    skeleton: HandSkeleton
    weights: Weights

    @cached_property
    def seen(self) -> Int[ndarray, "n"]:
        """The points that were seen."""
        return np.flatnonzero(self.skeleton.is_seen)

    @cached_property
    def _turned(self) -> Int[ndarray, "m"]:
        return np.flatnonzero(self.skeleton.is_turned)

    @cached_property
    def _root_weights(self) -> Float[ndarray, "n 1"]:
        return np.sqrt(self.skeleton.weights[self.seen])[:, None]

    @cached_property
    def _points_world(self) -> Float[ndarray, "n 3"]:
        return self.skeleton.points_world[self.seen]

    def linearised(self, state: FitState) -> Linearised:
        """Everything that is squared, and its derivatives, at this state."""
        posed = pose(self.hand, state.angles_rad)
        residuals, derivatives = self._points(state, posed)
        if len(self._turned):
            turned = self._orientations(state, posed)
            residuals, derivatives = np.concatenate([residuals, turned[0]]), np.concatenate([derivatives, turned[1]])
        return Linearised(residuals, derivatives, *self._penalties(state.angles_rad))

    def all_residuals(self, state: FitState) -> Float[ndarray, "n"]:
        """Everything that is squared as one vector [m], for solvers that want no structure."""
        here = self.linearised(state)
        return np.concatenate([here.residuals, here.penalties.ravel()])

    def point_errors_m(self, here: Linearised) -> Float[ndarray, "n"]:
        """Distance of every seen point, unweighted."""
        weighted = here.residuals[: 3 * len(self.seen)].reshape(-1, 3)
        return np.sqrt(np.einsum("ij,ij->i", weighted, weighted)) / self._root_weights[:, 0]

    def _points(self, state: FitState, posed: PosedHand) -> tuple[ndarray, ndarray]:
        measured = _in_wrist(state.T_world_wrist, self._points_world)
        residuals = self._root_weights * (posed.points[self.seen] - measured)
        derivatives = np.empty((len(measured), 3, NUM_PARAMETERS))
        derivatives[:, :, :3] = -cross_matrices(measured)
        derivatives[:, :, 3:6] = np.eye(3)
        derivatives[:, :, 6:] = point_derivatives(self.hand, posed)[self.seen]
        derivatives *= self._root_weights[:, :, None]
        return residuals.ravel(), derivatives.reshape(-1, NUM_PARAMETERS)

    def _orientations(self, state: FitState, posed: PosedHand) -> tuple[ndarray, ndarray]:
        """The direction out of the back of each turned bone: what points along the bones do not show is their twist."""
        backs = (posed.R_wrist_bone[self._turned] @ self.hand.backs[self._turned, :, None])[..., 0]
        measured = self.skeleton.R_world_joint[self._turned, :, 1] @ state.T_world_wrist[:3, :3]
        derivatives = np.zeros((len(backs), 3, NUM_PARAMETERS))
        derivatives[:, :, :3] = -cross_matrices(measured)
        derivatives[:, :, 6:] = lever_derivatives(posed, TURNS[self._turned][:, :, None] * backs[:, None])
        weight = self.weights.orientation
        return weight * (backs - measured).ravel(), weight * derivatives.reshape(-1, NUM_PARAMETERS)

    def _penalties(self, angles_rad: Float[ndarray, "15 3"]) -> tuple[ndarray, ndarray]:
        beyond = angles_rad - np.clip(angles_rad, LIMITS.low, LIMITS.high)
        limit = self.weights.beyond_limits
        penalties = np.stack([limit * beyond, self.weights.angles * (angles_rad - self.weights.expected_rad)])
        slopes = np.stack([limit * (beyond != 0.0), self.weights.angles])
        return penalties.reshape(2, NUM_ANGLES), slopes.reshape(2, NUM_ANGLES)


def moved(state: FitState, step: Float[ndarray, "51"]) -> FitState:
    """The state after a step: the wrist turned and shifted in its own frame, angles added."""
    R = state.T_world_wrist[:3, :3]
    wrist = transform(R @ rotations_and_rates(step[None, :3])[0][0], state.T_world_wrist[:3, 3] + R @ step[3:6])
    return FitState(wrist, state.angles_rad + step[6:].reshape(15, 3))


def solve(problem: FitProblem, state: FitState, max_steps: int, still_m: float = 1e-6) -> Solution:
    """Damped Gauss-Newton steps until no point moves further than `still_m`; a step that makes things worse is taken back and damped more."""
    here, damping = problem.linearised(state), FIRST_DAMPING
    num_steps = 0
    while num_steps < max_steps:
        num_steps += 1
        step = _step(here, damping)
        there = problem.linearised(after := moved(state, step))
        if there.cost > here.cost:
            damping *= DAMPING_UP
            continue
        reach_m = float(np.abs(here.derivatives @ step).max())
        state, here, damping = after, there, max(damping * DAMPING_DOWN, LEAST_DAMPING)
        if reach_m < still_m:
            break
    return Solution(state, problem.point_errors_m(here), here.cost, num_steps)


def _step(here: Linearised, damping: float) -> Float[ndarray, "51"]:
    normal = here.derivatives.T @ here.derivatives
    diagonal = np.einsum("ii->i", normal)
    diagonal += damping**2
    diagonal[6:] += np.einsum("ij,ij->j", here.penalty_slopes, here.penalty_slopes)
    slope = here.derivatives.T @ here.residuals
    slope[6:] += np.einsum("ij,ij->j", here.penalty_slopes, here.penalties)
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(normal, overwrite_a=True, check_finite=False), -slope, check_finite=False)


def _in_wrist(T_world_wrist: Transform, points_world: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    return (points_world - T_world_wrist[:3, 3]) @ T_world_wrist[:3, :3]

"""The least squares of one hand over a stretch of frames: its points in every picture, its depths, and how hands move.

Every residual is in standard deviations. The unknowns of a frame are those of `hands.fit_problem`: the wrist's turn and shift
in its own frame, then 45 joint angles; a frame is tied to the two before it, so the normal equations are a narrow band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Camera
from h2w_ros.geometry import axis_angle_from_rotation
from h2w_ros.hands.anatomy import LIMITS
from h2w_ros.hands.fit_problem import NUM_ANGLES, NUM_PARAMETERS, FitState
from h2w_ros.hands.kinematics import ShapedHand, cross_matrices, point_derivatives, pose

# A frame is tied to so many before it.
REACH = 2
NEAREST_M = 0.02
SHIFT, TURN, ANGLES = slice(3, 6), slice(0, 3), slice(6, NUM_PARAMETERS)


@dataclass(frozen=True)
class SequenceConfig:
    """What hands do, as standard deviations: how fast they change their way, turn and bend; then as in `hands.fit.FitConfig`.

    A point that is more than `outlier` standard deviations off counts less and less.
    """

    acceleration_m_per_s2: float = 5.0
    turn_rad_per_s: float = 3.0
    joint_rad_per_s: float = 4.0
    beyond_limits_rad: float = 0.08
    twist_rad: float = 0.1
    from_rest_rad: float = 0.6
    outlier: float = 2.0
    max_steps: int = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen of one hand, frame by frame; frames without evidence are all NaN.

    `depths_m`: of every point along `rays` relative to their mean; noises are standard deviations.
    """

    times_s: Float[ndarray, "T"]
    points_px: Float[ndarray, "T 21 2"]
    noise_px: Float[ndarray, "T"]
    rays: Float[ndarray, "T 3"]
    depths_m: Float[ndarray, "T 21"]
    depth_noise_m: Float[ndarray, "T"]

    def __len__(self) -> int:
        return len(self.times_s)

    def part(self, start: int, stop: int) -> Evidence:
        """Frames start .. stop - 1."""
        return Evidence(*(value[start:stop] for value in vars(self).values()))


class Linearised(NamedTuple):
    """The cost at a state, its slope, and the blocks of its normal matrix: `blocks[k][t]` couples frame t with t + k."""

    cost: float
    slope: Float[ndarray, "T 51"]
    blocks: list[Float[ndarray, "_ 51 51"]]


@dataclass(frozen=True, eq=False)
class SequenceProblem:
    """A shaped hand, a camera, what was seen, and what is expected of hands."""

    hand: ShapedHand
    camera: Camera
    evidence: Evidence
    rest_rad: Float[ndarray, "15 3"]
    config: SequenceConfig

    def linearised(self, states: Sequence[FitState]) -> Linearised:
        """Cost, slope and normal blocks at these states, one a frame."""
        num_frames = len(states)
        slope = np.zeros((num_frames, NUM_PARAMETERS))
        blocks = [np.zeros((max(num_frames - k, 0), NUM_PARAMETERS, NUM_PARAMETERS)) for k in range(REACH + 1)]
        cost = 0.0
        for frame, state in enumerate(states):
            residuals, derivatives, robust_cost = self._frame_terms(frame, state)
            slope[frame] += derivatives.T @ residuals
            blocks[0][frame] += derivatives.T @ derivatives
            cost += robust_cost + self._add_expectations(state, slope[frame], blocks[0][frame])
        return Linearised(cost + self._add_motion(states, slope, blocks), slope, blocks)

    def points_camera(self, state: FitState) -> Float[ndarray, "21 3"]:
        """Joints and tips before the camera."""
        return pose(self.hand, state.angles_rad).points @ state.T_world_wrist[:3, :3].T + state.T_world_wrist[:3, 3]

    def errors_px(self, frame: int, state: FitState) -> Float[ndarray, "21"]:
        """How far every point falls from where it was seen; NaN where it was not."""
        return np.linalg.norm(self._projected(self.points_camera(state)) - self.evidence.points_px[frame], axis=1)

    @cached_property
    def _focal(self) -> ndarray:
        return np.array([self.camera.fx, self.camera.fy])

    def _projected(self, points: Float[ndarray, "21 3"]) -> Float[ndarray, "21 2"]:
        return points[:, :2] / np.maximum(points[:, 2:], NEAREST_M) * self._focal + (self.camera.cx, self.camera.cy)

    def _frame_terms(self, frame: int, state: FitState) -> tuple[ndarray, ndarray, float]:
        """Weighted residuals of points and depths, their derivatives, and what they cost once outliers count less."""
        evidence = self.evidence
        seen = np.flatnonzero(np.isfinite(evidence.points_px[frame]).all(axis=1))
        if not len(seen):
            return np.zeros(0), np.zeros((0, NUM_PARAMETERS)), 0.0
        posed = pose(self.hand, state.angles_rad)
        R = state.T_world_wrist[:3, :3]
        points = posed.points @ R.T + state.T_world_wrist[:3, 3]
        moves = np.empty((len(points), 3, NUM_PARAMETERS))
        moves[:, :, TURN], moves[:, :, SHIFT] = -cross_matrices(posed.points), np.eye(3)
        moves[:, :, ANGLES] = point_derivatives(self.hand, posed)
        moves[:] = R @ moves
        offsets = (self._projected(points)[seen] - evidence.points_px[frame, seen]) / evidence.noise_px[frame]
        lenses = self._lenses(points[seen]) / evidence.noise_px[frame]
        depth, depth_moves = self._depth_terms(frame, points, moves)
        residuals = np.concatenate([offsets, depth[seen, None]], axis=1)
        derivatives = np.concatenate([lenses @ moves[seen], depth_moves[seen, None]], axis=1)
        return _less_of_outliers(residuals, derivatives, self.config.outlier)

    def _lenses(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 2 3"]:
        """Change of the projection per change of the point [px / m]."""
        depth = np.maximum(points[:, 2], NEAREST_M)
        lenses = np.zeros((len(points), 2, 3))
        lenses[:, 0, 0], lenses[:, 1, 1] = self.camera.fx / depth, self.camera.fy / depth
        lenses[:, :, 2] = -points[:, :2] * self._focal / depth[:, None] ** 2
        return lenses

    def _depth_terms(self, frame: int, points: ndarray, moves: ndarray) -> tuple[ndarray, ndarray]:
        """Depths along the ray relative to their mean, against the seen ones; zero where none was seen."""
        evidence, ray = self.evidence, self.evidence.rays[frame]
        known = np.isfinite(evidence.depths_m[frame])
        if not known.any():
            return np.zeros(len(points)), np.zeros((len(points), NUM_PARAMETERS))
        along, along_moves = points @ ray, ray @ moves
        residuals = along - along[known].mean() - evidence.depths_m[frame]
        derivatives = along_moves - along_moves[known].mean(axis=0)
        noise = evidence.depth_noise_m[frame]
        return np.where(known, residuals, 0.0) / noise, np.where(known[:, None], derivatives, 0.0) / noise

    def _add_expectations(self, state: FitState, slope: ndarray, block: ndarray) -> float:
        """Limits of joints, and the relaxed hand: diagonal in the angles."""
        angles = state.angles_rad
        beyond = (angles - np.clip(angles, LIMITS.low, LIMITS.high)) / self.config.beyond_limits_rad
        spread = np.full((15, 3), self.config.from_rest_rad)
        spread[:, 0] = self.config.twist_rad
        from_rest = (angles - self.rest_rad) / spread
        slope[ANGLES] += (beyond / self.config.beyond_limits_rad + from_rest / spread).ravel()
        curvature = (beyond != 0.0) / self.config.beyond_limits_rad**2 + 1.0 / spread**2
        block[np.arange(6, NUM_PARAMETERS), np.arange(6, NUM_PARAMETERS)] += curvature.ravel()
        return float(np.vdot(beyond, beyond) + np.vdot(from_rest, from_rest))

    def _add_motion(self, states: Sequence[FitState], slope: ndarray, blocks: list[ndarray]) -> float:
        """How the wrist changes its way, and how wrist and joints turn, from frame to frame."""
        if len(states) < 2:
            return 0.0
        steps_s = np.diff(self.evidence.times_s)
        R = np.stack([state.T_world_wrist[:3, :3] for state in states])
        cost = self._add_turns(R, np.stack([state.angles_rad.ravel() for state in states]), steps_s, slope, blocks)
        return cost + self._add_ways(R, np.stack([state.T_world_wrist[:3, 3] for state in states]), steps_s, slope, blocks)

    def _add_turns(self, R: ndarray, angles: ndarray, steps_s: ndarray, slope: ndarray, blocks: list[ndarray]) -> float:
        R_steps = np.swapaxes(R[:-1], 1, 2) @ R[1:]
        turns = np.stack([axis_angle_from_rotation(step) for step in R_steps])
        scales = np.concatenate([np.full(3, self.config.turn_rad_per_s), np.full(NUM_ANGLES, self.config.joint_rad_per_s)])
        scales = scales[None] * steps_s[:, None]
        residuals = np.concatenate([turns, np.diff(angles, axis=0)], axis=1) / scales
        rows = np.r_[0:3, 6:NUM_PARAMETERS]
        later = np.zeros((len(steps_s), len(rows), NUM_PARAMETERS))
        later[:, np.arange(len(rows)), rows] = 1.0 / scales
        earlier = -later
        earlier[:, :3, TURN] = -np.swapaxes(R_steps, 1, 2) / scales[:, :3, None]
        return _add(residuals, [earlier, later], slope, blocks)

    def _add_ways(self, R: ndarray, places: ndarray, steps_s: ndarray, slope: ndarray, blocks: list[ndarray]) -> float:
        """Change of velocity at every inner frame, against what the time around it allows."""
        if len(R) < 3:
            return 0.0
        before, after = steps_s[:-1, None], steps_s[1:, None]
        scale = self.config.acceleration_m_per_s2 * 0.5 * (before + after)
        residuals = (np.diff(places, axis=0)[1:] / after - np.diff(places, axis=0)[:-1] / before) / scale
        factors = (1.0 / before / scale, -(1.0 / before + 1.0 / after) / scale, 1.0 / after / scale)
        derivatives = []
        for offset, factor in enumerate(factors):
            part = np.zeros((len(residuals), 3, NUM_PARAMETERS))
            part[:, :, SHIFT] = factor[:, :, None] * R[offset : offset + len(residuals)]
            derivatives.append(part)
        return _add(residuals, derivatives, slope, blocks)


def _less_of_outliers(residuals: Float[ndarray, "n 3"], derivatives: Float[ndarray, "n 3 51"], outlier: float) -> tuple[ndarray, ndarray, float]:
    """Cauchy's weights, a point at once: u, v and depth of a wrong point are wrong together."""
    squared = np.einsum("ij,ij->i", residuals, residuals) / outlier**2
    weights = 1.0 / np.sqrt(1.0 + squared)
    cost = float(outlier**2 * np.log1p(squared).sum())
    return (weights[:, None] * residuals).ravel(), (weights[:, None, None] * derivatives).reshape(-1, NUM_PARAMETERS), cost


def _add(residuals: Float[ndarray, "n r"], derivatives: Sequence[Float[ndarray, "n r 51"]], slope: ndarray, blocks: list[ndarray]) -> float:
    """Adds residuals that depend on frames t, t + 1, ... by these derivatives; returns what they cost."""
    num = len(residuals)
    for first, by_first in enumerate(derivatives):
        slope[first : first + num] += np.einsum("tr,trp->tp", residuals, by_first)
        transposed = np.swapaxes(by_first, 1, 2)
        for second in range(first, len(derivatives)):
            blocks[second - first][first : first + num] += transposed @ derivatives[second]
    return float(np.vdot(residuals, residuals))

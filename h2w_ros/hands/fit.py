"""Hand poses from joints in space, frame after frame.

Each hand has a fitter: it keeps the last pose to start from, and knows how noisy its tracker is. That noise (what bones
of fixed length cannot explain) sets how much limits and expectations count beside the points: next to nothing for exact
joints, much for shaky ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import HandPose
from h2w_ros.hands.anatomy import NUM_FINGER_JOINTS
from h2w_ros.hands.calibrate import HandShape
from h2w_ros.hands.fit_problem import FitProblem, FitState, Solution, Weights, solve
from h2w_ros.hands.fit_start import start_state
from h2w_ros.hands.kinematics import ShapedHand, joint_angles, pose, rotation_vectors, shaped_hand
from h2w_ros.hands.model import HandModel
from h2w_ros.hands.skeleton import HandSkeleton

NS_PER_S = 1e9
# Directions that 21 points on bones of fixed length can show: the wrist's six and two a bone.
NUM_SHOWN = 36
# With fewer points a pose would be more guessed than seen.
LEAST_POINTS = 6
# A fit this many times as far from its points as usual has lost its hand.
LOST_NOISES = 3.0
# Steps that move no point by more than this share of the noise are not worth another.
STILL_NOISES = 0.1
# A first fit is repeated while it finds the noise larger than this many times what it was made with.
ENOUGH = 1.2
# Orientations further than 60 degrees from what the points show are not used.
AGREEING_COSINE = 0.5
# A point this far from the fit [m], and this many times as far as half of the points, is a glitch; so many are left out at most.
OUTLIER_M, OUTLIER_MEDIANS, MOST_OUTLIERS = 0.025, 4.0, 3
# A twist is hardly ever made: the muscles of a finger do not turn its bones about themselves.
TWIST = 0


@dataclass(frozen=True)
class FitConfig:
    """What a hand is expected to do, as standard deviations, and how long a fit may take.

    How far a joint goes beyond its limits; how far it is twisted, or bent and spread away from the relaxed hand; how
    wrong a tracker's orientations are; how fast joints turn. Then a tracker's noise: its bounds, what is assumed first,
    and the share of the old estimate that each frame keeps. Then steps: of a frame that follows another, of a round of
    a first frame, and rounds. A fit `lost_m` away from its points, or `longest_gap_s` after the last, starts anew.
    """

    beyond_limits_rad: float = 0.08
    twist_rad: float = 0.15
    from_rest_rad: float = 0.5
    orientation_rad: float = 0.05
    speed_rad_per_s: float = 8.0
    least_noise_m: float = 2e-4
    most_noise_m: float = 0.01
    first_noise_m: float = 5e-4
    noise_memory: float = 0.9
    max_steps: int = 6
    max_first_steps: int = 8
    first_rounds: int = 3
    lost_m: float = 0.004
    longest_gap_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("beyond_limits_rad", "twist_rad", "from_rest_rad", "orientation_rad", "speed_rad_per_s", "longest_gap_s", "lost_m"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0.0 < self.least_noise_m <= self.first_noise_m <= self.most_noise_m:
            raise ValueError(
                f"noise must satisfy 0 < least <= first <= most [m], got {self.least_noise_m}, {self.first_noise_m}, {self.most_noise_m}"
            )
        if not 0.0 <= self.noise_memory < 1.0:
            raise ValueError(f"noise_memory must be in [0, 1), got {self.noise_memory}")
        if min(self.max_steps, self.max_first_steps, self.first_rounds) < 1:
            raise ValueError(f"steps and rounds must be at least 1, got {self.max_steps}, {self.max_first_steps}, {self.first_rounds}")


@dataclass(frozen=True, eq=False)
class FittedHand:
    """A fit: the pose, the distance of every seen point that remains [m], and the steps it took."""

    hand: HandPose
    point_errors_m: Float[ndarray, "n"]
    num_steps: int

    @property
    def error_m(self) -> float:
        """The mean distance."""
        return float(self.point_errors_m.mean())


class HandFitter:
    """Fits one hand, frame after frame."""

    def __init__(self, model: HandModel, shape: HandShape | None = None, config: FitConfig | None = None) -> None:
        self.shape = shape or HandShape()
        self.config = config or FitConfig()
        self.hand: ShapedHand = shaped_hand(model, self.shape.betas)
        self.rest_rad = joint_angles(self.hand, model.pose_mean_rad.reshape(NUM_FINGER_JOINTS, 3))
        self.reset()

    def reset(self) -> None:
        """Forgets the last pose and the tracker's noise."""
        self.noise_m = self.config.first_noise_m
        self._last: tuple[int, FitState] | None = None

    def fit(self, skeleton: HandSkeleton, stamp_ns: int = 0) -> FittedHand:
        """The pose of this moment; ValueError when too little is seen, of the palm too where nothing came before, or for the other side."""
        if skeleton.side != self.hand.model.side:
            raise ValueError(f"a {self.hand.model.side} hand's fitter cannot fit a {skeleton.side} hand")
        if skeleton.is_seen.sum() < LEAST_POINTS:
            raise ValueError(f"a fit needs at least {LEAST_POINTS} of a hand's 21 points, got {skeleton.is_seen.sum()}")
        seen = skeleton.scaled(self.shape.scale)
        problem, solution = self._follow(seen, stamp_ns) or self._begin(seen)
        self._last = (stamp_ns, solution.state)
        share_seen = float(skeleton.weights[problem.seen].sum()) / len(skeleton.weights)
        angles = rotation_vectors(self.hand, solution.state.angles_rad).ravel()
        hand = HandPose(skeleton.side, solution.state.T_world_wrist, angles, self.shape.betas, skeleton.confidence * share_seen)
        return FittedHand(hand, solution.point_errors_m, solution.num_steps)

    def _begin(self, skeleton: HandSkeleton) -> tuple[FitProblem, Solution]:
        """From nothing: fit the points, see how large the noise is, fit again with that and with the orientations that agree."""
        self.noise_m = self.config.first_noise_m
        state, num_steps, seen = start_state(self.hand, skeleton, self.rest_rad), 0, skeleton.without_orientations()
        for _ in range(self.config.first_rounds):
            problem, solution = self._solved(FitProblem(self.hand, seen, self.weights()), state, self.config.max_first_steps)
            state, num_steps, noise_m = solution.state, num_steps + solution.num_steps, self.noise_m
            self._set_noise(noise_of(solution.point_errors_m))
            is_told_all = seen.is_turned.any() or not skeleton.is_turned.any()
            if self.noise_m < ENOUGH * noise_m and is_told_all:
                break
            seen = replace(self._agreeing(skeleton, state), weights=problem.skeleton.weights)
        return problem, solution._replace(num_steps=num_steps)

    def _follow(self, skeleton: HandSkeleton, stamp_ns: int) -> tuple[FitProblem, Solution] | None:
        """From the last pose; None when there is none, or when the hand jumped away from it."""
        following = self.following(skeleton, stamp_ns)
        if following is None:
            return None
        problem, solution = self._solved(*following, self.config.max_steps)
        noise_m = noise_of(solution.point_errors_m)
        if noise_m > max(self.config.lost_m, LOST_NOISES * self.noise_m):
            return None
        memory = self.config.noise_memory
        self._set_noise(np.sqrt(memory * self.noise_m**2 + (1.0 - memory) * noise_m**2))
        return problem, solution

    def _solved(self, problem: FitProblem, state: FitState, max_steps: int) -> tuple[FitProblem, Solution]:
        """The solution, again without single points that stay far from a hand that all others fit, and the problem that it solves."""
        solution = solve(problem, state, max_steps, STILL_NOISES * self.noise_m)
        for _ in range(MOST_OUTLIERS):
            worst = int(solution.point_errors_m.argmax())
            if solution.point_errors_m[worst] < max(OUTLIER_M, OUTLIER_MEDIANS * float(np.median(solution.point_errors_m))):
                break
            problem = replace(problem, skeleton=problem.skeleton.without_point(int(problem.seen[worst])))
            solution = solve(problem, solution.state, max_steps, STILL_NOISES * self.noise_m)
        return problem, solution

    def following(self, skeleton: HandSkeleton, stamp_ns: int) -> tuple[FitProblem, FitState] | None:
        """The problem of a moment after the last one, and where its steps begin; None without a recent last one."""
        if self._last is None or not 0 < stamp_ns - self._last[0] <= self.config.longest_gap_s * NS_PER_S:
            return None
        last_ns, state = self._last
        weights = self.weights(state.angles_rad, (stamp_ns - last_ns) / NS_PER_S)
        return FitProblem(self.hand, self._agreeing(skeleton, state), weights), state

    def _agreeing(self, skeleton: HandSkeleton, state: FitState) -> HandSkeleton:
        """Without the orientations that contradict a pose: a tracker's axes may not be what they are said to be."""
        if not skeleton.is_turned.any():
            return skeleton
        backs_world = (pose(self.hand, state.angles_rad).R_wrist_bone @ self.hand.backs[..., None])[..., 0] @ state.T_world_wrist[:3, :3].T
        with np.errstate(invalid="ignore"):
            agrees = np.einsum("ij,ij->i", backs_world, skeleton.R_world_joint[:, :, 1]) > AGREEING_COSINE
        return replace(skeleton, R_world_joint=np.where(agrees[:, None, None], skeleton.R_world_joint, np.nan))

    def weights(self, last_rad: Float[ndarray, "15 3"] | None = None, passed_s: float = 1.0) -> Weights:
        """Expectations around the relaxed hand, and around the last pose where there is one, as one."""
        config, noise_m = self.config, self.noise_m
        from_rest = np.full((NUM_FINGER_JOINTS, 3), noise_m / config.from_rest_rad)
        from_rest[:, TWIST] = noise_m / config.twist_rad
        orientation = noise_m / config.orientation_rad
        limit = noise_m / config.beyond_limits_rad
        if last_rad is None:
            return Weights(limit, from_rest, self.rest_rad, orientation)
        from_last = noise_m / (config.speed_rad_per_s * passed_s)
        total = from_rest**2 + from_last**2
        return Weights(limit, np.sqrt(total), (from_rest**2 * self.rest_rad + from_last**2 * last_rad) / total, orientation)

    def _set_noise(self, noise_m: float) -> None:
        self.noise_m = float(np.clip(noise_m, self.config.least_noise_m, self.config.most_noise_m))


def noise_of(point_errors_m: Float[ndarray, "n"]) -> float:
    """Standard deviation of a point's coordinate [m], by what remains of all points, allowing for what the fit took up."""
    return float(np.sqrt(point_errors_m @ point_errors_m / max(3 * len(point_errors_m) - NUM_SHOWN, 3)))

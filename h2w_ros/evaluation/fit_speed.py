"""How fast and how exact hands are fitted, beside SciPy's least squares on the same problems in the same run.

Times are those of this thread on its core: what else the machine does is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import least_squares

from h2w_ros.condition import SIDES
from h2w_ros.geometry import apply, rotation_from_axis_angle, transform
from h2w_ros.hands.anatomy import LIMITS
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.fit_problem import FitProblem, FitState, moved
from h2w_ros.hands.kinematics import pose, rotations_and_rates
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.hardware import describe

BEND = 2

Points = Float[ndarray, "21 3"]


@dataclass(frozen=True)
class FitPlan:
    """Both hands over so many frames at this rate; every n-th frame is given to SciPy too."""

    num_frames: int = 150
    rate_hz: float = 60.0
    noise_m: float = 0.005
    scipy_every: int = 10

    def __post_init__(self) -> None:
        if self.num_frames < 2 or self.scipy_every < 1 or self.rate_hz <= 0.0 or self.noise_m < 0.0:
            raise ValueError(f"a plan needs two frames or more, a positive rate and step, and noise of 0 or more, got {self}")


@dataclass
class _Record:
    """What one solver did, frame by frame."""

    times_ms: list[float] = field(default_factory=list)
    offsets_mm: list[Points] = field(default_factory=list)

    @property
    def error_mm(self) -> float:
        return float(np.linalg.norm(self.offsets_mm, axis=-1).mean())

    @property
    def shake_mm(self) -> float:
        """How far points move from frame to frame that should not."""
        return float(np.linalg.norm(np.diff(self.offsets_mm, axis=0), axis=-1).mean())


def measure_fit(plan: FitPlan, advanced: Callable[[int], object] = lambda _: None) -> dict[str, object]:
    """The numbers of `h2w bench --fit`; errors are mean distances of 21 points from where they truly are."""
    ours, beside, joints = _Record(), _Record(), _Record()
    rivals = {"scipy_lm_exact_jacobian": (_scipy_lm, _Record()), "scipy_default": (_scipy_default, _Record())}
    for side in SIDES:
        fitter = HandFitter(load_hand_model(side))
        for index, (truth, skeleton) in enumerate(_seen_hands(fitter, plan)):
            stamp_ns = round((index + 1) * 1e9 / plan.rate_hz)
            following = fitter.following(skeleton, stamp_ns)
            began = time.thread_time()
            fitted = fitter.fit(skeleton, stamp_ns)
            ours.times_ms.append(1e3 * (time.thread_time() - began))
            ours.offsets_mm.append(1e3 * (hand_joints_and_tips_world(fitter.hand.model, fitted.hand) - truth))
            joints.offsets_mm.append(1e3 * (skeleton.points_world - truth))
            if following is not None and index % plan.scipy_every == 0:
                beside.times_ms.append(ours.times_ms[-1])
                beside.offsets_mm.append(ours.offsets_mm[-1])
                for solver, record in rivals.values():
                    _race(solver, record, *following, truth)
            advanced(1)
    return _table(plan, ours, joints, beside, {name: record for name, (_, record) in rivals.items()})


def _table(plan: FitPlan, ours: _Record, joints: _Record, beside: _Record, rivals: dict[str, _Record]) -> dict[str, object]:
    table: dict[str, object] = {
        "hardware": describe(),
        "frames": len(ours.times_ms),
        "noise_mm": 1e3 * plan.noise_m,
        "fit_ms_p50": round(float(np.median(ours.times_ms)), 3),
        "fit_ms_p95": round(float(np.percentile(ours.times_ms, 95)), 3),
        "joints_error_mm": round(joints.error_mm, 3),
        "fit_error_mm": round(ours.error_mm, 3),
        "joints_shake_mm": round(joints.shake_mm, 3),
        "fit_shake_mm": round(ours.shake_mm, 3),
    }
    for name, record in rivals.items():
        time_ms = float(np.median(record.times_ms))
        table[name] = {
            "problems": len(record.times_ms),
            "ms_p50": round(time_ms, 2),
            "times_slower": round(time_ms / float(np.median(beside.times_ms)), 1),
            "error_mm": round(record.error_mm, 3),
            "our_error_mm": round(beside.error_mm, 3),
        }
    return table


def _seen_hands(fitter: HandFitter, plan: FitPlan) -> Iterator[tuple[Points, HandSkeleton]]:
    """True points and noisy ones of a hand that opens, closes, turns and travels."""
    rng = np.random.default_rng(SIDES.index(fitter.hand.model.side))
    middle, reach = (LIMITS.high + LIMITS.low) / 2, 0.6 * (LIMITS.high - LIMITS.low) / 2
    speeds, phases = rng.uniform(2.0, 6.0, (15, 1)), rng.uniform(0.0, 6.0, (15, 1))
    for time_s in np.arange(plan.num_frames) / plan.rate_hz:
        angles = (middle + reach * np.sin(speeds * time_s + phases)) * (np.arange(3) == BEND)
        R = rotation_from_axis_angle(np.array([2.0 * np.sin(time_s), 1.5 * np.cos(0.7 * time_s), 0.5 * time_s]))
        T_world_wrist = transform(R, np.array([0.3 * np.sin(2.0 * time_s), 0.2 * np.cos(1.5 * time_s), 0.5]))
        truth = apply(T_world_wrist, pose(fitter.hand, angles).points)
        yield truth, HandSkeleton(fitter.hand.model.side, truth + rng.normal(scale=plan.noise_m, size=truth.shape))


def _race(solver: Callable[[FitProblem, FitState], FitState], record: _Record, problem: FitProblem, start: FitState, truth: Points) -> None:
    began = time.thread_time()
    state = solver(problem, start)
    record.times_ms.append(1e3 * (time.thread_time() - began))
    record.offsets_mm.append(1e3 * (apply(state.T_world_wrist, pose(problem.hand, state.angles_rad).points) - truth))


def _scipy_default(problem: FitProblem, start: FitState) -> FitState:
    """Trust region with differences for derivatives: what one gets by writing residuals alone."""
    return moved(start, least_squares(lambda step: problem.all_residuals(moved(start, step)), np.zeros(51)).x)


def _scipy_lm(problem: FitProblem, start: FitState) -> FitState:
    """MINPACK's Levenberg-Marquardt with our derivatives."""
    result = least_squares(
        lambda step: problem.all_residuals(moved(start, step)), np.zeros(51), jac=lambda step: derivatives_after(problem, start, step), method="lm"
    )
    return moved(start, result.x)


def derivatives_after(problem: FitProblem, start: FitState, step: Float[ndarray, "51"]) -> Float[ndarray, "n 51"]:
    """Derivatives by a long step from one start, which SciPy wants; ours are by a short step from where the hand is."""
    here = problem.linearised(moved(start, step))
    penalties = np.zeros((2, 45, 51))
    penalties[:, np.arange(45), 6 + np.arange(45)] = here.penalty_slopes
    derivatives = np.concatenate([here.derivatives, penalties.reshape(90, 51)])
    R, rates = rotations_and_rates(step[None, :3])
    derivatives[:, :3] = derivatives[:, :3] @ rates[0]
    derivatives[:, 3:6] = derivatives[:, 3:6] @ R[0].T
    return derivatives

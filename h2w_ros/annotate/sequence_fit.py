"""Fits a hand to all frames of a stretch at once, in the camera's frame [m]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.sequence_problem import REACH, Evidence, Linearised, SequenceProblem
from h2w_ros.hands.fit_problem import NUM_PARAMETERS, FitState, moved

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1.0, 1e-4, 1e8
DAMPING_DOWN, DAMPING_UP = 0.3, 4.0
# A step that lowers the cost by less than this share is the last.
ENOUGH = 1e-4
# Longer stretches are fitted in pieces that share frames; what lies that far away changes nothing.
PIECE, SHARED = 256, 16


def fit_sequence(problem: SequenceProblem, start: Sequence[FitState]) -> list[FitState]:
    """The states of least cost from these on, one a frame; long stretches piece by piece."""
    states: list[FitState] = []
    for begin, stop in pieces(len(start)):
        part = SequenceProblem(problem.hand, problem.camera, problem.evidence.part(begin, stop), problem.rest_rad, problem.config)
        fitted = _solved(part, start[begin:stop])
        kept = begin + SHARED // 2 if begin else 0
        states[kept:] = fitted[kept - begin :]
    return states


def pieces(num_frames: int) -> list[tuple[int, int]]:
    """Parts of at most PIECE frames that share SHARED with the next."""
    starts = range(0, max(num_frames - SHARED, 1), PIECE - SHARED)
    return [(start, min(start + PIECE, num_frames)) for start in starts]


def _solved(problem: SequenceProblem, start: Sequence[FitState]) -> list[FitState]:
    """Damped Gauss-Newton steps; one that makes things worse is taken back and damped more."""
    states, damping = list(start), FIRST_DAMPING
    here = problem.linearised(states)
    for _ in range(problem.config.max_steps):
        step = banded_step(here, damping)
        after = [moved(state, change) for state, change in zip(states, step, strict=True)]
        there = problem.linearised(after)
        if not there.cost < here.cost:
            damping *= DAMPING_UP
            if damping > MOST_DAMPING:
                break
            continue
        gain = (here.cost - there.cost) / max(here.cost, 1e-12)
        states, here, damping = after, there, max(damping * DAMPING_DOWN, LEAST_DAMPING)
        if gain < ENOUGH:
            break
    return states


def banded_step(here: Linearised, damping: float) -> Float[ndarray, "T 51"]:
    """The step that solves the damped normal equations, by Cholesky within their band."""
    num_frames = len(here.slope)
    bandwidth = REACH * NUM_PARAMETERS + NUM_PARAMETERS - 1
    band = np.zeros((bandwidth + 1, num_frames * NUM_PARAMETERS))
    rows, columns = np.indices((NUM_PARAMETERS, NUM_PARAMETERS))
    for offset, block in enumerate(here.blocks):
        # Upper form: element (i, j) of the matrix stands at [bandwidth + i - j, j].
        is_upper = rows <= columns + offset * NUM_PARAMETERS
        row, column = rows[is_upper], columns[is_upper]
        at = np.arange(offset, offset + len(block))[:, None] * NUM_PARAMETERS + column
        band[np.broadcast_to(bandwidth + row - column - offset * NUM_PARAMETERS, at.shape), at] = block[:, row, column]
    band[bandwidth] += damping
    step = scipy.linalg.solveh_banded(band, -here.slope.ravel(), overwrite_ab=True, check_finite=False)
    return step.reshape(num_frames, NUM_PARAMETERS)


def no_evidence(times_s: Float[ndarray, "T"]) -> Evidence:
    """A stretch of which nothing was seen yet."""
    num = len(times_s)
    nothing = np.full(num, np.nan)
    return Evidence(times_s, np.full((num, 21, 2), np.nan), nothing, np.full((num, 3), np.nan), np.full((num, 21), np.nan), nothing.copy())

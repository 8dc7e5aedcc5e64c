"""A position that nobody can reach in time is not believed, unless it stays."""

from __future__ import annotations

import numpy as np
import pytest

from h2w_ros.leaps import NUM_TO_BELIEVE, LeapGuard, Step

PERIOD_NS = 10_000_000


def at(metres: float) -> np.ndarray:
    return np.array([metres, 0.0, 0.0])


def judged(positions_m: list[float], period_ns: int = PERIOD_NS) -> list[Step]:
    guard = LeapGuard()
    return [guard.judge(k * period_ns, at(position_m), 1.0) for k, position_m in enumerate(positions_m)]


def test_a_walk_is_no_leap_however_far_it_goes() -> None:
    assert set(judged([0.5 * k for k in range(50)])) == {Step.NEAR}


def test_one_leap_there_and_back_costs_one_sample() -> None:
    assert judged([0.0, 0.1, 5.0, 0.2, 0.3]) == [Step.NEAR, Step.NEAR, Step.LEAP, Step.NEAR, Step.NEAR]


def test_a_place_that_stays_is_believed_at_last() -> None:
    steps = judged([0.0] + [5.0 + 0.01 * k for k in range(8)])
    assert steps == [Step.NEAR] + [Step.LEAP] * (NUM_TO_BELIEVE - 1) + [Step.NEW_PLACE] + [Step.NEAR] * (8 - NUM_TO_BELIEVE)


def test_leaps_that_do_not_agree_are_never_believed() -> None:
    assert judged([0.0] + [5.0 * (-1) ** k * (k + 1) for k in range(20)])[1:] == [Step.LEAP] * 20


def test_after_a_long_gap_a_thing_may_be_farther_away() -> None:
    assert judged([0.0, 3.0], period_ns=1_000_000_000) == [Step.NEAR, Step.NEAR]
    assert judged([0.0, 5.0], period_ns=1_000_000_000) == [Step.NEAR, Step.LEAP]


@pytest.mark.parametrize("max_leap_m", [0.05, 4.0])
def test_the_limit_is_the_given_one(max_leap_m: float) -> None:
    guard = LeapGuard()
    assert [guard.judge(k, at(k * 1.01 * max_leap_m), max_leap_m) for k in range(2)] == [Step.NEAR, Step.LEAP]

"""Positions that jump farther than anything moves: one is a fault, several that agree are a new place."""

from __future__ import annotations

from enum import Enum

import numpy as np
from jaxtyping import Float
from numpy import ndarray

NS_PER_S = 1_000_000_000
# The limit is meant for samples this close in time; over longer gaps it grows with the gap.
LEAP_PERIOD_S = 0.25
# So many leaps in a row that agree with one another are believed.
NUM_TO_BELIEVE = 5

Place = tuple[int, Float[ndarray, "3"]]


class Step(Enum):
    """How a position follows those before it."""

    NEAR = "near"
    LEAP = "leap"
    NEW_PLACE = "new place"


class LeapGuard:
    """Judges one thing's positions in the order of their stamps."""

    def __init__(self) -> None:
        self._last: Place | None = None
        self._suspect: Place | None = None
        self._num_suspects = 0

    def judge(self, stamp_ns: int, position_m: Float[ndarray, "3"], max_leap_m: float) -> Step:
        """What this position is; a leap leaves the judgement of the next ones as it was."""
        here = (stamp_ns, position_m)
        if self._last is None or is_near(self._last, here, max_leap_m):
            self._last, self._suspect = here, None
            return Step.NEAR
        agrees = self._suspect is not None and is_near(self._suspect, here, max_leap_m)
        self._suspect, self._num_suspects = here, self._num_suspects + 1 if agrees else 1
        if self._num_suspects < NUM_TO_BELIEVE:
            return Step.LEAP
        self._last, self._suspect = here, None
        return Step.NEW_PLACE


def is_near(before: Place, here: Place, max_leap_m: float) -> bool:
    """Whether a thing can have come from one place to the other in time."""
    periods = max(1.0, (here[0] - before[0]) / (LEAP_PERIOD_S * NS_PER_S))
    return bool(np.linalg.norm(here[1] - before[1]) <= max_leap_m * periods)

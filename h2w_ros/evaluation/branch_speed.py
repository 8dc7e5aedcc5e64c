"""What several futures cost as one batch, against the same futures one after the other.

Both take turns block by block in one process, so that whatever else the machine does touches both alike. The batch is driven as predictions
are: what follows is drawn on a second thread while the network works. Single sessions, which are told one condition at a time, are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from h2w_ros.branches import Branches
from h2w_ros.condition import Condition
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.geometry import transform
from h2w_ros.session import Session


@dataclass(frozen=True)
class BranchPlan:
    """How many futures, how long the past that they share is, and over how many blocks the medians run."""

    num_candidates: int = 8
    num_past: int = 8
    num_blocks: int = 24

    def __post_init__(self) -> None:
        if min(self.num_candidates, self.num_past, self.num_blocks) < 1:
            raise ValueError(f"candidates, past and blocks must be positive, got {self}")


@dataclass(frozen=True)
class BranchReport:
    """Milliseconds: of one block of all futures, as one batch and one after the other; of the past, once; of branching."""

    batch_ms: list[float]
    singles_ms: list[float]
    past_ms: float
    branch_ms: float

    def table(self, plan: BranchPlan) -> dict[str, object]:
        """The numbers of `h2w bench --candidates`."""
        batch, singles = float(np.median(self.batch_ms)), float(np.median(self.singles_ms))
        num = plan.num_candidates
        whole_batch = self.past_ms + self.branch_ms + plan.num_blocks * batch
        whole_singles = num * self.past_ms + plan.num_blocks * singles
        return {
            "candidates": num,
            "block_ms_batch": round(batch, 2),
            "block_ms_singles": round(singles, 2),
            "batch_over_singles": round(batch / singles, 3),
            "past_ms": round(self.past_ms, 2),
            "branch_ms": round(self.branch_ms, 2),
            "batch_over_singles_with_past": round(whole_batch / whole_singles, 3),
        }


def measure_branches(
    generator: Generator,
    conditions: Sequence[Condition],
    plan: BranchPlan,
    advanced: Callable[[int], object] = lambda _: None,
    table_height_m: float | None = None,
) -> BranchReport:
    """One session with its branches, and a session a candidate, each fed the recording with hands moved a little aside."""
    needed = 1 + (plan.num_past + plan.num_blocks) * Session(generator).frames_per_block
    if len(conditions) < needed:
        raise ValueError(f"{plan.num_past} blocks of past and {plan.num_blocks} to predict need {needed} conditions, got {len(conditions)}")
    shared, *singles = (Session(generator, table_height_m=table_height_m) for _ in range(1 + plan.num_candidates))
    split = 1 + plan.num_past * shared.frames_per_block
    past_ms = [_timed_ms(partial(_run, session, conditions[:split])) for session in (shared, *singles)]
    branches: list[Branches] = []
    branch_ms = _timed_ms(lambda: branches.append(shared.branch(plan.num_candidates)))
    batch_ms, singles_ms = [], []
    futures = [[aside(moment, number) for number in range(plan.num_candidates)] for moment in conditions[split:needed]]
    for first in range(0, len(futures), shared.frames_per_block):
        stop = first + shared.frames_per_block
        batch_ms.append(_timed_ms(partial(_run_together, branches[0], futures[first : stop + 1], shared.frames_per_block)))
        singles_ms.append(_timed_ms(partial(_run_all, singles, futures[first:stop])))
        advanced(1)
    return BranchReport(batch_ms, singles_ms, float(np.median(past_ms)), branch_ms)


def aside(condition: Condition, number: int) -> Condition:
    """The condition with its hands `number` centimetres to the right."""
    way = transform(np.eye(3), np.array([0.01 * number, 0.0, 0.0]))
    return replace(condition, hands=tuple(replace(hand, T_world_wrist=way @ hand.T_world_wrist) for hand in condition.hands))


def _run_together(branches: Branches, futures: Sequence[Sequence[Condition]], num_frames: int) -> None:
    """A block as predictions push it: what follows is drawn while the network works."""
    for frame in range(num_frames):
        branches.push(futures[frame], futures[frame + 1] if frame + 1 < len(futures) else None)
    branches.settle()


def _run_all(sessions: Sequence[Session], futures: Sequence[Sequence[Condition]]) -> None:
    for session, future in zip(sessions, zip(*futures, strict=True), strict=True):
        _run(session, future)


def _run(session: Session, conditions: Sequence[Condition]) -> None:
    for condition in conditions:
        session.push(condition)
    session.settle()


def _timed_ms(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began_s)

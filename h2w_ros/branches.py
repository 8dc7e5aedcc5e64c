"""Several futures of one session as one batch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Condition
from h2w_ros.conditioning import ConditionDrawer, Surroundings
from h2w_ros.generator.branches import StreamBranches
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.network_process import RemoteBranches


@dataclass(frozen=True, eq=False)
class BranchedBlock:
    """What was asked and answered, at the generator's size: C candidates, S seeds, T pictures."""

    hands: UInt8[ndarray, "C T H W 3"]
    """The hand renders that the network was shown."""
    pictures: UInt8[ndarray, "C S T H W 3"]


class Branches:
    """Candidates that go on where a session was, each once a seed, and advance together.

    Like a session it is not thread-safe; it may be driven by another thread than the session it comes from. Who knows what comes next
    says so, and has it drawn while the network works.
    """

    def __init__(
        self, stream: StreamBranches | RemoteBranches, drawer: ConditionDrawer, num_candidates: int, frames_per_block: int, rate_hz: float
    ) -> None:
        self.num_candidates, self.frames_per_block, self.rate_hz = num_candidates, frames_per_block, rate_hz
        self._stream = stream
        self._drawers = [drawer.branch()] * num_candidates  # one for all, for as long as all look from one place
        self._so_far = [drawer.so_far.branch() for _ in range(num_candidates)]
        self._pending: list[list[DrawnCondition]] = []
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._ahead: tuple[Sequence[Condition], Future[list[DrawnCondition]]] | None = None

    def push(self, conditions: Sequence[Condition], following: Sequence[Condition] | None = None) -> BranchedBlock | None:
        """The block that these conditions, one a candidate, complete; None while it is filling up. `following` must be pushed next."""
        self._pending.append(self._drawn(conditions))
        if following is not None:
            self._ahead = following, self._thread.submit(self._draw, following)
        if len(self._pending) < self.frames_per_block:
            return None
        blocks, self._pending = list(zip(*self._pending, strict=True)), []
        hands = np.stack([np.stack([drawn.hands for drawn in block]) for block in blocks])
        return BranchedBlock(hands, self._stream.step(blocks))

    def settle(self) -> None:
        """Waits until what follows is drawn."""
        if self._ahead is not None:
            wait([self._ahead[1]])

    def _drawn(self, conditions: Sequence[Condition]) -> list[DrawnCondition]:
        """What was drawn ahead, or is drawn now."""
        if self._ahead is None:
            return self._draw(conditions)
        told, drawn = self._ahead
        if len(told) != len(conditions) or not all(map(operator.is_, told, conditions)):
            raise ValueError("what is pushed must be what the push before said would follow")
        self._ahead = None
        return drawn.result()

    def _draw(self, conditions: Sequence[Condition]) -> list[DrawnCondition]:
        """What candidates share is drawn once: those that have looked from the same places share rays and static scene."""
        if len(conditions) != self.num_candidates:
            raise ValueError(f"one condition for each of {self.num_candidates} candidates goes on at once, got {len(conditions)}")
        looks: dict[tuple[object, ...], tuple[ConditionDrawer, Surroundings]] = {}
        drawn = []
        for index, condition in enumerate(conditions):
            before = self._drawers[index]
            look = (id(before), condition.camera, condition.T_world_camera.tobytes(), id(condition.static_render))
            if look not in looks:
                drawer = before.branch()
                looks[look] = drawer, drawer.surroundings(condition)
            self._drawers[index], around = looks[look]
            drawn.append(self._drawers[index].draw_within(around, condition, self._so_far[index]))
        return drawn

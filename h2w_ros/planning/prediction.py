"""The generator's answer to a planner: every candidate's pictures, block by block, until all is done or somebody stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from h2w_ros.branches import BranchedBlock, Branches
from h2w_ros.condition import Image
from h2w_ros.planning.question import Candidate, Question
from h2w_ros.session import Session


@dataclass(frozen=True, eq=False)
class Future:
    """What was predicted for one candidate, at the generator's size: S seeds, T pictures after the one it began from."""

    conditions: Candidate
    """The T moments that the pictures answer."""
    start: Image
    start_hands: Bool[ndarray, "H W"]
    """Where the hands were drawn for the start."""
    hands: Bool[ndarray, "T H W"]
    """Where the hands were drawn for each picture: where they are asked to be."""
    pictures: UInt8[ndarray, "S T H W 3"]
    goal: Image | None = None


class Prediction:
    """An answer that grows. `stopped` says why it ended early; empty while it goes on, and when it is complete."""

    def __init__(self, question: Question, branches: Branches, start: Image, start_hands: Image, goal: Image | None) -> None:
        if question.num_frames % branches.frames_per_block:
            got = f"{question.num_frames} moments to predict"
            raise ValueError(f"the generator answers in blocks of {branches.frames_per_block}: ask for a multiple of that, got {got}")
        self.question, self.start = question, start
        self.stopped = ""
        self.rate_hz = branches.rate_hz
        self._branches, self._start_hands, self._goal = branches, start_hands, goal
        self._blocks: list[BranchedBlock] = []
        self._moments = zip(*(candidate[1:] for candidate in question.candidates), strict=True)
        self._following = next(self._moments, None)

    @property
    def num_frames(self) -> int:
        """Pictures a candidate and seed so far."""
        return len(self._blocks) * self._branches.frames_per_block

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for is there."""
        return self.num_frames == self.question.num_frames

    @property
    def newest(self) -> UInt8[ndarray, "C S T H W 3"]:
        """The last block's pictures."""
        return self._blocks[-1].pictures

    def advance(self, ahead: bool = True) -> BranchedBlock:
        """Predicts the next block of all candidates; what follows is drawn meanwhile, unless another core is to be left alone."""
        for _ in range(self._branches.frames_per_block):
            moments, self._following = self._following, next(self._moments, None)
            if moments is None:
                raise ValueError("the prediction is complete")
            block = self._branches.push(moments, self._following if ahead else None)
        assert block is not None
        self._blocks.append(block)
        return block

    def futures(self) -> list[Future]:
        """What is there, candidate by candidate; ValueError before the first block."""
        if not self._blocks:
            raise ValueError("nothing has been predicted yet")
        hands = np.concatenate([block.hands for block in self._blocks], axis=1).any(axis=-1)
        pictures = np.concatenate([block.pictures for block in self._blocks], axis=2)
        start_hands = np.asarray(self._start_hands.any(axis=-1))
        return [
            Future(candidate[1 : 1 + self.num_frames], self.start, start_hands, hands[i], pictures[i], self._goal)
            for i, candidate in enumerate(self.question.candidates)
        ]


def begin(session: Session, question: Question, image: Image | None = None) -> Prediction:
    """A prediction from a picture; None takes that of the question's first moment. The session is reset for it.

    The context up to now is computed once, whatever the number of candidates.
    """
    session.reset(image, question.seeds[0])
    reference = session.push(question.start)[0]
    return go_on(session, question, reference.image)


def go_on(session: Session, question: Question, newest: Image) -> Prediction:
    """A prediction from where a session is now, with all that it remembers; `newest` is its last frame. The session stays as it is."""
    branches = session.branch(len(question.candidates), question.seeds)
    goal = None if question.goal is None else session.resized(question.goal)
    return Prediction(question, branches, newest, session.hand_render(question.start), goal)


def run(
    prediction: Prediction,
    why_stop: Callable[[Prediction], str] = lambda _: "",
    advanced: Callable[[Prediction], object] = lambda _: None,
    may_draw_ahead: Callable[[], bool] = lambda: True,
) -> None:
    """Predicts block after block. `why_stop`, asked before every block, ends it with the reason that it gives; `advanced` hears of each;
    `may_draw_ahead` says whether there is a core to spare for that."""
    while not prediction.is_complete:
        prediction.stopped = why_stop(prediction)
        if prediction.stopped:
            return
        prediction.advance(may_draw_ahead())
        advanced(prediction)


class Deadline:
    """Stops a prediction before the block that would, if it takes as long as the longest so far, end too late."""

    def __init__(self, seconds: float, now_s: Callable[[], float] = time.monotonic, began_s: float | None = None) -> None:
        """The time runs from `began_s` on this clock, or from now."""
        if not seconds > 0:
            raise ValueError(f"a deadline must be in the future, got {seconds} s from now; leave it out to wait for everything")
        self._seconds, self._now_s = seconds, now_s
        self._last_s = now_s()
        self._began_s = self._last_s if began_s is None else began_s
        self._longest_s = 0.0

    def why_stop(self, prediction: Prediction) -> str:
        """Asked before every block."""
        now_s = self._now_s()
        if prediction.num_frames:
            self._longest_s = max(self._longest_s, now_s - self._last_s)
        self._last_s = now_s
        if now_s + self._longest_s - self._began_s <= self._seconds:
            return ""
        return f"the deadline of {self._seconds:g} s came after {prediction.num_frames} of {prediction.question.num_frames} pictures"

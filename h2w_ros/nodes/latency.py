"""From input to pixel: how long after its inputs a predicted frame arrives, seen from outside the nodes."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """A message of this header stamp that was sent or arrived at this time of the monotonic clock [s]."""

    stamp_ns: int
    time_s: float


class SentInputs:
    """When each input was sent; a frame's inputs are complete with the first message of every stream at or after its stamp."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Event]] = defaultdict(list)

    def add(self, stream: str, event: Event) -> None:
        """Notes one message; stamps of a stream grow."""
        self._streams[stream].append(event)

    def completed_s(self, stamp_ns: int) -> float | None:
        """When the last message that a frame of this stamp needs was sent; None when a stream never got so far."""
        firsts = [self._first(events, stamp_ns) for events in self._streams.values()]
        known = [event.time_s for event in firsts if event is not None]
        return max(known) if known and len(known) == len(firsts) else None

    @staticmethod
    def _first(events: Sequence[Event], stamp_ns: int) -> Event | None:
        place = bisect_left(events, stamp_ns, key=lambda event: event.stamp_ns)
        return events[place] if place < len(events) else None


def latencies_ms(inputs: SentInputs, answers: Iterable[Event]) -> list[float]:
    """From the sending of the last needed input to the arrival of each frame [ms]."""
    pairs = [(inputs.completed_s(answer.stamp_ns), answer.time_s) for answer in answers]
    return [(arrived_s - sent_s) * 1e3 for sent_s, arrived_s in pairs if sent_s is not None]


def percentile_ms(values_ms: Sequence[float], percent: float) -> float:
    """A percentile; nan when there is nothing."""
    return float(np.percentile(values_ms, percent)) if values_ms else float("nan")

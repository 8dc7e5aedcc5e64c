"""What a soak run does to the graph, and when it counts as failed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NODES = ("tracker_bridge", "conditioner", "generator", "recorder")
# What happens to messages on their way; each lasts a while.
DISTURBANCES = ("drop", "reorder", "burst", "broken", "clock_jump")
# What happens to processes; only in the first half of a run, so that the second half's processes live long enough to show a leak.
ACCIDENTS = (*(f"kill_{name}" for name in NODES), "full_disk")
FAULTS = (*DISTURBANCES, *ACCIDENTS)


@dataclass(frozen=True)
class SoakConfig:
    """How long, with what, and the limits that hold throughout; without a domain it is one of its own."""

    out: Path
    minutes: float = 3.0
    model: str = "tiny"
    seed: int = 0
    domain: int | None = None
    faults: tuple[str, ...] = FAULTS
    fault_s: float = 4.0
    pause_s: float = 3.0
    max_latency_s: float = 5.0
    max_recovery_s: float = 60.0
    max_growth_mb: float = 24.0
    max_new_files: int = 4
    max_new_threads: int = 2

    def __post_init__(self) -> None:
        strangers = sorted(set(self.faults) - set(FAULTS))
        if strangers:
            raise ValueError(f"faults must be among {', '.join(FAULTS)}; got {', '.join(strangers)}")
        if not 0.0 < self.minutes <= 10_000.0:
            raise ValueError(f"minutes must be in (0, 10000], got {self.minutes}")
        if min(self.fault_s, self.pause_s, self.max_latency_s, self.max_recovery_s) <= 0.0:
            raise ValueError("fault_s, pause_s, max_latency_s and max_recovery_s must be positive")

    @property
    def duration_s(self) -> float:
        """How long faults are injected [s]."""
        return 60.0 * self.minutes


def fault_sequence(faults: tuple[str, ...], seed: int) -> Iterator[str]:
    """Endless; every fault comes once in each round, in an order of its own."""
    rng = random.Random(seed)
    while faults:
        yield from rng.sample(faults, len(faults))

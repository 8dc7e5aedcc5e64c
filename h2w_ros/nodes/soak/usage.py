"""What a process holds, second by second, and whether that grows."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# On a busy machine a model takes most of a minute to load and warm; what a process takes later is growth.
SETTLE_S = 60.0
# Shorter lives say nothing about growth.
SHORTEST_S = 60.0


@dataclass(frozen=True)
class Usage:
    """Resident memory [MB], open files, threads, and processor time so far [s] of a process and its children, at a moment [s, monotonic]."""

    time_s: float
    memory_mb: float
    files: int
    threads: int
    processor_s: float


@dataclass(frozen=True)
class Growth:
    """What a process took between the first and the last quarter of its settled life (medians), and how busy it was."""

    lived_s: float
    memory_mb: float
    files: int
    threads: int
    resident_mb: float
    cores: float


def usage(pid: int) -> Usage | None:
    """What the process holds now, with the processes that it has started, such as its network's; None when it is gone."""
    own = _held(pid)
    if own is None:
        return None
    family = [own, *filter(None, map(usage, _children(pid)))]
    summed = {name: sum(getattr(each, name) for each in family) for name in ("memory_mb", "files", "threads", "processor_s")}
    return Usage(own.time_s, **summed)


def _held(pid: int) -> Usage | None:
    """What this process alone holds."""
    folder = Path("/proc") / str(pid)
    try:
        pages = int((folder / "statm").read_text().split()[1])
        # The name of the program may hold blanks; what follows its closing bracket has fixed places.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(folder / "fd"))  # noqa: PTH208  names alone, and quickly
    except (OSError, IndexError):
        return None
    processor_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return Usage(time.monotonic(), pages * resource.getpagesize() / 1e6, files, int(fields[17]), processor_s)


def _children(pid: int) -> list[int]:
    """Processes that any thread of this one has started."""
    found: list[int] = []
    for task in (Path("/proc") / str(pid) / "task").glob("*"):
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def growth(life: Sequence[Usage]) -> Growth | None:
    """How much a process grew once it had settled; None when it did not live long enough to say."""
    settled = [one for one in life if one.time_s - life[0].time_s >= SETTLE_S]
    if not settled or settled[-1].time_s - settled[0].time_s < SHORTEST_S:
        return None
    quarter = max(1, len(settled) // 4)
    first, last = settled[:quarter], settled[-quarter:]

    def grown(name: str) -> float:
        medians = [float(np.median([getattr(one, name) for one in part])) for part in (first, last)]
        return medians[1] - medians[0]

    lived_s = settled[-1].time_s - settled[0].time_s
    cores = (settled[-1].processor_s - settled[0].processor_s) / lived_s
    return Growth(lived_s, grown("memory_mb"), round(grown("files")), round(grown("threads")), settled[-1].memory_mb, cores)

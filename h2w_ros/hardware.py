"""What a measurement ran on; numbers without it say nothing."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path


def share_cores() -> None:
    """One torch thread a process, and threads that sleep while they wait; call it before torch is imported.

    Waiting threads spin by default, which beside other processes on few cores makes a 7 ms forward take half a second. And a
    network as small as `tiny` is 1.5 times as fast on one thread as on two (`h2w bench --threads 2`). $OMP_NUM_THREADS,
    `--threads` and the generator's `num_threads` say otherwise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def describe() -> str:
    """Processor, the cores this process may use, memory, and the GPU where there is one."""
    parts = [_processor(), f"{len(os.sched_getaffinity(0))} cores", f"{_memory_gib():.0f} GiB", *_gpus()]
    return ", ".join(parts)


def resident_mb() -> float:
    """Memory that this process holds now [MB]; where the system does not tell, the most it ever held."""
    pages = _lines("/proc/self/statm")
    if pages:
        return int(pages[0].split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def _gpus() -> list[str]:
    driver = Path("/proc/driver/nvidia/gpus")
    folders = sorted(driver.iterdir()) if driver.is_dir() else []
    return [_model(folder) for folder in folders]


def _model(folder: Path) -> str:
    names = [line.partition(":")[2].strip() for line in _lines(folder / "information") if line.startswith("Model")]
    return names[0] if names else "NVIDIA GPU"


def _lines(path: str | Path) -> list[str]:
    file = Path(path)
    return file.read_text(errors="replace").splitlines() if file.is_file() else []

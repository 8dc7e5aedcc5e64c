"""Simulated episodes with ground truth on disk, one file each, for the small networks that learn from single pictures and motions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from h2w_ros.condition import Camera
from h2w_ros.training.cache import VALIDATION_EVERY
from h2w_ros.world.dataset import simulate_many
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import WorldSpec

Arrays = dict[str, np.ndarray]


def simulate_files(folder: Path, seeds: range, spec: WorldSpec, workers: int, arrays_of: Callable[[WorldEpisode], Arrays]) -> list[Path]:
    """Fills `folder` with SEED.npz files of these seeds; those already there are kept. All the files that it then holds, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not (folder / f"{seed}.npz").exists()]
    for seed, episode in tqdm(simulate_many(missing, spec, workers), total=len(missing), desc="simulate", unit="episode", disable=None):
        part = folder / f"{seed}.part.npz"
        np.savez(part, **cast(dict[str, Any], arrays_of(episode)))  # NumPy's stubs take the names for options
        part.rename(folder / f"{seed}.npz")
    return files_of(folder)


def seeds_from(first: int, episodes: int, end: int, whose: str) -> range:
    """So many seeds; ValueError where they would run into those of others, which begin at `end`."""
    if not 0 < episodes <= end - first:
        raise ValueError(f"episodes must be in 1..{end - first}, or they run into {whose} seeds, got {episodes}")
    return range(first, first + episodes)


def files_of(folder: Path) -> list[Path]:
    """The finished files of a folder, in order of seed."""
    return sorted((path for path in folder.glob("*.npz") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def taught_and_kept_back(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files to learn from, and those that are kept back to test with."""
    kept_back = [path for path in files if int(path.stem) % VALIDATION_EVERY == VALIDATION_EVERY - 1]
    return [path for path in files if path not in set(kept_back)], kept_back


def camera_of(numbers: np.ndarray) -> Camera:
    """A camera from its fields in order, as files hold it."""
    width_px, height_px, *focal_and_centre = numbers.tolist()
    return Camera(int(width_px), int(height_px), *focal_and_centre)

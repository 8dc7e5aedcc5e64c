"""How fast clips come out of episodes when they are asked for in any order, as training asks for them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import write_episode
from h2w_ros.geometry import transform


@dataclass(frozen=True)
class ClipPlan:
    """What is measured. `processes`: each on a core of its own, as data loaders are."""

    num_clips: int = 500
    clip_frames: int = 33
    height_px: int = 192
    width_px: int = 256
    processes: int = 2
    num_episodes: int = 4
    episode_frames: int = 320

    def __post_init__(self) -> None:
        if min(self.num_clips, self.processes, self.num_episodes) < 1:
            raise ValueError(f"clips, processes and episodes must number at least 1, got {self.num_clips}, {self.processes}, {self.num_episodes}")
        if not 1 <= self.clip_frames <= self.episode_frames:
            raise ValueError(f"a clip must fit into an episode of {self.episode_frames} frames, got {self.clip_frames}")


def measure_clips(plan: ClipPlan, folder: Path, advanced: Callable[[], object] = lambda: None) -> dict[str, object]:
    """Writes episodes of moving textures into `folder`, then reads clips of them at random places."""
    episodes = [folder / f"episode{index}" for index in range(plan.num_episodes)]
    for index, path in enumerate(episodes):
        write_episode(path, _moments(plan, index), 16.0)
    rng = np.random.default_rng(0)
    wanted = [(episodes[rng.integers(len(episodes))], int(rng.integers(plan.episode_frames - plan.clip_frames + 1))) for _ in range(plan.num_clips)]
    with multiprocessing.get_context("spawn").Pool(plan.processes) as pool:
        pool.map(_nothing, range(plan.processes), chunksize=1)  # interpreters start before the clock does
        began_s = time.perf_counter()
        cpu_s = 0.0
        for spent_s in pool.imap_unordered(partial(_cpu_seconds, plan.clip_frames), wanted, chunksize=4):
            cpu_s += spent_s
            advanced()
        seconds = time.perf_counter() - began_s
    return {
        "clips": plan.num_clips,
        "frames": plan.clip_frames,
        "size": f"{plan.height_px}x{plan.width_px}",
        "processes": plan.processes,
        "clips_a_minute": round(60 * plan.num_clips / seconds),
        "cpu_ms_a_clip": round(1e3 * cpu_s / plan.num_clips, 1),
    }


def read_clip(num_frames: int, place: tuple[Path, int]) -> int:
    """Reads a clip with poses, hands and pictures, opening its episode anew; its number of frames."""
    path, start = place
    return sum(condition.image is not None for condition in open_recording(path).conditions(start, start + num_frames))


def _cpu_seconds(num_frames: int, place: tuple[Path, int]) -> float:
    """What a clip costs this process, whatever else the machine does."""
    began_s = time.process_time()
    read_clip(num_frames, place)
    return time.process_time() - began_s


def _nothing(_: int) -> None:
    """Imports this module in a worker."""


def _moments(plan: ClipPlan, seed: int) -> Iterator[Condition]:
    """A camera that passes along a picture with as much detail as real ones have."""
    rng = np.random.default_rng(seed)
    height_px, width_px = plan.height_px, plan.width_px
    coarse = rng.integers(0, 256, (height_px // 8, (width_px + 4 * plan.episode_frames) // 8, 3), dtype=np.uint8)
    wall = cv2.resize(coarse, (width_px + 4 * plan.episode_frames, height_px), interpolation=cv2.INTER_CUBIC)
    camera = Camera(width_px, height_px, 200.0, 200.0, width_px / 2, height_px / 2)
    hand = HandPose("right", transform(np.eye(3), np.array([0.0, 0.0, 0.5])), np.zeros(45), np.zeros(10))
    for index in range(plan.episode_frames):
        image = np.ascontiguousarray(wall[:, 4 * index : 4 * index + width_px])
        yield Condition(round((index + 1) * 62.5e6), camera, np.eye(4), (hand,), image=image)

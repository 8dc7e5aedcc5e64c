"""How fast a generator streams, whether that lasts, and what the cache is worth.

A young and an old session take turns in one process, so that whatever else the machine does touches both alike.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from h2w_ros.camera import plucker_rays
from h2w_ros.condition import Camera, Condition, HandPose, Side
from h2w_ros.generator.attention import causal_mask
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.generator.schedule import block_steps
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import transform
from h2w_ros.hands.render import HandRenderer
from h2w_ros.hardware import describe, resident_mb
from h2w_ros.session import Session


@dataclass(frozen=True)
class SpeedPlan:
    """Which blocks are compared, and over how many the medians run."""

    young_block: int = 50
    old_block: int = 2000
    num_samples: int = 150

    def __post_init__(self) -> None:
        if not 0 < self.young_block < self.old_block or self.num_samples < 1:
            raise ValueError(f"blocks must satisfy 0 < young < old and samples be positive, got {self}")

    @property
    def num_blocks(self) -> int:
        """Blocks that are streamed before the samples."""
        return self.old_block + self.young_block


@dataclass(frozen=True)
class SpeedReport:
    """Milliseconds of a block from its last condition until the context is ready for the next; of its pixels alone; memory."""

    block_ms_young: list[float]
    block_ms_old: list[float]
    pixel_ms: list[float]
    stages_ms: dict[str, float]
    rss_mb_young: float
    rss_mb_old: float
    cached_speedup: float


def measure_speed(
    generator: Generator,
    conditions: Sequence[Condition],
    plan: SpeedPlan,
    advanced: Callable[[int], object] = lambda _: None,
    table_height_m: float | None = None,
) -> SpeedReport:
    """Runs one session to `old_block`, another to `young_block`, then lets them take turns. `advanced` hears of blocks done."""
    old, young = (_Runner(generator, conditions, table_height_m) for _ in range(2))
    rss_young = _advance(old, plan.young_block, advanced)
    rss_old = _advance(old, plan.old_block - plan.young_block, advanced)
    _advance(young, plan.young_block, advanced)
    samples = [(young.block(), old.block()) for _ in range(plan.num_samples)]
    stages = {name: float(np.median([s.stages_ms.get(name, 0.0) for pair in samples for s in pair])) for name in samples[0][0].stages_ms}
    return SpeedReport(
        block_ms_young=[first.block_ms for first, _ in samples],
        block_ms_old=[second.block_ms for _, second in samples],
        pixel_ms=[sample.pixel_ms for pair in samples for sample in pair],
        stages_ms=stages,
        rss_mb_young=rss_young,
        rss_mb_old=rss_old,
        cached_speedup=cached_speedup(generator),
    )


def speed_table(config: GeneratorConfig, plan: SpeedPlan, speed: SpeedReport) -> dict[str, object]:
    """The report's numbers under the names that `h2w bench` prints, in the order they are read."""
    blocks = [*speed.block_ms_young, *speed.block_ms_old]
    fps = 1e3 * config.rollout.latents_per_block * config.codec.temporal_stride / float(np.median(blocks))
    return {
        "model": config.name,
        "hardware": describe(),
        "fps": round(fps, 2),
        "realtime_factor": round(fps / config.rate_hz, 3),
        "pixel_ms_p50": round(float(np.median(speed.pixel_ms)), 2),
        "block_ms_p50": round(float(np.median(blocks)), 2),
        "block_ms_p95": round(float(np.percentile(blocks, 95)), 2),
        f"block_ms_at_{plan.young_block}": round(float(np.median(speed.block_ms_young)), 2),
        f"block_ms_at_{plan.old_block}": round(float(np.median(speed.block_ms_old)), 2),
        f"rss_mb_at_{plan.young_block}": round(speed.rss_mb_young, 1),
        f"rss_mb_at_{plan.old_block}": round(speed.rss_mb_old, 1),
        "cached_speedup": round(speed.cached_speedup, 2),
        "stages_ms": {name: round(value, 2) for name, value in speed.stages_ms.items()},
    }


@dataclass(frozen=True)
class _Sample:
    block_ms: float
    pixel_ms: float
    stages_ms: dict[str, float]


class _Runner:
    """One session that is fed forwards and backwards through the same conditions, so that nothing ever jumps."""

    def __init__(self, generator: Generator, conditions: Sequence[Condition], table_height_m: float | None) -> None:
        self._session = Session(generator, table_height_m=table_height_m)
        self._conditions = _there_and_back(conditions, generator.config.rate_hz)
        self._session.push(next(self._conditions))

    def block(self) -> _Sample:
        """Pushes a block's conditions and settles."""
        waiting = [next(self._conditions) for _ in range(self._session.frames_per_block)]
        for condition in waiting[:-1]:
            self._session.push(condition)
        began = time.perf_counter()
        self._session.push(waiting[-1])
        seen = time.perf_counter()
        self._session.settle()
        return _Sample(1e3 * (time.perf_counter() - began), 1e3 * (seen - began), self._session.stages_ms)


def _advance(runner: _Runner, num_blocks: int, advanced: Callable[[int], object]) -> float:
    """Runs this many blocks; memory afterwards [MB]."""
    for _ in range(num_blocks):
        runner.block()
        advanced(1)
    return resident_mb()


def _there_and_back(conditions: Sequence[Condition], rate_hz: float) -> Iterator[Condition]:
    """Endless conditions on one clock."""
    way = [*conditions, *conditions[-2:0:-1]]
    for index, condition in enumerate(itertools.cycle(way)):
        yield replace(condition, stamp_ns=round(index * 1e9 / rate_hz))


@torch.inference_mode()
def cached_speedup(generator: Generator, repeats: int = 5) -> float:
    """What a block's network calls would take over the whole window without a cache, over what they take with it; medians.

    A silent network, which is never computed otherwise, is computed here.
    """
    config, transformer = generator.config, copy.copy(generator.transformer)
    transformer.is_silent = False
    rollout = Rollout(transformer, config.rollout, text=generator.text)
    rollout.start(torch.randn(1, config.codec.latent_channels, 1, *config.latent_size), _random_conditions(generator, 1))
    block = _random_conditions(generator, config.rollout.latents_per_block)
    for _ in range(config.rollout.capacity):
        _generate_and_commit(rollout, block)
    num_calls = len(block_steps(config.rollout, rollout.num_blocks)) + config.rollout.commit
    pairs = [(_seconds(lambda: _generate_and_commit(rollout, block)), num_calls * _seconds(_uncached(rollout))) for _ in range(repeats)]
    cached, uncached = np.median(pairs, axis=0)
    return float(uncached / cached)


def condition_times_ms(height_px: int = 480, width_px: int = 672, repeats: int = 60) -> dict[str, float]:
    """Median time to draw two hands, and to make one frame's rays, at the release's picture size."""
    camera = Camera(width_px, height_px, 0.85 * width_px, 0.85 * width_px, width_px / 2, height_px / 2)
    renderer = HandRenderer()
    here = np.eye(4)
    places: dict[Side, float] = {"left": -0.1, "right": 0.1}
    hands = [HandPose(side, transform(np.eye(3), np.array([x, 0.0, 0.45])), np.zeros(45), np.zeros(10)) for side, x in places.items()]
    calls = {"hand_render": lambda: renderer.render(hands, camera, here), "plucker_rays": lambda: plucker_rays(camera, here)}
    return {name: 1e3 * float(np.median([_seconds(call) for _ in range(repeats)])) for name, call in calls.items()}


def _generate_and_commit(rollout: Rollout, block: BlockConditions) -> None:
    rollout.generate(block)
    rollout.commit()


def _uncached(rollout: Rollout) -> Callable[[], object]:
    """One network call over everything that the current block sees."""
    config, transformer = rollout.config, rollout.transformer
    cache = rollout.cache
    clip = torch.randn(1, transformer.config.in_dim, config.capacity, *_latent_size(transformer, cache.grid)).to(rollout.dtype)
    mask = causal_mask(config.capacity, config.window, config.sink, config.latents_per_block)
    text = None if transformer.config.text_dim is None else torch.zeros(1, 1, transformer.config.text_dim, dtype=rollout.dtype)
    return lambda: transformer(clip, torch.zeros(1, config.capacity), mask=mask, context=text)


def _latent_size(transformer: Transformer, grid: tuple[int, int]) -> tuple[int, int]:
    _, rows, columns = transformer.config.patch_size
    return grid[0] * rows, grid[1] * columns


def _random_conditions(generator: Generator, num_latents: int) -> BlockConditions:
    config = generator.config
    latents = torch.randn(1, config.codec.latent_channels, num_latents, *config.latent_size)
    rays = torch.randn(1, config.transformer.in_dim_control_adapter, num_latents, config.height_px, config.width_px)
    return BlockConditions(latents, rays, latents if config.static_scene else None, None, latents if config.dressed else None)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

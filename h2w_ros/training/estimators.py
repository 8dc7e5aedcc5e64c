"""Trains the estimators of `h2w evaluate` on the world's ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from h2w_ros.evaluation.estimator_network import EstimatorNetwork, Seen, mean_place
from h2w_ros.evaluation.estimators import save_estimators
from h2w_ros.training.estimator_data import SEEDS_FROM, simulate_truth
from h2w_ros.training.estimator_lessons import Lesson, lessons
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.run import Budget, RunFolder, optimisers, train
from h2w_ros.training.truth_files import taught_and_kept_back
from h2w_ros.world.spec import WORLD_VERSION

BATCH_EPISODES, BATCH_STILLS = 2, 10
LEARNING_RATE = 2.5e-3
WARMUP_STEPS = 50
WEIGHT_DECAY = 1e-3
EMA_DECAY = 0.995
VALIDATION_LESSONS = 24
WINDOWS_TO_STANDARDISE, WINDOWS_AN_EPISODE = 480, 12
HAND_WEIGHT, DEPTH_WEIGHT, THING_WEIGHT, MATCH_WEIGHT = 3.0, 2.0, 2.0, 0.2
"""Hands and things are what a generator is asked about most, and what is found worst."""
LEAST_LIKELY = 1e-5


def train_estimators(folder: Path, episodes: int, workers: int, budget: Budget, out: Path, seed: int = 0, device: str = "cpu") -> Path:
    """Simulates what is missing of `folder/truth`, goes on with the run in `folder`, and ships its averaged weights; the file's path."""
    files = simulate_truth(folder / "truth", episodes, workers)
    torch.manual_seed(seed)
    network, run = EstimatorNetwork().to(device, memory_format=torch.channels_last), RunFolder(folder)  # type: ignore[call-overload]
    run.announce({"stage": "estimators", "seed": seed, "device": device, "episodes": episodes, "world_version": WORLD_VERSION})
    taught, kept_back = taught_and_kept_back(files)
    source = lessons(taught, network.config, BATCH_EPISODES, np.random.default_rng((seed, run.progress().step)), stills=BATCH_STILLS)

    def loss(_step: int, _spent: float) -> Tensor:
        with mixed_precision(device):
            return sum_of(losses(network, next(source).to(device)))

    chosen = optimisers(network, LEARNING_RATE, None, WEIGHT_DECAY)
    progress = train(network, run, loss, chosen, budget, WARMUP_STEPS, EMA_DECAY, _exam(network, kept_back, seed))
    network.cpu().load_state_dict(load_file(folder / "average.safetensors"))
    standardise(network, taught)
    made = {"episodes": len(taught), "world_version": WORLD_VERSION, "seeds_from": SEEDS_FROM, **asdict(progress)}
    return save_estimators(out, network, made)


def _exam(network: EstimatorNetwork, files: Sequence[Path], seed: int) -> Callable[[], float] | None:
    """The loss on the episodes that are kept back; None while there are none."""
    if not files:
        return None
    device = network.stem[0].get_parameter("weight").device
    asked = islice(lessons(files, network.config, BATCH_EPISODES, np.random.default_rng(seed), stills=BATCH_STILLS), VALIDATION_LESSONS)
    questions = [lesson.to(device) for lesson in asked]

    @torch.inference_mode()
    def loss() -> float:
        network.eval()
        mean = np.mean([float(sum_of(losses(network, lesson))) for lesson in questions])
        network.train()
        return float(mean)

    return loss


def sum_of(parts: dict[str, Tensor]) -> Tensor:
    """The loss that is trained on."""
    return torch.stack(list(parts.values())).sum()


def losses(network: EstimatorNetwork, lesson: Lesson) -> dict[str, Tensor]:
    """Every reader's loss, weighted."""
    count, windows = lesson.pictures.shape[1], lesson.pictures.flatten(0, 1)
    everything = network(torch.cat([windows, lesson.stills]).contiguous(memory_format=torch.channels_last))
    seen = Seen(everything.quarter[: len(windows)], everything.eighth[: len(windows)], everything.surfaces[: len(windows)])
    hand, log_depth = (torch.cat([lesson.hand.flatten(0, 1), lesson.still_hand]), torch.cat([lesson.log_depth.flatten(0, 1), lesson.still_log_depth]))
    return {
        "hand": HAND_WEIGHT * hand_loss(everything.surfaces[:, 0], hand),
        "depth": DEPTH_WEIGHT * (everything.surfaces[:, 1] - log_depth).abs().mean(),
        "thing": THING_WEIGHT * thing_loss(network, seen, lesson, count),
        "match": match_loss(network, seen, lesson, count),
        "clip": clip_loss(network, seen, lesson, count),
    }


def hand_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy, and what is missing to full overlap (a soft Dice)."""
    likely = logits.sigmoid()
    overlap = (2 * (likely * truth).sum() + 1) / (likely.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 0.5 * (1 - overlap)


def thing_loss(network: EstimatorNetwork, seen: Seen, lesson: Lesson, count: int) -> Tensor:
    """Where the thing is, cell by cell and on average; nothing for windows that do not show it."""
    quarter = seen.quarter.unflatten(0, (-1, count))
    mask = lesson.thing[:, 0, None].repeat_interleave(count - 1, 0)
    logits = network.finder(quarter[:, 0].repeat_interleave(count - 1, 0), mask, quarter[:, 1:].flatten(0, 1)).float()
    shown, place = lesson.thing[:, 1:].flatten(0, 1), lesson.place.flatten(0, 1)
    known = place.isfinite().all(-1) & (mask.sum((1, 2, 3)) > 0)
    if not known.any():
        return logits.sum() * 0.0
    cells = F.binary_cross_entropy_with_logits(logits[known], shown[known], pos_weight=logits.new_tensor(4.0))
    return cells + 4.0 * (mean_place(logits[known]) - place[known]).abs().mean()


def match_loss(network: EstimatorNetwork, seen: Seen, lesson: Lesson, count: int) -> Tensor:
    """How unlikely it seems to the matcher that each still cell is where it truly is."""
    eighth = seen.eighth.unflatten(0, (-1, count))
    likely = network.matcher(eighth[:, 0].repeat_interleave(count - 1, 0), eighth[:, 1:].flatten(0, 1))
    return MATCH_WEIGHT * match_surprise(likely, lesson.slopes.repeat_interleave(count - 1, 0), lesson.seen_at.flatten(0, 1))


def match_surprise(likely: Tensor, slopes: Tensor, seen_at: Tensor) -> Tensor:
    """Mean negative logarithm of the likelihood (n, hw, hw) at the true places; those that are unknown or out of sight do not count."""
    n, _, h, w = slopes.shape
    near, far = slopes[:, :, :1, :1], slopes[:, :, -1:, -1:]
    grid = (2 * (seen_at - near) / (far - near) - 1).permute(0, 2, 3, 1).reshape(n * h * w, 1, 1, 2)  # -1 and 1 at the outer cells' centres
    known = (grid.abs() <= 1).all(-1).flatten()  # comparisons with nan are false
    if not known.any():
        return likely.sum() * 0.0
    return -F.grid_sample(likely.reshape(n * h * w, 1, h, w)[known], grid[known], align_corners=True).clamp(min=LEAST_LIKELY).log().mean()


def clip_loss(network: EstimatorNetwork, seen: Seen, lesson: Lesson, count: int) -> Tensor:
    """What the window's features let answer."""
    features = network.clip(list(seen.eighth.unflatten(0, (-1, count))[:, 1:].unbind(1)))
    return F.smooth_l1_loss(network.clip.answers(features).float(), lesson.clip, beta=0.2)


@torch.inference_mode()
def standardise(network: EstimatorNetwork, files: Sequence[Path]) -> None:
    """Gives the features of clean windows zero mean, unit spread, and no correlation."""
    network.eval()
    num_windows = min(WINDOWS_TO_STANDARDISE, WINDOWS_AN_EPISODE * len(files))
    clean = islice(lessons(files, network.config, BATCH_EPISODES, np.random.default_rng(0), spoil=False), num_windows // BATCH_EPISODES)
    features = []
    for lesson in clean:
        shown = lesson.pictures[:, 1:]
        eighth = network(shown.flatten(0, 1).contiguous(memory_format=torch.channels_last)).eighth
        features.append(network.clip(list(eighth.unflatten(0, shown.shape[:2]).unbind(1))).float())
    network.clip.standardise(torch.cat(features))

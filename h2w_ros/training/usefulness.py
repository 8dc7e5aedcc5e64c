"""What synthesized episodes are worth to somebody who trains on them: small networks that find wrists, taught on them and on real ones.

Three are taught alike: on N simulated episodes ("real"), on the first N/2 of them ("half"), and on N episodes that the generator made from that
half ("synthesized"). All are scored on pictures of seeds that none of them has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor, nn

from h2w_ros.camera import Resize, project
from h2w_ros.condition import SIDES, Condition
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.recording import SIMULATED_TABLETOP
from h2w_ros.episodes.writer import write_episode
from h2w_ros.geometry import apply, invert
from h2w_ros.world.dataset import simulate_many
from h2w_ros.world.spec import EVALUATION_SEEDS_FROM, WorldSpec

SEEDS_FROM = 850_000
"""Below are the seeds of the generator's and the estimators' lessons, above those of evaluation."""
WIDTH_PX, HEIGHT_PX = 128, 96
EVERY = 2
"""Of an episode, every so many pictures are used: neighbours teach little that is new."""
NEAREST_M = 0.05
LEARNING_RATE = 2e-3
BATCH = 32


@dataclass(frozen=True, eq=False)
class Pictures:
    """n pictures, and where in each the wrists are, as shares of width and height: left, right; NaN where not in sight."""

    pictures: UInt8[ndarray, "n H W 3"]
    wrists: Float32[ndarray, "n 2 2"]


def simulate(folder: Path, first_seed: int, count: int, num_frames: int, workers: int) -> list[Path]:
    """Simulated episodes of these seeds, those that are there already kept; seeds that give none are left out."""
    spec = WorldSpec(width_px=WIDTH_PX, height_px=HEIGHT_PX, num_frames=num_frames)
    wanted = {seed: folder / f"world_{seed}" for seed in range(first_seed, first_seed + count)}
    missing = [seed for seed, path in wanted.items() if not path.exists()]
    for seed, episode in simulate_many(missing, spec, workers):
        write_episode(wanted[seed], episode.conditions, spec.rate_hz, description=episode.description, domain=SIMULATED_TABLETOP)
    return [path for path in wanted.values() if path.exists()]


def real_episodes(folder: Path, count: int, num_frames: int, workers: int) -> tuple[list[Path], list[Path]]:
    """Episodes to teach with, and half as many of evaluation's seeds to score with."""
    taught = simulate(folder, SEEDS_FROM, count, num_frames, workers)
    return taught, simulate(folder, EVALUATION_SEEDS_FROM + 50_000, max(1, count // 2), num_frames, workers)


def pictures_of(episodes: Iterable[Path]) -> Pictures:
    """Pictures and wrists of episodes; the first picture is everybody's, so it is left out."""
    resize = Resize(WIDTH_PX, HEIGHT_PX)
    pictures, wrists = [], []
    for path in episodes:
        for condition in list(Episode(path).conditions(1))[::EVERY]:
            if condition.image is not None:
                pictures.append(resize.picture(condition.image))
                wrists.append(wrists_of(condition))
    return Pictures(np.stack(pictures), np.stack(wrists).astype(np.float32))


def wrists_of(condition: Condition) -> Float32[ndarray, "2 2"]:
    """Where both wrists are in the picture, as shares of its size; NaN for one that is not in sight or not known."""
    places = np.full((2, 2), np.nan, np.float32)
    size = np.array([condition.camera.width_px, condition.camera.height_px])
    for index, side in enumerate(SIDES):
        hand = condition.hand(side)
        if hand is None:
            continue
        point = apply(invert(condition.T_world_camera), hand.T_world_wrist[None, :3, 3])
        place = project(condition.camera, point)[0] / size if point[0, 2] > NEAREST_M else np.full(2, np.nan)
        if ((place >= 0.0) & (place <= 1.0)).all():
            places[index] = place
    return places


class WristNetwork(nn.Module):
    """A picture to the places of both wrists: a map each, of which the mean place is taken."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 3 * width)
        layers = [nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), nn.GroupNorm(8, b), nn.SiLU()) for a, b in pairwise(sizes)]
        self.body = nn.Sequential(*layers, nn.Conv2d(sizes[-1], sizes[-1], 5, 1, 4, dilation=2), nn.SiLU(), nn.Conv2d(sizes[-1], 2, 1))

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """(n, 2, 2): x and y as shares, for left and right; pictures in [-1, 1]."""
        maps = self.body(pictures_NCHW)
        chance = maps.flatten(2).softmax(-1).view_as(maps)
        y, x = ((torch.arange(size, device=maps.device) + 0.5) / size for size in maps.shape[2:])
        return torch.stack([(chance.sum(2) * x).sum(-1), (chance.sum(3) * y).sum(-1)], dim=-1)


def teach(data: Pictures, steps: int, seed: int = 0, advanced: Callable[[], object] = lambda: None) -> WristNetwork:
    """A network taught for so many steps; the same from the same seed, whatever it is taught on."""
    torch.manual_seed(seed)
    network, rng = WristNetwork(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    usable = np.flatnonzero(np.isfinite(data.wrists).all(axis=-1).any(axis=-1))
    if not len(usable):
        raise ValueError("none of the episodes shows a wrist: there is nothing to learn")
    for _ in range(steps):
        chosen = rng.choice(usable, BATCH)
        loss = _loss(network(_shown(data.pictures[chosen])), torch.from_numpy(data.wrists[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        advanced()
    return network.eval()


@torch.inference_mode()
def errors_px(network: WristNetwork, data: Pictures) -> Float32[ndarray, "m"]:
    """How far every wrist in sight is from where the network says [px of 128x96]."""
    told = torch.cat([network(_shown(data.pictures[first : first + 64])) for first in range(0, len(data.pictures), 64)]).numpy()
    away = np.linalg.norm((told - data.wrists) * [WIDTH_PX, HEIGHT_PX], axis=-1)
    return away[np.isfinite(away)].astype(np.float32)


def compare(data: dict[str, Pictures], held_out: Pictures, steps: int, seeds: Sequence[int], advanced: Callable[[], object]) -> dict[str, object]:
    """Mean and median error of each kind of lessons, averaged over networks of several seeds."""
    table: dict[str, object] = {"wrists_scored": int(np.isfinite(held_out.wrists).all(axis=-1).sum())}
    for name, lessons in data.items():
        away = [errors_px(teach(lessons, steps, seed, advanced), held_out) for seed in seeds]
        means = [float(errors.mean()) for errors in away]
        table[name] = {
            "pictures": len(lessons.pictures),
            "mean_error_px": round(float(np.mean(means)), 3),
            "std_over_seeds_px": round(float(np.std(means)), 3),
            "median_error_px": round(float(np.median(np.concatenate(away))), 3),
        }
    return table


def _shown(pictures: UInt8[ndarray, "n H W 3"]) -> Tensor:
    return torch.from_numpy(np.moveaxis(pictures, -1, 1).astype(np.float32) / 127.5 - 1.0)


def _loss(told: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of wrists in sight."""
    seen = torch.isfinite(wanted)
    return F.smooth_l1_loss(told[seen], wanted[seen], beta=0.02)

"""What the networks of `h2w_ros.things` learn from: simulated episodes, one file each, with what pictures show or with what hands do.

Their seeds are neither the generator's, nor the estimators', nor the evaluation's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.estimator_data import SEEDS_FROM as ESTIMATORS_SEEDS_FROM
from h2w_ros.training.handling_lessons import FirstLook, HandledEpisode, parts_of
from h2w_ros.training.truth_files import files_of, seeds_from, simulate_files
from h2w_ros.world.dataset import make_many
from h2w_ros.world.happenings import happenings
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import WorldSpec

SEEDS_FROM = 600_000
MOST_EPISODES = ESTIMATORS_SEEDS_FROM - SEEDS_FROM
SPEC = WorldSpec(width_px=128, height_px=128, ground_truth=True)
PICTURE_EVERY = 6
"""Neighbouring pictures teach little that is new."""


def simulate_things(folder: Path, episodes: int, workers: int) -> list[Path]:
    """Fills `folder` with SEED.npz files of seeds 600000, 600001, ...; those already there are kept. The files, in order."""
    seeds = seeds_from(SEEDS_FROM, episodes, ESTIMATORS_SEEDS_FROM, "the estimators'")
    return simulate_files(folder, seeds, SPEC, workers, things_arrays)


def things_arrays(episode: WorldEpisode) -> dict[str, np.ndarray]:
    """The arrays of one file: a few pictures with what each pixel shows."""
    truth, renderer = episode.truth, HandRenderer(style="solid")
    if truth is None:
        raise ValueError("things are learned from episodes with ground truth: simulate with WorldSpec(ground_truth=True)")
    pictured, camera = episode.conditions[::PICTURE_EVERY], episode.conditions[0].camera
    return {
        "image": np.stack([np.asarray(c.image) for c in pictured]),
        "is_hand": np.stack([renderer.render(c.hands, c.camera, c.T_world_camera).any(axis=-1) for c in pictured]),
        "ids": truth.ids[::PICTURE_EVERY],
        "links": truth.links[::PICTURE_EVERY],
        "depth_m": truth.depth_m[::PICTURE_EVERY].astype(np.float16),
        "T_world_camera": np.stack([c.T_world_camera for c in pictured]),
        "camera": np.array([camera.width_px, camera.height_px, camera.fx, camera.fy, camera.cx, camera.cy]),
    }


def simulate_handled(folder: Path, episodes: int, workers: int) -> list[Path]:
    """Fills `folder` with what hands do to parts in episodes of the same seeds and on: without pictures, many more of them. Files as above."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = seeds_from(SEEDS_FROM, episodes, ESTIMATORS_SEEDS_FROM, "the estimators'")
    missing = [seed for seed in seeds if not (folder / f"{seed}.npz").exists()]
    made = make_many(missing, partial(handled_episode, spec=SPEC), workers)
    for seed, episode in tqdm(made, total=len(missing), desc="simulate hands", unit="episode", disable=None):
        part = folder / f"{seed}.part.npz"
        episode.save(part)
        part.rename(folder / f"{seed}.npz")
    return files_of(folder)


def handled_episode(seed: int, spec: WorldSpec) -> HandledEpisode:
    """Hands and the parts that they move."""
    seen = happenings(seed, spec)
    first = seen.first
    look = FirstLook(first.ids[0], first.links[0], first.depth_m[0], seen.camera, seen.T_world_camera)
    parts = parts_of(look, seen.T_world_object, seen.T_world_link, np.random.default_rng(seed))
    joints, grips = (np.stack([told(hands) for hands in seen.hands]).astype(np.float32) for told in (joints_world, grips_world))
    return HandledEpisode(**parts, joints=joints, T_world_grips=grips)

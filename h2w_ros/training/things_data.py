"""What the networks of `h2w_ros.things` learn from: simulated episodes with everything that is known of their things, one file each.

Their seeds are neither the generator's, nor the estimators', nor the evaluation's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from h2w_ros.condition import Camera
from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.estimator_data import SEEDS_FROM as ESTIMATORS_SEEDS_FROM
from h2w_ros.training.handling_lessons import FirstLook, HandledEpisode, parts_of
from h2w_ros.world.dataset import simulate_many
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import WorldSpec

SEEDS_FROM = 600_000
SPEC = WorldSpec(width_px=128, height_px=128, ground_truth=True)
PICTURE_EVERY = 6
"""Neighbouring pictures teach little that is new."""


def simulate_things(folder: Path, episodes: int, workers: int) -> list[Path]:
    """Fills `folder` with SEED.npz files of seeds 600000, 600001, ...; those already there are kept. The files, in order."""
    if not 0 < episodes <= ESTIMATORS_SEEDS_FROM - SEEDS_FROM:
        raise ValueError(f"episodes must be in 1..{ESTIMATORS_SEEDS_FROM - SEEDS_FROM}, or they run into the estimators' seeds, got {episodes}")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in range(SEEDS_FROM, SEEDS_FROM + episodes) if not (folder / f"{seed}.npz").exists()]
    for seed, episode in tqdm(simulate_many(missing, SPEC, workers), total=len(missing), desc="simulate", unit="episode", disable=None):
        part = folder / f"{seed}.part.npz"
        np.savez(part, **cast(dict[str, Any], things_arrays(episode)))  # NumPy's stubs take the names for options
        part.rename(folder / f"{seed}.npz")
    return sorted((path for path in folder.glob("*.npz") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def things_arrays(episode: WorldEpisode) -> dict[str, np.ndarray]:
    """The arrays of one file: a few pictures with what each pixel shows, and where hands and things are in every frame."""
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
        "joints": np.stack([joints_world(c.hands) for c in episode.conditions]).astype(np.float32),
        "T_world_grips": np.stack([grips_world(c.hands) for c in episode.conditions]).astype(np.float32),
        "T_world_object": truth.T_world_object,
        "T_world_link": truth.T_world_link,
    }


def camera_of(arrays: dict[str, np.ndarray]) -> Camera:
    """The camera of a file's pictures."""
    width_px, height_px, *focal_and_centre = arrays["camera"].tolist()
    return Camera(int(width_px), int(height_px), *focal_and_centre)


def handled_episode(path: Path, rng: np.random.Generator) -> HandledEpisode:
    """What a file tells of hands and the parts that they move."""
    with np.load(path) as file:
        arrays = dict(file)
    look = FirstLook(arrays["ids"][0], arrays["links"][0], arrays["depth_m"][0], camera_of(arrays), arrays["T_world_camera"][0])
    parts = parts_of(look, arrays["T_world_object"], arrays["T_world_link"], rng)
    return HandledEpisode(**parts, joints=arrays["joints"], T_world_grips=arrays["T_world_grips"])

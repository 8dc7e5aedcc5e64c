"""What the networks of `h2w_ros.things` learn from: simulated episodes with everything that is known of their things, one file each.

Their seeds are neither the generator's, nor the estimators', nor the evaluation's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h2w_ros.hands.grip import grips_world, joints_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.estimator_data import SEEDS_FROM as ESTIMATORS_SEEDS_FROM
from h2w_ros.training.handling_lessons import FirstLook, HandledEpisode, parts_of
from h2w_ros.training.truth_files import camera_of, seeds_from, simulate_files
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import WorldSpec

SEEDS_FROM = 600_000
SPEC = WorldSpec(width_px=128, height_px=128, ground_truth=True)
PICTURE_EVERY = 6
"""Neighbouring pictures teach little that is new."""


def simulate_things(folder: Path, episodes: int, workers: int) -> list[Path]:
    """Fills `folder` with SEED.npz files of seeds 600000, 600001, ...; those already there are kept. The files, in order."""
    seeds = seeds_from(SEEDS_FROM, episodes, ESTIMATORS_SEEDS_FROM, "the estimators'")
    return simulate_files(folder, seeds, SPEC, workers, things_arrays)


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


def handled_episode(path: Path, rng: np.random.Generator) -> HandledEpisode:
    """What a file tells of hands and the parts that they move."""
    with np.load(path) as file:
        arrays = dict(file)
    look = FirstLook(arrays["ids"][0], arrays["links"][0], arrays["depth_m"][0], camera_of(arrays["camera"]), arrays["T_world_camera"][0])
    parts = parts_of(look, arrays["T_world_object"], arrays["T_world_link"], rng)
    return HandledEpisode(**parts, joints=arrays["joints"], T_world_grips=arrays["T_world_grips"])

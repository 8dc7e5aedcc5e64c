"""What the estimators learn from: simulated episodes with everything that is known of their pixels, one file each.

Their pictures come from seeds that neither the generator's training nor the evaluation uses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h2w_ros.training.truth_files import seeds_from, simulate_files
from h2w_ros.world.simulate import WorldEpisode
from h2w_ros.world.spec import EVALUATION_SEEDS_FROM, WorldSpec

SEEDS_FROM = 700_000
"""Seeds below are the generator's."""
SPEC = WorldSpec(num_frames=13, rate_hz=4.0, substeps=40, ground_truth=True)
"""Three seconds in few pictures: neighbouring pictures teach an estimator little that is new. Physics keeps its step."""


def simulate_truth(folder: Path, episodes: int, workers: int) -> list[Path]:
    """Fills `folder` with SEED.npz files of seeds 700000, 700001, ...; those already there are kept. The files, in order."""
    return simulate_files(folder, seeds_from(SEEDS_FROM, episodes, EVALUATION_SEEDS_FROM, "evaluation's"), SPEC, workers, truth_arrays)


def truth_arrays(episode: WorldEpisode) -> dict[str, np.ndarray]:
    """The arrays of one file: pictures, what each pixel shows, whether that moves, and how far it is [m]."""
    if episode.truth is None:
        raise ValueError("estimators learn from episodes with ground truth: simulate with WorldSpec(ground_truth=True)")
    camera = episode.conditions[0].camera
    return {
        "image": np.stack([np.asarray(condition.image) for condition in episode.conditions]),
        "hand": episode.hand_masks,
        "moving": episode.object_masks,
        "ids": episode.truth.ids,
        "depth_m": episode.truth.depth_m.astype(np.float16),
        "T_world_camera": np.stack([condition.T_world_camera for condition in episode.conditions]),
        "camera": np.array([camera.width_px, camera.height_px, camera.fx, camera.fy, camera.cx, camera.cy]),
    }

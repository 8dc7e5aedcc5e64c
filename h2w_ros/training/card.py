"""What a shipped model says of its making: `training.json`, and a curve of each stage's losses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from h2w_ros.evaluation.plots import plot_losses
from h2w_ros.generator.model_folder import TRAINING_FILE
from h2w_ros.training.cache import latent_files
from h2w_ros.training.run import RunFolder

TRAINED = ("codec", "refiner", "teacher", "causal", "stream", "consistency", "matching")
"""Stages that leave weights, in order."""
CURVES_FILE = "curves.png"
IN_THE_RUN = ("config", "model", "stage", "recipe", "ablation", "seed")
"""What the run's own files say of a session, and the card does not repeat."""


def write_card(out: Path, run: Path, made_by: Mapping[str, Any]) -> None:
    """Writes beside the weights of the model folder `out` what made them, in the stages of the folder `run`: by whom, how long, how well."""
    folders = {stage: RunFolder(run / stage) for stage in TRAINED if (run / stage / "progress.json").exists()}
    stages = {stage: {**asdict(folder.progress()), "sessions": _sessions(folder)} for stage, folder in folders.items()}
    episodes = len(latent_files(run, validation=False) + latent_files(run, validation=True))
    (out / TRAINING_FILE).write_text(json.dumps({**made_by, "episodes": episodes, **stages}, indent=2))
    curves = {stage: curve for stage, folder in folders.items() if len(curve := folder.validation_curve()) > 1}
    if curves:
        plot_losses(curves, out / CURVES_FILE)


def _sessions(folder: RunFolder) -> list[dict[str, Any]]:
    return [{name: value for name, value in session.items() if name not in IN_THE_RUN} for session in folder.sessions()]

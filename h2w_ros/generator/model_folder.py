"""Where a model's folder is, and its config; both known without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

from h2w_ros.generator.config import GeneratorConfig, from_json
from h2w_ros.paths import models_dir

CONFIG_FILE = "config.json"
TRAINING_FILE = "training.json"
DISTILLATION = "matching"
"""The stage of training that a teacher has a part in (consistency follows the student's own flow)."""
PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}


def find_model(path_or_name: str | Path) -> Path:
    """The folder at this path, or the folder of this name among the shipped models."""
    path = Path(path_or_name)
    if path.suffix in PICKLE_SUFFIXES:
        raise ValueError(f"{path} is a pickle, which can run code when opened; a model is a folder with {CONFIG_FILE} and safetensors")
    if path.is_dir():
        return path
    shipped = models_dir()
    if path.name == str(path_or_name) and (shipped / path).is_dir():
        return shipped / path
    names = sorted(config.parent.name for config in shipped.glob(f"*/{CONFIG_FILE}"))
    raise FileNotFoundError(f"No model {str(path_or_name)!r}: neither a folder nor one of {names} in {shipped}")


def is_distilled(folder: Path) -> bool:
    """Whether a teacher taught it, as far as the folder tells what made it."""
    path = folder / TRAINING_FILE
    try:
        return path.is_file() and DISTILLATION in json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON that says what made the model: {error}") from error


def read_config(folder: Path) -> GeneratorConfig:
    """The model folder's config."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"No config at {path}; a model folder holds {CONFIG_FILE} and safetensors")
    return from_json(GeneratorConfig, path.read_text(), str(path))

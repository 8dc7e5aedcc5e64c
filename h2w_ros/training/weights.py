"""Weights and clips that stages begin with, from disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from h2w_ros.generator.checkpoint import REFINER_PREFIX, transformer_files
from h2w_ros.generator.tensors import check_fit, read_state
from h2w_ros.training.cache import ClipSource, load_clips


@lru_cache(maxsize=1)
def loaded_clips(folder: Path, device: torch.device, _files: tuple[Path, ...]) -> ClipSource:
    """Loaded anew when there are other files."""
    return load_clips(folder).to(device)


def read_network(path: Path) -> dict[str, Tensor]:
    """The tensors to train on of a safetensors file, or of a model folder's network, float32."""
    files = transformer_files(path) if path.is_dir() else [path]
    return {name: tensor.float() for name, tensor in read_state(files).items()}


def read_refiner(path: Path) -> dict[str, Tensor]:
    """The refiner's tensors to train on: of its own run's file, of a model's `refiner.safetensors`, or of a model folder."""
    state = read_network(path)
    inner = {name: tensor for name, tensor in state.items() if name.startswith(REFINER_PREFIX)}
    refiner = refiner_alone(inner or state)
    if refiner is None:
        raise ValueError(f"{path} must hold a refiner's tensors, and has none; take a refiner's run, a model's refiner.safetensors or its folder")
    return refiner


def take(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Copies tensors into a module to train, in its own kinds of numbers, after all of them were found to fit; a ValueError names the first
    that does not."""
    own = module.state_dict()
    ours = {name: tensor.to(own[name].dtype) if name in own else tensor for name, tensor in state.items()}
    try:
        check_fit(own, ours, str(source))
    except ValueError as error:
        raise ValueError(f"{error}; it was trained as another model: choose another --run, or other weights to start from") from error
    module.load_state_dict(ours)


def refiner_alone(state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors by a refiner's own names, where they are of a refiner and of nothing else."""
    if all(name.startswith(REFINER_PREFIX) for name in state):
        return {name.removeprefix(REFINER_PREFIX): tensor for name, tensor in state.items()}
    return state if "conv_in.weight" in state else None


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a model folder's network."""
    files = transformer_files(path) if path.is_dir() else [path]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

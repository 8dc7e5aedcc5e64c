"""Small networks as one file each: weights, the config that they fit, and what made them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from h2w_ros.generator.config import from_json
from h2w_ros.generator.tensors import fill, read_file, write_file

Network = TypeVar("Network", bound=nn.Module)


def load_small(path: Path, config: type[Any], network: Callable[[Any], Network], made_by: str) -> Network:
    """The network of a file, in float32; a FileNotFoundError names the command that makes it."""
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}; `{made_by} --out {path.parent}` makes them")
    state, metadata = read_file(path)
    with torch.device("meta"):
        empty = network(from_json(config, metadata.get("config", "{}"), str(path)))
    fill(empty, {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, str(path))
    return empty


def save_small(path: Path, network: nn.Module, config: Any, training: Mapping[str, object]) -> Path:
    """Writes weights (convolutions in half precision) with their config and what made them; the file's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in network.state_dict().items()}
    write_file(path, state, {"config": json.dumps(asdict(config)), "training": json.dumps(training)})
    return path

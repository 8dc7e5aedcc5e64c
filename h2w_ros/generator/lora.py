"""LoRA files merged into weights, in either of the two namings, with the whole tensors that ride along.

The merge weight is alpha over rank (0.5 = 128 / 256 for the released files), so alphas inside a file are not applied on top of it;
the released code leaves them out too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from h2w_ros.generator.tensors import State, read_file

logger = logging.getLogger(__name__)

RIDING = ("control_adapter.", "patch_embedding.")
KOHYA = "lora_unet__"
WRAPPERS = ("base_model.model.", "diffusion_model.", "transformer.")
DOWN = ("lora_A.default.weight", "lora_A.weight", "lora_down.weight")
UP = ("lora_B.default.weight", "lora_B.weight", "lora_up.weight")
TRAINED_LATENTS = "train_F_lat"


@dataclass
class _Pair:
    """One layer's low-rank update, up @ down."""

    down: Tensor | None = None
    up: Tensor | None = None


def merge_lora(state: Mapping[str, Tensor], path: Path, weight: float) -> State:
    """A new state: whole tensors that ride along replaced, then every update added with this weight, in float32.

    Tensors keep their precision. A key or shape that does not fit is a ValueError that names file and tensor, and `state`
    is never touched.
    """
    tensors, _ = read_file(path)
    riding = {name: tensor for name, tensor in tensors.items() if name.startswith(RIDING) and "lora_" not in name}
    merged = {**state, **riding}
    pairs = _pairs({name: tensor for name, tensor in tensors.items() if name not in riding}, merged, path)
    for name, pair in pairs.items():
        merged[name] = _updated(merged[name], pair, weight, f"{path}: {name}")
    logger.info("%s: %d updates merged with weight %g, %d whole tensors replaced", path.name, len(pairs), weight, len(riding))
    return merged


def trained_window(path: Path) -> int | None:
    """The window, in latents, that a student's LoRA was trained with, if its metadata says."""
    value = read_file(path)[1].get(TRAINED_LATENTS)
    if value is not None and not value.isdigit():
        raise ValueError(f"{path}: metadata {TRAINED_LATENTS} must be a whole number, got {value!r}")
    return None if value is None else int(value)


def check_window(path: Path, window: int) -> None:
    """A ValueError where a student's LoRA was trained with another window than it is to run with."""
    trained = trained_window(path)
    if trained is not None and trained != window:
        raise ValueError(f"{path} was trained with a window of {trained} latents ({TRAINED_LATENTS}); set rollout.window to it, got {window}")


def _pairs(tensors: State, targets: Mapping[str, Tensor], path: Path) -> dict[str, _Pair]:
    """Updates by the name of the weight that they change."""
    flat_names = {name.removesuffix(".weight").replace(".", "_"): name for name in targets if name.endswith(".weight")}
    pairs: dict[str, _Pair] = {}
    for key, tensor in tensors.items():
        layer, role = _split(key, path)
        target = flat_names.get(layer.replace(".", "_"))
        if target is None:
            raise ValueError(f"{path}: tensor {key} changes a layer that the network does not have ({layer})")
        if role != "alpha":
            setattr(pairs.setdefault(target, _Pair()), role, tensor)
    return pairs


def _split(key: str, path: Path) -> tuple[str, str]:
    """Layer and role ('down', 'up', 'alpha') of a LoRA key."""
    layer = key.removeprefix(KOHYA)
    for wrapper in WRAPPERS:
        layer = layer.removeprefix(wrapper)
    for role, endings in (("down", DOWN), ("up", UP), ("alpha", ("alpha",))):
        for ending in endings:
            if layer.endswith("." + ending):
                return layer.removesuffix("." + ending), role
    raise ValueError(f"{path}: tensor {key} is neither a LoRA factor nor one of {', '.join(f'{prefix}*' for prefix in RIDING)}")


def _updated(target: Tensor, pair: _Pair, weight: float, source: str) -> Tensor:
    if pair.down is None or pair.up is None:
        raise ValueError(f"{source}: both LoRA factors are needed, one is missing")
    down, up = pair.down.float().flatten(1), pair.up.float().flatten(1)
    rows_columns = (target.shape[0], target[0].numel())
    if (up.shape[0], down.shape[1]) != rows_columns or up.shape[1] != down.shape[0]:
        got = f"up {tuple(pair.up.shape)}, down {tuple(pair.down.shape)}"
        raise ValueError(f"{source}: LoRA factors must multiply to {rows_columns}, got {got}")
    return torch.add(target.float(), (up @ down).view(target.shape), alpha=weight).to(target.dtype)

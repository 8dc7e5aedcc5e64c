"""Weights on disk: safetensors files, whole or in shards, read in full and checked before anything is built from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from h2w_ros.generator.model_folder import PICKLE_SUFFIXES

SHARD = re.compile(r"-(\d+)-of-(\d+)$")

PIECE_BYTES = 15 * 2**20
"""What goes through most places that take files, such as repositories, by mail or over a slow line."""
HEADER_BYTES = 2**16
"""Room for the names and shapes of a file's tensors."""

State = dict[str, Tensor]


def weight_files(folder: Path, stems: Iterable[str]) -> list[Path]:
    """The file, or all the shards, of the first of these names that the folder holds."""
    stems = tuple(stems)
    for stem in stems:
        if (folder / f"{stem}.safetensors").is_file():
            return [folder / f"{stem}.safetensors"]
        shards = sorted(path for path in folder.glob(f"{stem}-*-of-*.safetensors") if SHARD.search(path.stem))
        if shards:
            return _all_shards(shards)
    _refuse_pickles(folder.iterdir() if folder.is_dir() else ())
    raise FileNotFoundError(f"No weights in {folder}: expected {' or '.join(f'{stem}.safetensors' for stem in stems)}, or their shards")


def read_state(files: Iterable[Path]) -> State:
    """Every tensor of these files; one that is unreadable, truncated, double or not finite is an error that names it."""
    state: State = {}
    for path in files:
        tensors, _ = read_file(path)
        double = sorted(set(tensors) & set(state))
        if double:
            raise ValueError(f"{path}: tensor {double[0]} is also in another shard")
        state.update(tensors)
    return state


def read_file(path: Path) -> tuple[State, dict[str, str]]:
    """The tensors and the metadata of one safetensors file, all values finite."""
    _refuse_pickles([path])
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or download it again") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name} holds NaN or infinite values; the file is damaged or its training diverged")
    return tensors, metadata


def write_file(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a whole file or none: it gets its name last."""
    part = path.with_name(path.name + ".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, part, metadata)
    part.replace(path)


def write_pieces(folder: Path, stem: str, state: Mapping[str, Tensor], most_bytes: int = PIECE_BYTES) -> list[Path]:
    """Writes `stem.safetensors`, or shards of at most so many bytes if that is too large; what the folder held under that name is replaced.

    A single tensor that is larger than that has a shard of its own.
    """
    pieces = _pieces(state, most_bytes - HEADER_BYTES)
    names = [f"{stem}-{i + 1:05d}-of-{len(pieces):05d}.safetensors" for i in range(len(pieces))] if len(pieces) > 1 else [f"{stem}.safetensors"]
    for name, piece in zip(names, pieces, strict=True):
        write_file(folder / name, piece)
    older = [path for path in (folder / f"{stem}.safetensors", *folder.glob(f"{stem}-*-of-*.safetensors")) if path.name not in names]
    for path in older:
        path.unlink(missing_ok=True)
    return [folder / name for name in names]


def _pieces(state: Mapping[str, Tensor], most_bytes: int) -> list[State]:
    """The tensors, in order, in as few lots as hold at most so many bytes."""
    pieces: list[State] = [{}]
    size = 0
    for name, tensor in state.items():
        if pieces[-1] and size + tensor.nbytes > most_bytes:
            pieces.append({})
            size = 0
        pieces[-1][name] = tensor
        size += tensor.nbytes
    return pieces


def check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """A ValueError unless `state` holds exactly the expected tensors, in shape and kind."""
    missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unknown:
        raise ValueError(f"{source} does not fit the config: {_listed('missing', missing)}; {_listed('unknown', unknown)}")
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"{source}: tensor {name} must have shape {tuple(tensor.shape)} by the config, got {tuple(state[name].shape)}")
        if tensor.is_floating_point() != state[name].is_floating_point():
            raise ValueError(f"{source}: tensor {name} must hold floating-point numbers, got {state[name].dtype}")


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Gives a module (it may be on the meta device) its tensors, after all of them were found to fit."""
    check_fit(module.state_dict(), state, source)
    module.load_state_dict(dict(state), assign=True)


def _all_shards(shards: list[Path]) -> list[Path]:
    matches = [match for path in shards if (match := SHARD.search(path.stem))]
    expected = int(matches[0][2])
    numbers = sorted(int(match[1]) for match in matches)
    if numbers != list(range(1, expected + 1)):
        raise FileNotFoundError(f"{shards[0].parent} must hold shards 1 to {expected} of {shards[0].name}, got {numbers}")
    return shards


def _refuse_pickles(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.suffix in PICKLE_SUFFIXES:
            raise ValueError(f"{path} is a pickle, which can run code when opened: convert it to safetensors where you trust it")


def _listed(what: str, names: list[str], limit: int = 4) -> str:
    shown = ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
    return f"{len(names)} {what} tensors" + (f" ({shown})" if names else "")

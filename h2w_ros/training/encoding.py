"""Latents of a whole run's pixels, by as many processes as there are cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.training.cache import encode_pixels

FILES_AT_ONCE = 4

_ready: dict[str, tuple[FoldedCodec, GeneratorConfig]] = {}
"""The codec of a process that encodes, made once."""


def encode_all(codec: FoldedCodec, model: GeneratorConfig, files: Sequence[Path], folder: Path, workers: int) -> Iterator[Path]:
    """Writes the latents that pixel files do not have yet, by this process (0 or 1 workers) or others; yields each pixel file as it is done."""
    if workers < 2:
        for file, _ in zip(files, encode_pixels(codec, model, files, folder), strict=True):
            yield file
        return
    state = {name: tensor.cpu() for name, tensor in codec.state_dict().items()}
    tasks = [(file, folder) for file in files]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(state, codec.dtype, model)) as pool:
        yield from pool.map(_encode, tasks, chunksize=FILES_AT_ONCE)


def _prepare(state: dict[str, Tensor], dtype: torch.dtype, model: GeneratorConfig) -> None:
    torch.set_num_threads(1)
    codec = FoldedCodec(model.codec).to(dtype)
    codec.load_state_dict(state)
    _ready["codec"] = codec.eval().to(memory_format=torch.channels_last), model  # type: ignore[call-overload]  # forgotten in stubs


def _encode(task: tuple[Path, Path]) -> Path:
    file, folder = task
    codec, model = _ready["codec"]
    for _ in encode_pixels(codec, model, [file], folder):
        pass
    return file

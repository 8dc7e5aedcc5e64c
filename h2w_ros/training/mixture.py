"""What a run trains on: the simulated world's clips in its own folder, clips of recorded episodes beside them, mixed by weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

WORLD = "world"
RECORDED = "recorded"
MIXTURE = "mixture.json"


def sources(folder: Path) -> dict[str, Path]:
    """Name -> folder of everything that has `pixels/` or `latents/`: the run itself is the world."""
    recorded = folder / RECORDED
    return {WORLD: folder, **{path.name: path for path in sorted(recorded.iterdir() if recorded.is_dir() else ()) if path.is_dir()}}


def read_weights(folder: Path) -> dict[str, float]:
    """How much of the clips each source gives, relative to one another; 1 for those of which nothing was said."""
    file = folder / MIXTURE
    said = json.loads(file.read_text()) if file.is_file() else {}
    return {name: float(said.get(name, 1.0)) for name in sources(folder)}


def set_weight(folder: Path, name: str, weight: float) -> None:
    """Says how much of the clips a source gives; 0 leaves it out."""
    if not 0.0 <= weight < float("inf"):
        raise ValueError(f"weight must be 0 or more, got {weight} for {name!r}")
    weights = {**read_weights(folder), name: weight}
    (folder / MIXTURE).write_text(json.dumps(weights, indent=1) + "\n")


def mixed(files: Mapping[str, Sequence[Path]], weights: Mapping[str, float]) -> list[Path]:
    """As many files as there can be, each source's share by its weight; of a source with too many, evenly spread ones.

    No file comes twice: a small source with a large weight makes the others give less.
    """
    given = {name: weights[name] for name in files if len(files[name]) and weights[name] > 0.0}
    total = min((len(files[name]) / weight for name, weight in given.items()), default=0.0)
    return [path for name, weight in given.items() for path in _spread(files[name], max(1, round(total * weight)))]


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    return [files[place] for place in np.linspace(0, len(files) - 1, count).round().astype(int).tolist()]

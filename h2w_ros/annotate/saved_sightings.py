"""Sightings on disk: what took longest is not done twice, and what one machine saw another can fit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros.annotate.sighting import HandSighting, Sightings

VERSION = 1
_NUMBERS = ("confidence", "side_confidence", "along_ray", "point_noise", "depth_noise_m")


def save_sightings(path: Path, frames: Iterable[Sightings], key: str) -> None:
    """Writes a clip's sightings; `key` says what they were made from."""
    table = {"version": VERSION, "key": key, "frames": [[_row(sighting) for sighting in frame] for frame in frames]}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(gzip.compress(json.dumps(table).encode(), mtime=0))
    partial.replace(path)


def load_sightings(path: Path, key: str | None = None) -> list[Sightings] | None:
    """The sightings of a file; None when it is not there, or was made from something else. ValueError when it is damaged."""
    if not path.is_file():
        return None
    try:
        table = json.loads(gzip.decompress(path.read_bytes()))
        if table["version"] != VERSION or key not in (None, table["key"]):
            return None
        return [tuple(_sighting(row) for row in frame) for frame in table["frames"]]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of sightings: {error}; remove it to look anew") from error


def _row(sighting: HandSighting) -> dict[str, Any]:
    numbers = {name: getattr(sighting, name) for name in _NUMBERS}
    return {"side": sighting.side, "points_px": _list(sighting.points_px, 2), "points_hand_m": _list(sighting.points_hand_m, 5), **numbers}


def _list(points: np.ndarray, digits: int) -> list[Sequence[float | None]]:
    """Rows of numbers; JSON has no NaN, so what is missing is null."""
    return [[None if np.isnan(value) else round(float(value), digits) for value in point] for point in points]


def _sighting(row: dict[str, Any]) -> HandSighting:
    points_px, points_hand_m = (np.array(row[name], dtype=np.float64) for name in ("points_px", "points_hand_m"))
    return HandSighting(row["side"], points_px, points_hand_m, **{name: row[name] for name in _NUMBERS})

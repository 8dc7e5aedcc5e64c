"""Every dataset that can be imported. A new one is a file with a `DATASET`, and a row here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

from h2w_ros.imports.dataset import Dataset


class Place(NamedTuple):
    """Where a row is written; modules are imported when they are asked for."""

    module: str
    row: str = "DATASET"


DATASETS: Mapping[str, Place] = {
    "arctic": Place("arctic"),
    "hot3d": Place("hot3d"),
    "hoi4d": Place("hoi4d"),
    "egodex": Place("egodex"),
    "holoassist": Place("holoassist"),
    "fixed-video": Place("fixed_video"),
    "hand2world": Place("bags", "HAND2WORLD"),
    "lerobot": Place("bags", "LEROBOT"),
    "rosbag": Place("bags", "ROSBAG"),
}


def dataset(name: str) -> Dataset:
    """The dataset of this name; ValueError with the names there are."""
    if name not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {name!r}")
    place = DATASETS[name]
    found: Dataset = getattr(importlib.import_module(f"h2w_ros.imports.{place.module}"), place.row)
    return found

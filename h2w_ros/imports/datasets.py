"""Every dataset that can be imported. A new one is a file with a `DATASET`, and a row here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from h2w_ros.imports.dataset import Dataset

MODULES: Mapping[str, str] = {
    "arctic": "h2w_ros.imports.arctic",
}


def dataset(name: str) -> Dataset:
    """The dataset of this name; ValueError with the names there are."""
    if name not in MODULES:
        raise ValueError(f"dataset must be one of {', '.join(MODULES)}, got {name!r}")
    found: Dataset = importlib.import_module(MODULES[name]).DATASET
    return found

"""The statistics that LeRobot keeps of every feature: policies are normalised by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Image

Stats = dict[str, Any]
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
MAX_PICTURES = 32
"""Of an episode, so many evenly spread pictures are looked at."""


def number_stats(values: Float[ndarray, "n size"]) -> Stats:
    """By component, over rows; values that are not known (NaN) are left out, and those of a component that never is are NaN."""
    columns = [np.asarray(column)[~np.isnan(column)] for column in values.T]
    return {name: [float(measure(column)) if len(column) else float("nan") for column in columns] for name, measure in MEASURES.items()} | {
        "count": [len(values)]
    }


def picture_stats(pictures: Sequence[Image]) -> Stats:
    """By channel, of values in 0..1, shaped (3, 1, 1)."""
    channels = np.stack(pictures).reshape(-1, 3).astype(np.float64).T / 255.0
    return {name: [[[float(measure(channel))]] for channel in channels] for name, measure in MEASURES.items()} | {"count": [len(pictures)]}


def pooled(parts: Sequence[Stats]) -> Stats:
    """Statistics of all episodes together from those of each; quantiles are averaged by count, as LeRobot does."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    stacked = {name: np.stack([np.array(part[name], dtype=np.float64) for part in parts]) for name in MEASURES}
    weights = counts.reshape(-1, *[1] * (stacked["mean"].ndim - 1)) * ~np.isnan(stacked["mean"])
    weights = weights / np.maximum(weights.sum(axis=0), 1.0)
    mean = np.nansum(weights * stacked["mean"], axis=0)
    variance = np.nansum(weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2), axis=0)
    averaged = {name: np.nansum(weights * stacked[name], axis=0) for name in MEASURES if name.startswith("q")}
    found = {"min": np.fmin.reduce(stacked["min"]), "max": np.fmax.reduce(stacked["max"]), "mean": mean, "std": np.sqrt(variance), **averaged}
    never = np.isnan(stacked["mean"]).all(axis=0)
    return {name: np.where(never, np.nan, value).tolist() for name, value in found.items()} | {"count": [int(counts.sum())]}


def evenly_spread(count: int) -> list[int]:
    """Numbers of the pictures that are looked at."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_PICTURES)).round().astype(int)).tolist()


def picked(pictures: Iterable[Image], numbers: Sequence[int]) -> list[Image]:
    """The pictures of these numbers."""
    wanted = set(numbers)
    return [picture for number, picture in enumerate(pictures) if number in wanted]


MEASURES: Mapping[str, Callable[[ndarray], Any]] = {
    "min": np.min,
    "max": np.max,
    "mean": np.mean,
    "std": np.std,
    **{f"q{round(100 * share):02d}": partial(np.quantile, q=share) for share in QUANTILES},
}

"""The Fréchet distance between two clouds of features, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

FEWEST_WINDOWS = 2000
"""From so many windows on the distance means something; below it is still told, with its interval."""
DRAWS = 200
CONFIDENCE = 0.9

Features = Float[ndarray, "n f"]


def frechet_distance(a: Features, b: Features) -> float:
    """Of two clouds taken as Gaussians: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2) (Dowson and Landau 1982)."""
    covariance_a, covariance_b = (np.cov(features, rowvar=False) for features in (a, b))
    root_a = _root(covariance_a)
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root_a @ covariance_b @ root_a), 0.0, None)).sum()
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    return float(max(0.0, apart + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * shared))


def bootstrap_interval(a: Sequence[Features], b: Sequence[Features], seed: int = 0) -> tuple[float, float]:
    """The middle CONFIDENCE of the distances when episodes, of which a and b hold the windows in the same order, are drawn again.

    Windows of one episode are alike, so whole episodes are drawn. Repeated draws make small clouds look further apart
    than they are: with few episodes the interval lies above the distance itself.
    """
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(a), size=len(a)) for _ in range(DRAWS)]
    distances = [frechet_distance(np.concatenate([a[i] for i in draw]), np.concatenate([b[i] for i in draw])) for draw in drawn]
    low, high = np.quantile(distances, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def can_be_measured(windows: Sequence[Features]) -> bool:
    """Whether there are enough windows for a covariance."""
    return bool(windows) and sum(map(len, windows)) > 2 * windows[0].shape[1]


def _root(covariance: Float[ndarray, "f f"]) -> Float[ndarray, "f f"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T

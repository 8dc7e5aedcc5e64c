"""Errors by region of the picture: where hands are, where things that move are, and everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

Regions = Mapping[str, Bool[ndarray, "H W"]]


def regions_of(hand: Bool[ndarray, "H W"], thing: Bool[ndarray, "H W"]) -> Regions:
    """The four regions of one frame by its ground-truth masks; a hand in front of a thing counts as hand."""
    return {"overall": np.ones_like(hand), "hand": hand, "object": thing & ~hand, "background": ~hand & ~thing}


@dataclass
class RegionErrors:
    """Squared errors summed by region over any number of frames."""

    squared: dict[str, float] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)

    def add(self, predicted: UInt8[ndarray, "H W 3"], truth: UInt8[ndarray, "H W 3"], regions: Regions) -> None:
        """Counts one frame."""
        error = np.square(predicted.astype(np.float32) - truth)
        for name, mask in regions.items():
            self.squared[name] = self.squared.get(name, 0.0) + float(error[mask].sum(dtype=np.float64))
            self.values[name] = self.values.get(name, 0) + 3 * int(mask.sum())

    def psnr_db(self, region: str) -> float | None:
        """Peak signal to noise over all pixels of the region; None where no frame shows it, inf where nothing differs."""
        if not self.values.get(region):
            return None
        mean = self.squared[region] / self.values[region]
        return float(10 * np.log10(255**2 / mean)) if mean else float("inf")

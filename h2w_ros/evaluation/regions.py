"""Errors by region of the picture: where hands are, where things that move are, and everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.evaluation.picture_metrics import Flow, PixelMap, end_point_error, flows, squared_error, ssim_map

REGIONS = ("overall", "hand", "object", "background")
PERFECT_PSNR_DB = 100.0
"""Stands for infinity, which JSON does not know: no pixel of the region differs."""

Mask = Bool[ndarray, "H W"]
Regions = Mapping[str, Mask]


def regions_of(hand: Mask, thing: Mask) -> Regions:
    """The four regions of one frame by its ground-truth masks; a hand in front of a thing counts as hand."""
    return {"overall": np.ones_like(hand), "hand": hand, "object": thing & ~hand, "background": ~hand & ~thing}


@dataclass
class PixelMean:
    """The mean of a quantity over all pixels of each region, over any number of frames."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: PixelMap, regions: Regions) -> None:
        """Counts one frame."""
        for name, mask in regions.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(values[mask].sum(dtype=np.float64))
            self.counts[name] = self.counts.get(name, 0) + int(mask.sum())

    def of(self, region: str) -> float | None:
        """None where no frame shows the region."""
        count = self.counts.get(region)
        return self.totals[region] / count if count else None


@dataclass
class RegionErrors:
    """PSNR, SSIM and flow error by region; every pixel counts alike, whichever frame it is of."""

    squared: PixelMean = field(default_factory=PixelMean)
    ssim: PixelMean = field(default_factory=PixelMean)
    flow: PixelMean = field(default_factory=PixelMean)

    def add_clip(self, predicted: Sequence[Image], truth: Sequence[Image], regions: Sequence[Regions], true_flows: Sequence[Flow]) -> None:
        """Counts one clip; frame 0 was given, so only what comes after it, and the motions that lead there, count."""
        for index in range(1, len(truth)):
            self.add(predicted[index], truth[index], regions[index])
        for flow, true_flow, seen in zip(flows(predicted), true_flows, regions, strict=False):
            self.flow.add(end_point_error(flow, true_flow), seen)

    def add(self, predicted: Image, truth: Image, regions: Regions) -> None:
        """Counts one frame, without motion."""
        self.squared.add(squared_error(predicted, truth), regions)
        self.ssim.add(ssim_map(predicted, truth), regions)

    def psnr_db(self, region: str) -> float | None:
        """Peak signal to noise over all pixels of the region; None where no frame shows it."""
        mean = self.squared.of(region)
        return None if mean is None else psnr_db(mean)

    def metrics(self, region: str) -> dict[str, float | None]:
        """The region's numbers by name: psnr [dB], ssim, flow_error [px a frame]."""
        return {"psnr": self.psnr_db(region), "ssim": self.ssim.of(region), "flow_error": self.flow.of(region)}


def psnr_db(mean_squared_error: float) -> float:
    """Of 8-bit pictures; `PERFECT_PSNR_DB` at most."""
    if mean_squared_error <= 0.0:
        return PERFECT_PSNR_DB
    return min(PERFECT_PSNR_DB, float(10 * np.log10(255**2 / mean_squared_error)))

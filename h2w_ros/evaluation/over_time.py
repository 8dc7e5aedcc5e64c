"""How pictures get worse the longer a stream lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.evaluation.picture_metrics import squared_error
from h2w_ros.evaluation.regions import psnr_db

FEWEST_FRAMES = 8
"""Of fewer judged frames there is no first and last quarter to compare."""


@dataclass
class OverTime:
    """Squared errors by frame, summed over any number of clips of one length; frame 0 is given and left out."""

    totals: Float[ndarray, "t"] = field(default_factory=lambda: np.zeros(0))
    num_clips: int = 0

    def add(self, predicted: Sequence[Image], truth: Sequence[Image]) -> None:
        """Counts one clip."""
        errors = np.array([squared_error(a, b).mean(dtype=np.float64) for a, b in zip(predicted[1:], truth[1:], strict=True)])
        self.totals = errors if self.num_clips == 0 else self.totals + errors
        self.num_clips += 1

    @property
    def psnr_db(self) -> list[float]:
        """Of every frame from 1 on."""
        return [psnr_db(total / self.num_clips) for total in self.totals]

    @property
    def drift_db(self) -> float | None:
        """PSNR of the first quarter minus that of the last; None for clips that are too short."""
        if len(self.totals) < FEWEST_FRAMES:
            return None
        quarter = len(self.totals) // 4
        first, last = self.totals[:quarter].mean() / self.num_clips, self.totals[-quarter:].mean() / self.num_clips
        return psnr_db(first) - psnr_db(last)

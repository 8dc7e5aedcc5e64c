"""How sure the generator is: futures that differ by their seeds only."""

from __future__ import annotations

import math

from h2w_ros.planning.prediction import Future


def spread(future: Future) -> float:
    """Standard deviation across seeds, averaged over all pictures, pixels and channels [grey levels]; NaN with one seed."""
    if len(future.pictures) < 2:
        return math.nan
    return float(future.pictures.astype("float32").std(axis=0, ddof=1).mean())

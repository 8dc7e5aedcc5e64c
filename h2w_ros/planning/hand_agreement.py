"""Whether hands are where they were asked to be, told by colour alone.

The picture to begin from shows which colours a hand has here, and which everything else has. In a predicted picture, pixels where
the hands' render puts a hand should then look more like hand than those elsewhere. This knows nothing of shape: a smear of skin
in the right place agrees, and a table of the hand's colour hides a good hand. On 16 simulated episodes the true pictures get 0.90 on average,
pictures without hands 0.50, and the true ones with hands asked for a third of the picture aside 0.48.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.planning.prediction import Future

MIN_PIXELS = 24
LEVELS_A_BIN = 32
RIM_PX = 2
"""Around a hand's outline, where pixels are of both kinds, none is counted."""


def hand_agreement(future: Future) -> float:
    """Mean over pictures and seeds; 1 is certain, 0.5 what chance gives; NaN where no picture can be judged."""
    judge = hand_likelihood(future.start, future.start_hands)
    if judge is None:
        return math.nan
    shares = [
        agreement(judge[colour_bins(picture)], hands) for pictures in future.pictures for picture, hands in zip(pictures, future.hands, strict=True)
    ]
    defined = [share for share in shares if not math.isnan(share)]
    return float(np.mean(defined)) if defined else math.nan


def hand_likelihood(picture: Image, hands: Bool[ndarray, "H W"]) -> Float[ndarray, "bins"] | None:
    """By colour bin, the log of how much more common it is inside the hands than outside; None where too little of either is seen."""
    inside, outside = _apart(hands)
    if min(inside.sum(), outside.sum()) < MIN_PIXELS:
        return None
    bins, num_bins = colour_bins(picture), (256 // LEVELS_A_BIN) ** 3
    ours, theirs = (_smoothed(np.bincount(bins[mask], minlength=num_bins)) for mask in (inside, outside))
    return np.log(ours / theirs)


def agreement(likelihood: Float[ndarray, "H W"], hands: Bool[ndarray, "H W"]) -> float:
    """Chance that a pixel inside is likelier hand than one outside, ties counted half; NaN where too few pixels are on one side.

    The area under the ROC curve, by ranks (Mann-Whitney).
    """
    from scipy.stats import rankdata

    inside, outside = _apart(hands)
    num_in, num_out = int(inside.sum()), int(outside.sum())
    if min(num_in, num_out) < MIN_PIXELS:
        return math.nan
    ranks = rankdata(np.concatenate([likelihood[inside], likelihood[outside]]))
    return float((ranks[:num_in].sum() - num_in * (num_in + 1) / 2) / (num_in * num_out))


def _apart(hands: Bool[ndarray, "H W"]) -> tuple[Bool[ndarray, "H W"], Bool[ndarray, "H W"]]:
    """Surely hand, and surely not."""
    kernel = np.ones((2 * RIM_PX + 1,) * 2, np.uint8)
    grown = cv2.dilate(hands.astype(np.uint8), kernel)
    return hands, grown == 0


def colour_bins(picture: Image) -> ndarray:
    """A number for the colour of every pixel."""
    coarse = (picture // LEVELS_A_BIN).astype(np.int64)
    base = 256 // LEVELS_A_BIN
    return (coarse[..., 0] * base + coarse[..., 1]) * base + coarse[..., 2]


def _smoothed(counts: ndarray) -> Float[ndarray, "bins"]:
    """Shares of colour bins; neighbours in colour lend one another a little, so that a shade darker is still the same kind."""
    from scipy.ndimage import gaussian_filter

    base = 256 // LEVELS_A_BIN
    soft = gaussian_filter(counts.reshape((base,) * 3).astype(np.float64), 0.7, mode="nearest").ravel()
    return (soft + 1e-3) / (soft + 1e-3).sum()

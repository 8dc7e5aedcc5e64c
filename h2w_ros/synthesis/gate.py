"""What a synthesized episode must be worth to be kept: hands where they were asked for, colours that stay, futures that agree."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.planning.hand_agreement import agreement, colour_bins

HAND_MARGIN_PX = 9


@dataclass(frozen=True)
class GateConfig:
    """Limits of what is kept.

    `min_hand_agreement`: chance that a pixel where a hand is asked for has more of a hand's colour than one elsewhere, 0.5 is
    chance itself. `max_drift` [grey levels]: how far colours and contrast away from the hands have moved by the last quarter.
    `max_spread` [grey levels]: standard deviation between two seeds. `keep_unjudged`: keep episodes whose hands nobody can judge,
    because the recording never shows its own.
    """

    min_hand_agreement: float = 0.7
    max_drift: float = 20.0
    max_spread: float = 20.0
    keep_unjudged: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_hand_agreement <= 1.0:
            raise ValueError(f"min_hand_agreement must be in 0..1, got {self.min_hand_agreement}")
        if not self.max_drift > 0.0 or not self.max_spread > 0.0:
            raise ValueError(f"max_drift and max_spread must be positive, got {self.max_drift} and {self.max_spread}")


@dataclass(frozen=True)
class Worth:
    """What was measured; None where it could not be."""

    hand_agreement: float | None
    drift: float
    spread: float

    def as_json(self) -> dict[str, float | None]:
        """Rounded, for ledgers and manifests."""
        return {name: None if value is None else round(value, 4) for name, value in asdict(self).items()}


@dataclass(eq=False)
class Meter:
    """Measures an episode picture by picture; `likelihood` tells by colour bin how much more common it is in hands (None: nobody knows)."""

    start: Image
    start_hands: Bool[ndarray, "H W"]
    likelihood: Float[ndarray, "bins"] | None
    _agreements: list[float] = field(default_factory=list)
    _drifts: list[float] = field(default_factory=list)
    _spreads: list[float] = field(default_factory=list)
    _asked: int = 0

    def add(self, pictures: UInt8[ndarray, "S H W 3"], hands: Bool[ndarray, "H W"]) -> None:
        """One moment: every seed's picture (the first one is the episode's), and where hands were asked for."""
        self._asked += bool(hands.any())
        if self.likelihood is not None:
            self._agreements.append(agreement(self.likelihood[colour_bins(pictures[0])], hands))
        self._drifts.append(_look_distance(_look(self.start, self.start_hands), _look(pictures[0], hands)))
        self._spreads.append(float(pictures.astype(np.float32).std(axis=0, ddof=1).mean()) if len(pictures) > 1 else 0.0)

    def worth(self) -> Worth:
        """The measures of all that was added. Without any hand asked for, they agree."""
        told = [value for value in self._agreements if not math.isnan(value)]
        agrees = float(np.mean(told)) if told else None if self._asked else 1.0
        last_quarter = self._drifts[-max(1, len(self._drifts) // 4) :]
        return Worth(agrees, float(np.mean(last_quarter)), float(np.mean(self._spreads)))


def reasons_against(worth: Worth, gate: GateConfig) -> list[str]:
    """Why an episode is not kept; empty for one that is."""
    reasons = []
    if worth.hand_agreement is None and not gate.keep_unjudged:
        reasons.append("its hands can't be judged: the recording never shows what its own hands look like")
    if worth.hand_agreement is not None and worth.hand_agreement < gate.min_hand_agreement:
        reasons.append(f"hand agreement {worth.hand_agreement:.2f} is below {gate.min_hand_agreement:g}")
    if worth.drift > gate.max_drift:
        reasons.append(f"drift {worth.drift:.1f} grey levels is above {gate.max_drift:g}")
    if worth.spread > gate.max_spread:
        reasons.append(f"spread {worth.spread:.1f} grey levels is above {gate.max_spread:g}")
    return reasons


def _look(picture: Image, hands: Bool[ndarray, "H W"]) -> Float[ndarray, "2 3"]:
    """Mean and standard deviation of each channel away from hands [grey levels]."""
    near = cv2.dilate(hands.astype(np.uint8), np.ones((HAND_MARGIN_PX, HAND_MARGIN_PX), np.uint8)) > 0
    pixels = picture[~near] if not near.all() else picture.reshape(-1, 3)
    return np.stack([pixels.mean(axis=0), pixels.std(axis=0)])


def _look_distance(one: Float[ndarray, "2 3"], other: Float[ndarray, "2 3"]) -> float:
    return float(np.abs(one - other).mean())

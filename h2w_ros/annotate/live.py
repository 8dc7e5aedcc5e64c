"""Hands picture by picture, as they come: lifted to metres by the size of a hand, fitted one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from h2w_ros.annotate.lift import lifted
from h2w_ros.annotate.sighting import HandSighting, Sightings
from h2w_ros.condition import SIDES, Camera, HandPose, Side
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.plausibility import size_against
from h2w_ros.hands.skeleton import HandSkeleton

# How much of the old estimate of a shape's size each picture keeps: networks guess it anew every time.
SIZE_MEMORY = 0.95
# Fits further from their points [m], and hands further from the camera [m], are left out.
MOST_ERROR_M, FARTHEST_M = 0.03, 1.2
# A hand of which a detector is less sure may be the other one, where that is free.
SURE_SIDE = 0.7


class LiveHands:
    """One person's two hands before one camera."""

    def __init__(self, mano: Path | str | None = None, farthest_m: float = FARTHEST_M) -> None:
        self._models = {side: load_hand_model(side, mano) for side in SIDES}
        self._fitters = {side: HandFitter(self._models[side]) for side in SIDES}
        self._farthest_m = farthest_m
        self._scale = float("nan")
        self.dropped: Counter[str] = Counter()

    def fit(self, sightings: Sightings, camera: Camera, stamp_ns: int) -> tuple[HandPose, ...]:
        """The hands in the camera's frame, at most one a side; what cannot be one is counted in `dropped`."""
        sided = self._one_a_side(sightings)
        for side, sighting in sided.items():
            self._learn_size(side, sighting)
        fitted = (self._fitted(side, sighting, camera, stamp_ns) for side, sighting in sorted(sided.items()))
        return tuple(hand for hand in fitted if hand is not None)

    def _one_a_side(self, sightings: Sightings) -> Mapping[Side, HandSighting]:
        """The largest hand of a side keeps it: the wearer's are near. Another may be the other side's if nothing speaks against it."""
        kept: dict[Side, HandSighting] = {}
        for sighting in sorted(sightings, key=lambda seen: -seen.size_px * seen.confidence):
            other: Side = "left" if sighting.side == "right" else "right"
            if sighting.side not in kept:
                kept[sighting.side] = sighting
            elif other not in kept and sighting.side_confidence < SURE_SIDE:
                kept[other] = sighting
                self.dropped["side_corrected"] += 1
            else:
                self.dropped["hand_side_twice"] += 1
        return kept

    def _learn_size(self, side: Side, sighting: HandSighting) -> None:
        size = size_against(self._models[side], HandSkeleton(side, sighting.points_hand_m))
        if np.isfinite(size) and size > 0.0:
            self._scale = 1.0 / size if np.isnan(self._scale) else SIZE_MEMORY * self._scale + (1.0 - SIZE_MEMORY) / size

    def _fitted(self, side: Side, sighting: HandSighting, camera: Camera, stamp_ns: int) -> HandPose | None:
        skeleton = lifted(sighting, camera, self._scale) if np.isfinite(self._scale) else None
        if skeleton is None or float(np.linalg.norm(np.nanmean(skeleton.points_world, axis=0))) > self._farthest_m:
            self.dropped["out_of_reach"] += 1
            return None
        try:
            fitted = self._fitters[side].fit(HandSkeleton(side, skeleton.points_world, skeleton.weights, confidence=sighting.confidence), stamp_ns)
        except ValueError:
            self.dropped["no_hand"] += 1
            return None
        if fitted.error_m > MOST_ERROR_M:
            self._fitters[side].reset()
            self.dropped["no_hand"] += 1
            return None
        return fitted.hand

"""Joints of a whole sequence to hands: each side's shape measured once over the sequence, then every frame fitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from h2w_ros.condition import HandPose
from h2w_ros.hands.calibrate import HandShape, calibrate
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.plausibility import check_bones, check_side, check_size
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.tracking import TrackingConfig
from h2w_ros.imports.mano import SIDES

# A shape is measured on so many frames at most, spread over the sequence: more say nothing new.
MOST_CALIBRATED = 300


class SeenHand(NamedTuple):
    """One hand's joints at one frame of a sequence."""

    frame: int
    stamp_ns: int
    skeleton: HandSkeleton


@dataclass
class Faults:
    """What was wrong with hands: counted by reason, and the first one in words."""

    counts: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def add(self, reason: str, error: ValueError) -> None:
        """One more hand that cannot be used."""
        self.counts[reason] += 1
        self.first = self.first or str(error)


def fit_sequence(seen: Sequence[SeenHand], mano: Path | None, dropped: Counter[str]) -> dict[int, tuple[HandPose, ...]]:
    """Frame -> its hands. What is no hand is counted in `dropped`.

    ValueError, with the first reason and its remedy, when joints were given and none of them can be hands.
    """
    faults = Faults()
    hands: dict[int, tuple[HandPose, ...]] = {}
    for side in SIDES:
        found = fit_side(load_hand_model(side, mano), [hand for hand in seen if hand.skeleton.side == side], faults)
        for frame, hand in found.items():
            hands[frame] = (*hands.get(frame, ()), hand)
    if seen and not hands:
        raise ValueError(f"none of {len(seen)} tracked hands can be used; the first: {faults.first}")
    dropped.update(faults.counts)
    return hands


def fit_side(model: HandModel, seen: Sequence[SeenHand], faults: Faults) -> dict[int, HandPose]:
    """The hands of one side by frame."""
    plausible = [hand for hand in seen if _is_plausible(model, hand.skeleton, faults)]
    fitter = HandFitter(model, _shape(model, [hand.skeleton for hand in plausible]))
    found: dict[int, HandPose] = {}
    for frame, stamp_ns, skeleton in plausible:
        try:
            fitted = fitter.fit(skeleton, stamp_ns)
            most_m = TrackingConfig().most_error_m
            if fitted.error_m > most_m:
                fitter.reset()
                raise ValueError(f"no {model.side} hand fits the joints within {1e3 * most_m:.0f} mm: the best is {1e3 * fitted.error_m:.0f} mm away")
        except ValueError as error:
            faults.add("hand_unfitted", error)
            continue
        found[frame] = fitted.hand
    return found


def _is_plausible(model: HandModel, skeleton: HandSkeleton, faults: Faults) -> bool:
    checks: dict[str, Callable[[HandSkeleton], None]] = {
        "hand_bones_without_length": check_bones,
        "hand_of_wrong_size": partial(check_size, model),
        "hand_of_other_side": check_side,
    }
    return all(_passes(check, skeleton, reason, faults) for reason, check in checks.items())


def _passes(check: Callable[[HandSkeleton], None], skeleton: HandSkeleton, reason: str, faults: Faults) -> bool:
    try:
        check(skeleton)
    except ValueError as error:
        faults.add(reason, error)
        return False
    return True


def _shape(model: HandModel, skeletons: Sequence[HandSkeleton]) -> HandShape:
    """The sequence's own shape; the mean hand where too little of it was seen to measure one."""
    step = -(-len(skeletons) // MOST_CALIBRATED) or 1
    try:
        return calibrate(model, skeletons[::step]).shape
    except ValueError:
        return HandShape()

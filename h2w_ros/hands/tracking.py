"""From skeletons of both hands to poses, live: checked, fitted, calibrated on the first seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from h2w_ros.condition import SIDES, Side
from h2w_ros.hands.calibrate import LEAST_FRAMES, Calibration, HandShape, calibrate
from h2w_ros.hands.fit import FitConfig, FittedHand, HandFitter
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.plausibility import check_bones, check_side, check_size, size_against
from h2w_ros.hands.skeleton import HandSkeleton

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class TrackingConfig:
    """How long a hand is watched before it is calibrated by itself (0: only when asked), and how well a fit must hold.

    A calibration rests on at most `remember_s` of frames. Fits with a larger mean distance from their joints than
    `most_error_m` are dropped: they are not that hand.
    """

    calibrate_after_s: float = 3.0
    remember_s: float = 10.0
    most_error_m: float = 0.025
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not 0.0 <= self.calibrate_after_s <= self.remember_s:
            raise ValueError(f"0 <= calibrate_after_s <= remember_s must hold, got {self.calibrate_after_s} and {self.remember_s}")
        if self.most_error_m <= 0.0:
            raise ValueError(f"most_error_m must be positive, got {self.most_error_m}")


class HandTracking:
    """One person's two hands."""

    def __init__(self, mano: Path | str | None = None, config: TrackingConfig | None = None, is_metric: bool = True) -> None:
        self.config = config or TrackingConfig()
        self._hands = {side: _TrackedHand(load_hand_model(side, mano), self.config, is_metric) for side in SIDES}

    def fit(self, skeleton: HandSkeleton, stamp_ns: int) -> FittedHand:
        """The pose of one hand; ValueError, with the remedy, for what is no hand, or not this one."""
        return self._hands[skeleton.side].fit(skeleton, stamp_ns)

    def calibrate_when_due(self, side: Side) -> Calibration | None:
        """The first calibration of a hand once it has been seen for long enough; ValueError, and a new wait, when it was not seen well."""
        tracked = self._hands[side]
        if not tracked.is_due():
            return None
        try:
            calibration = tracked.calibrate()
        except ValueError:
            tracked.forget()
            raise
        self._adopt(side, calibration)
        return calibration

    def calibrate(self) -> Mapping[Side, Calibration]:
        """The shapes of the hands seen in the last seconds, used from now on; ValueError when none was seen well enough."""
        seen = [side for side in SIDES if self._hands[side].num_frames]
        if not seen:
            raise ValueError("no hand was seen in the last seconds: hold an open hand in full view, then calibrate again")
        found = {side: self._hands[side].calibrate() for side in seen}
        for side, calibration in found.items():
            self._adopt(side, calibration)
        return found

    def noise_m(self, side: Side) -> float:
        """The tracker's noise on this hand, as the fits see it [m]."""
        return self._hands[side].noise_m

    def is_calibrated(self, side: Side) -> bool:
        """Whether this hand has been measured itself."""
        return self._hands[side].is_calibrated

    def _adopt(self, side: Side, calibration: Calibration) -> None:
        """A measured shape; the other hand takes it too until it is measured itself."""
        self._hands[side].set_shape(calibration.shape)
        other = self._hands["left" if side == "right" else "right"]
        if not other.is_calibrated:
            other.set_shape(calibration.shape, is_measured=False)


class _TrackedHand:
    """One side: its fitter, and the frames that its shape is measured from."""

    def __init__(self, model: HandModel, config: TrackingConfig, is_metric: bool) -> None:
        self._model, self._config, self._is_metric = model, config, is_metric
        self._frames: deque[tuple[int, HandSkeleton]] = deque()
        self._fitter: HandFitter | None = HandFitter(model, config=config.fit) if is_metric else None
        self.is_calibrated = False

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    @property
    def noise_m(self) -> float:
        return float("nan") if self._fitter is None else self._fitter.noise_m

    def fit(self, skeleton: HandSkeleton, stamp_ns: int) -> FittedHand:
        self._check(skeleton)
        if self._fitter is None:  # of unknown scale, until it is calibrated
            self._fitter = HandFitter(self._model, HandShape(scale=1.0 / size_against(self._model, skeleton)), self._config.fit)
        fitted = self._fitter.fit(skeleton, stamp_ns)
        if fitted.error_m > self._config.most_error_m:
            self._fitter.reset()
            raise ValueError(
                f"no {skeleton.side} hand fits the joints: the best is {1e3 * fitted.error_m:.0f} mm away on average,"
                f" at most {1e3 * self._config.most_error_m:.0f} allowed; check convention, axes and side"
            )
        self._remember(skeleton, stamp_ns)
        return fitted

    def is_due(self) -> bool:
        """Whether it is time for the first calibration."""
        after_s = self._config.calibrate_after_s
        return not self.is_calibrated and after_s > 0.0 and self.num_frames >= 3 * LEAST_FRAMES and self._span_s() >= after_s

    def calibrate(self) -> Calibration:
        return calibrate(self._model, [skeleton for _, skeleton in self._frames], self._is_metric)

    def forget(self) -> None:
        """Begins to watch anew."""
        self._frames.clear()

    def set_shape(self, shape: HandShape, is_measured: bool = True) -> None:
        self._fitter = HandFitter(self._model, shape, self._config.fit)
        self.is_calibrated = is_measured

    def _check(self, skeleton: HandSkeleton) -> None:
        check_bones(skeleton)
        if self._is_metric:
            check_size(self._model, skeleton)
        check_side(skeleton)

    def _span_s(self) -> float:
        return (self._frames[-1][0] - self._frames[0][0]) / NS_PER_S

    def _remember(self, skeleton: HandSkeleton, stamp_ns: int) -> None:
        if self._frames and stamp_ns <= self._frames[-1][0]:
            self._frames.clear()
        self._frames.append((stamp_ns, skeleton))
        while self._span_s() > self._config.remember_s:
            self._frames.popleft()

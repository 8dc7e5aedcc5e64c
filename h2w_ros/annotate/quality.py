"""How good an annotated clip is, and whether it is good enough for a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.scale import ScaleFound
from h2w_ros.annotate.hand_stage import HandsFound
from h2w_ros.condition import SIDES, Condition, Side

NO_HANDS = "no hands were found"

Checks = tuple[tuple[bool, str], ...]
"""Whether a rule is broken, and the sentence that says so."""


@dataclass(frozen=True)
class Scores:
    """A clip in numbers; NaN where there was nothing to measure.

    `coverage`: share of frames with at least one hand; `both`: with both; `filled`: share of hands that were filled in.
    `reprojection_px`, `reprojection`: mean distance of fitted joints from where they were seen, and as a share of the hand's
    size. `jitter_m_per_s2`: median acceleration of wrists in the world. `camera_coverage`: share of frames whose camera is known;
    `camera_error_px`, `parallax_deg`, `agreement`, `parallax_agreement`: see `CameraPath`. `scale`: metres per unit of the camera's path by the
    hands; `scale_spread`: the factor by which parts of the clip differ about it.
    """

    num_frames: int
    coverage: float
    both: float
    filled: float
    reprojection_px: float
    reprojection: float
    jitter_m_per_s2: float
    camera_coverage: float
    camera_error_px: float
    parallax_deg: float
    agreement: float
    parallax_agreement: float
    scale: float
    scale_spread: float


@dataclass(frozen=True)
class GateConfig:
    """What a clip must reach. A score that could not be measured does not reject a clip; `coverage` always can be.

    Structure from motion that went wrong, as it may over a bare table or with a head that hardly moved, shows in the points that do not
    agree with its path; where most points only turn with the camera any path explains those, so the others are asked alone.
    """

    least_coverage: float = 0.3
    most_reprojection: float = 0.06
    most_jitter_m_per_s2: float = 20.0
    least_camera_coverage: float = 0.8
    most_camera_error_px: float = 1.0
    least_agreement: float = 0.5
    least_parallax_agreement: float = 0.55
    most_scale_spread: float = 1.6

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0.0:
                raise ValueError(f"{name} must not be negative, got {value}")
        shares = (self.least_coverage, self.least_camera_coverage, self.least_agreement, self.least_parallax_agreement)
        if max(shares) > 1.0:
            raise ValueError(f"shares must be at most 1, got {shares}")


def scores_of(hands: HandsFound, path: CameraPath, scale: ScaleFound, conditions: Sequence[Condition]) -> Scores:
    """The numbers of one clip."""
    found = [hand for frame in hands.frames for hand in frame.values()]
    seen = [hand for hand in found if hand.is_seen]
    num_frames = len(hands.frames)
    return Scores(
        num_frames=num_frames,
        coverage=sum(bool(frame) for frame in hands.frames) / num_frames,
        both=sum(len(frame) == 2 for frame in hands.frames) / num_frames,
        filled=1.0 - len(seen) / len(found) if found else float("nan"),
        reprojection_px=_mean([hand.error_px for hand in seen]),
        reprojection=_mean([hand.error_px / hand.size_px for hand in seen]),
        jitter_m_per_s2=_median([value for side in SIDES for value in accelerations(conditions, side)]),
        camera_coverage=path.known_share,
        camera_error_px=path.error_px,
        parallax_deg=path.parallax_deg,
        agreement=path.agreement,
        parallax_agreement=path.parallax_agreement,
        scale=scale.scale,
        scale_spread=scale.spread,
    )


def reasons_against(scores: Scores, gate: GateConfig) -> list[str]:
    """Why a clip is rejected, a sentence each; empty when it is good."""
    if scores.coverage == 0.0:
        return [NO_HANDS]
    return [text for is_against, text in (*_hands_checked(scores, gate), *_path_checked(scores, gate)) if is_against]


def _hands_checked(scores: Scores, gate: GateConfig) -> Checks:
    return (
        (scores.coverage < gate.least_coverage, f"hands in {scores.coverage:.0%} of frames, at least {gate.least_coverage:.0%} wanted"),
        (
            scores.reprojection > gate.most_reprojection,
            f"fitted hands are {scores.reprojection:.1%} of their size off their points, at most {gate.most_reprojection:.1%} wanted",
        ),
        (
            scores.jitter_m_per_s2 > gate.most_jitter_m_per_s2,
            f"wrists tremble with {scores.jitter_m_per_s2:.0f} m/s^2, at most {gate.most_jitter_m_per_s2:.0f} wanted",
        ),
    )


def _path_checked(scores: Scores, gate: GateConfig) -> Checks:
    return (
        (
            scores.camera_coverage < gate.least_camera_coverage,
            f"the camera is known in {scores.camera_coverage:.0%} of frames, at least {gate.least_camera_coverage:.0%} wanted",
        ),
        (
            scores.camera_error_px > gate.most_camera_error_px,
            f"the scene's points are {scores.camera_error_px:.2f} px off, at most {gate.most_camera_error_px:.2f} wanted",
        ),
        (
            scores.agreement < gate.least_agreement,
            f"{scores.agreement:.0%} of the scene's points agree with the camera's path, at least {gate.least_agreement:.0%} wanted",
        ),
        (
            scores.parallax_agreement < gate.least_parallax_agreement,
            f"{scores.parallax_agreement:.0%} of the points that tell how the camera moved agree with its path,"
            f" at least {gate.least_parallax_agreement:.0%} wanted",
        ),
        (
            scores.scale_spread > gate.most_scale_spread,
            f"hands give the camera's path scales that differ by a factor of {scores.scale_spread:.2f}, at most {gate.most_scale_spread:.2f} wanted",
        ),
    )


def accelerations(conditions: Sequence[Condition], side: Side) -> list[float]:
    """Sizes of the wrist's acceleration in the world [m/s^2] wherever three successive moments show it."""
    triples = zip(conditions, conditions[1:], conditions[2:], strict=False)
    return [value for triple in triples if (value := _acceleration(triple, side)) is not None]


def _acceleration(triple: tuple[Condition, Condition, Condition], side: Side) -> float | None:
    hands = [moment.hand(side) for moment in triple]
    places = [hand.T_world_wrist[:3, 3] for hand in hands if hand is not None]
    if len(places) < 3:
        return None
    before_s, after_s = ((b.stamp_ns - a.stamp_ns) * 1e-9 for a, b in pairwise(triple))
    change = (places[2] - places[1]) / after_s - (places[1] - places[0]) / before_s
    return float(np.linalg.norm(change) / (0.5 * (before_s + after_s)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")

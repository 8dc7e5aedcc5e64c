"""The hand stage: sightings of a whole clip to hands in the camera's frame, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from h2w_ros.annotate.lift import lifted, ray_to
from h2w_ros.annotate.sequence_fit import fit_sequence, no_evidence
from h2w_ros.annotate.sequence_problem import Evidence, SequenceConfig, SequenceProblem
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.annotate.tracks import SidedTrack, TrackConfig, follow, settle, stretches
from h2w_ros.condition import SIDES, Camera, HandPose, Side
from h2w_ros.geometry import interpolate
from h2w_ros.hands.anatomy import NUM_FINGER_JOINTS
from h2w_ros.hands.fit_problem import FitState
from h2w_ros.hands.fit_start import start_state
from h2w_ros.hands.kinematics import ShapedHand, joint_angles, rotation_vectors, shaped_hand
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.plausibility import size_against
from h2w_ros.hands.skeleton import HandSkeleton

# What is filled in between two sightings is worth this share of their confidence.
FILLED = 0.5


@dataclass(frozen=True)
class HandStageConfig:
    """How sightings become poses.

    `farthest_m`: a hand further from the camera is not the wearer's. `most_error`: frames in which the fitted hand is
    further from its points than this share of the hand's size are left out. `mano`: folder of the user's MANO files.
    """

    farthest_m: float = 1.2
    most_error: float = 0.12
    mano: Path | None = None
    tracks: TrackConfig = field(default_factory=TrackConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)

    def __post_init__(self) -> None:
        if not self.farthest_m > 0.0 or not self.most_error > 0.0:
            raise ValueError(f"farthest_m and most_error must be positive, got {self.farthest_m} and {self.most_error}")


@dataclass(frozen=True, eq=False)
class FoundHand:
    """A hand of one frame in the camera's frame; how far its points fall from where they were seen [px], NaN where it was filled in."""

    hand_camera: HandPose
    error_px: float
    size_px: float

    @property
    def is_seen(self) -> bool:
        """Whether this frame itself shows the hand."""
        return bool(np.isfinite(self.error_px))


@dataclass(frozen=True, eq=False)
class HandsFound:
    """The hands of every frame, at most one a side; what was left out, by reason."""

    frames: tuple[Mapping[Side, FoundHand], ...]
    dropped: Mapping[str, int]


def find_hands(frames: Sequence[Sightings], stamps_ns: Sequence[int], camera: Camera, config: HandStageConfig | None = None) -> HandsFound:
    """The wearer's hands: followed, sided, fitted over time, short gaps filled. A clip without hands gives frames without hands."""
    config = config or HandStageConfig()
    dropped: Counter[str] = Counter()
    tracks = settle(follow(frames, stamps_ns, config.tracks, dropped), config.tracks, dropped)
    shaped = {side: shaped_hand(load_hand_model(side, config.mano), np.zeros(10)) for side in SIDES}
    found: list[dict[Side, FoundHand]] = [{} for _ in frames]
    for track in tracks.hands:
        mean_hand = shaped[track.side]
        fitter = _StretchFitter(mean_hand, camera, scale_of(track, mean_hand.model), config)
        for stretch in stretches(track, stamps_ns, config.tracks.longest_gap_s):
            for frame, hand in fitter.fit(track, stretch, stamps_ns, dropped).items():
                found[frame].setdefault(track.side, hand)
    return HandsFound(tuple(found), {reason: count for reason, count in dropped.items() if count})


def scale_of(track: SidedTrack, model: HandModel) -> float:
    """How many metres of the mean hand a metre of the detector's shapes is, over one hand's track; 1 where no length was seen.

    Proportions that a network guesses say nothing reliable about a person's hand, but the mean hand's size is what gives the metre.
    """
    sizes = np.array([size_against(model, HandSkeleton(track.side, sighting.points_hand_m)) for sighting in track.sightings.values()])
    known = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return 1.0 / float(np.median(known)) if len(known) else 1.0


@dataclass(frozen=True, eq=False)
class _StretchFitter:
    """Fits one hand to the stretches in which it is seen."""

    hand: ShapedHand
    camera: Camera
    scale: float
    config: HandStageConfig

    def fit(self, track: SidedTrack, seen: Sequence[int], stamps_ns: Sequence[int], dropped: Counter[str]) -> dict[int, FoundHand]:
        """The hand in every frame from the first sighting to the last; frames that do not fit are counted and left out."""
        skeletons = self._lifted(track, seen, dropped)
        if len(skeletons) < self.config.tracks.least_frames:
            dropped["seen too briefly"] += len(skeletons)
            return {}
        frames = range(min(skeletons), max(skeletons) + 1)
        times_s = np.array([stamps_ns[frame] for frame in frames]) * 1e-9
        evidence = self._evidence(track, skeletons, frames, times_s)
        problem = SequenceProblem(self.hand, self.camera, evidence, self._rest_rad, self.config.sequence)
        states = fit_sequence(problem, self._start(skeletons, frames))
        if np.median([np.linalg.norm(state.T_world_wrist[:3, 3]) for state in states]) > self.config.farthest_m:
            dropped["out of the wearer's reach"] += len(skeletons)
            return {}
        fitted = dict(zip(frames, states, strict=True))
        errors_px = {frame: float(np.nanmean(problem.errors_px(frame - frames.start, fitted[frame]))) for frame in skeletons}
        good = [frame for frame, error in errors_px.items() if error <= self.config.most_error * track.sightings[frame].size_px]
        dropped["fit does not meet its points"] += len(skeletons) - len(good)
        return self._kept(fitted, track, errors_px, good)

    @property
    def _rest_rad(self) -> np.ndarray:
        return joint_angles(self.hand, self.hand.model.pose_mean_rad.reshape(NUM_FINGER_JOINTS, 3))

    def _lifted(self, track: SidedTrack, seen: Sequence[int], dropped: Counter[str]) -> dict[int, HandSkeleton]:
        """The hand before the camera, where it can stand there."""
        candidates = {frame: lifted(track.sightings[frame], self.camera, self.scale) for frame in seen}
        skeletons = {frame: skeleton for frame, skeleton in candidates.items() if skeleton is not None}
        dropped["not before the camera"] += len(candidates) - len(skeletons)
        return skeletons

    def _evidence(self, track: SidedTrack, skeletons: Mapping[int, HandSkeleton], frames: range, times_s: np.ndarray) -> Evidence:
        evidence = no_evidence(times_s)
        for frame, skeleton in skeletons.items():
            place, sighting = frame - frames.start, track.sightings[frame]
            ray = ray_to(self.camera, np.nanmean(sighting.points_px, axis=0))
            along = skeleton.points_world @ ray
            evidence.points_px[place] = sighting.points_px
            evidence.noise_px[place] = sighting.point_noise * sighting.size_px / max(sighting.confidence, 0.1)
            evidence.rays[place], evidence.depths_m[place] = ray, along - np.nanmean(along)
            evidence.depth_noise_m[place] = sighting.depth_noise_m
        return evidence

    def _start(self, skeletons: Mapping[int, HandSkeleton], frames: range) -> list[FitState]:
        """Every sighting fitted alone; in between, halfway."""
        known: dict[int, FitState] = {}
        for frame, skeleton in skeletons.items():
            side_fixed = HandSkeleton(self.hand.model.side, skeleton.points_world, skeleton.weights)
            known[frame] = start_state(self.hand, side_fixed, self._rest_rad)
        return [known[frame] if frame in known else _between(known, frame) for frame in frames]

    def _kept(self, fitted: Mapping[int, FitState], track: SidedTrack, errors_px: Mapping[int, float], good: Sequence[int]) -> dict[int, FoundHand]:
        """Hands that meet their points; what was filled in stays only between two of those."""
        found = {}
        for frame, state in fitted.items():
            near = [neighbour for neighbour in (_last(good, frame), _first(good, frame)) if neighbour is not None]
            is_good, is_filled = frame in good, frame not in errors_px and len(near) == 2
            if is_good or is_filled:
                confidence = min(track.sightings[neighbour].confidence for neighbour in near) * (1.0 if is_good else FILLED)
                error_px = errors_px[frame] if is_good else float("nan")
                found[frame] = FoundHand(self._pose(state, confidence), error_px, track.sightings[near[0]].size_px)
        return found

    def _pose(self, state: FitState, confidence: float) -> HandPose:
        angles = rotation_vectors(self.hand, state.angles_rad).ravel()
        return HandPose(self.hand.model.side, state.T_world_wrist, angles, self.hand.betas, confidence)


def _between(known: Mapping[int, FitState], frame: int) -> FitState:
    before, after = max(k for k in known if k < frame), min(k for k in known if k > frame)
    share = (frame - before) / (after - before)
    a, b = known[before], known[after]
    return FitState(interpolate(a.T_world_wrist, b.T_world_wrist, share), (1.0 - share) * a.angles_rad + share * b.angles_rad)


def _last(frames: Sequence[int], frame: int) -> int | None:
    return max((known for known in frames if known <= frame), default=None)


def _first(frames: Sequence[int], frame: int) -> int | None:
    return min((known for known in frames if known >= frame), default=None)

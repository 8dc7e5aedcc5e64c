"""From a clip and what a detector saw in it to conditions, scores, and a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from h2w_ros.annotate.cameras.path import CameraPath, CameraSource, NoCameraPathError
from h2w_ros.annotate.cameras.scale import ScaleFound, scale_by_rest
from h2w_ros.annotate.cameras.touch import scale_by_touch
from h2w_ros.annotate.clip import Clip, ClipConfig
from h2w_ros.annotate.hand_stage import FoundHand, HandsFound, HandStageConfig, find_hands
from h2w_ros.annotate.intrinsics import IntrinsicsConfig, intrinsics_of
from h2w_ros.annotate.quality import NO_HANDS, GateConfig, Scores, reasons_against, scores_of
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Condition, HandPose, Image, Side
from h2w_ros.geometry import Transform


@dataclass(frozen=True)
class AnnotateConfig:
    """Everything a user can choose. `scale`: metres per unit of the camera's path, where the user knows it; else the hands say it."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    intrinsics: IntrinsicsConfig = field(default_factory=IntrinsicsConfig)
    hands: HandStageConfig = field(default_factory=HandStageConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0.0:
            raise ValueError(f"scale must be positive, got {self.scale}")


@dataclass(frozen=True, eq=False)
class Annotation:
    """A clip's moments without pictures (None where the camera is not known), what they are worth, and what was left out."""

    clip: Clip
    path: CameraPath
    scale: ScaleFound
    moments: tuple[Condition | None, ...]
    scores: Scores
    reasons: tuple[str, ...]
    dropped: Mapping[str, int]

    @property
    def conditions(self) -> list[Condition]:
        """The moments that are known."""
        return [moment for moment in self.moments if moment is not None]

    def with_pictures(self) -> Iterator[tuple[Image, Condition | None]]:
        """Every picture of the clip with its moment."""
        return zip(self.clip.pictures(), self.moments, strict=True)


def annotate_clip(clip: Clip, sightings: Sequence[Sightings], cameras: CameraSource, config: AnnotateConfig) -> Annotation:
    """The whole annotation. NoCameraPathError where the clip does not show how its camera moved, or how far.

    Where nobody saw a hand nothing is worth the minutes that a camera's path takes.
    """
    if not any(sightings):
        return hands_alone(clip, sightings, config, NO_HANDS)
    path = cameras.path(clip, intrinsics_of(clip, config.intrinsics), sightings)
    hands = find_hands(sightings, clip.stamps_ns, path.intrinsics.camera, config.hands)
    path, scale = metric_path(path, hands, clip, config.scale)
    moments = tuple(_moment(clip, path, hands, frame) for frame in range(clip.num_frames))
    scores = scores_of(hands, path, scale, [moment for moment in moments if moment is not None])
    dropped = Counter({**clip.dropped, **hands.dropped, "frames without a camera": sum(moment is None for moment in moments)})
    return Annotation(clip, path, scale, moments, scores, tuple(reasons_against(scores, config.gate)), {k: n for k, n in dropped.items() if n})


def hands_alone(clip: Clip, sightings: Sequence[Sightings], config: AnnotateConfig, reason: str) -> Annotation:
    """What can be shown of a clip that is rejected for `reason` before its camera is known: its hands, in the camera's frame."""
    intrinsics = intrinsics_of(clip, config.intrinsics)
    unknown = CameraPath(intrinsics, (None,) * clip.num_frames, is_metric=False, source="unknown")
    hands = find_hands(sightings, clip.stamps_ns, intrinsics.camera, config.hands)
    still = replace(unknown, poses=(np.eye(4),) * clip.num_frames)
    moments = tuple(_moment(clip, still, hands, frame) for frame in range(clip.num_frames))
    return Annotation(clip, unknown, ScaleFound(), moments, scores_of(hands, unknown, ScaleFound(), []), (reason,), {**clip.dropped, **hands.dropped})


def metric_path(path: CameraPath, hands: HandsFound, clip: Clip, told: float | None) -> tuple[CameraPath, ScaleFound]:
    """The path in metres, and what the hands say about its scale: they give it where nobody else does, and check it where somebody did."""
    found = scale_by_touch(hands.frames, path)
    if not found.scale > 0.0:
        found = scale_by_rest(hands.frames, path, clip.stamps_ns)
    if told is None and not path.is_metric:
        if not found.scale > 0.0:
            raise NoCameraPathError(
                "the hands do not say how long the camera's way is: too few moments show them before points of the scene; tell it with --scale METRES"
            )
        return path.scaled(found.scale), found
    metric = path if told is None else path.scaled(told)
    source = "" if told is None else "you"
    if not found.scale > 0.0:
        return metric, replace(found, source=source)
    ratio = found.scale / (told or 1.0)
    return metric, ScaleFound(told or 1.0, max(found.spread, ratio, 1.0 / ratio), source)


def _moment(clip: Clip, path: CameraPath, hands: HandsFound, frame: int) -> Condition | None:
    T_world_camera = path.poses[frame]
    if T_world_camera is None:
        return None
    found = tuple(_in_world(found, T_world_camera) for _, found in sorted(hands.frames[frame].items()))
    return Condition(clip.stamps_ns[frame], path.intrinsics.camera, T_world_camera, found)


def _in_world(found: FoundHand, T_world_camera: Transform) -> HandPose:
    return replace(found.hand_camera, T_world_wrist=T_world_camera @ found.hand_camera.T_world_wrist)


def wrists(conditions: Sequence[Condition], side: Side) -> np.ndarray:
    """Where the wrist of a side was, in the moments that know it: (n, 3) [m]."""
    return np.array([hand.T_world_wrist[:3, 3] for moment in conditions if (hand := moment.hand(side)) is not None]).reshape(-1, 3)

"""A camera that the user says stood still; the pictures are asked whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from h2w_ros.annotate.cameras.path import CameraPath, NoCameraPathError
from h2w_ros.annotate.cameras.points import TrackedPoints, follow_points
from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.annotate.sighting import Sightings

# Points that are followed, over so many frames; with fewer than so many common ones nothing can be said.
NUM_POINTS, SPAN, LEAST_COMMON = 150, 16, 10


@dataclass(frozen=True)
class FixedCamera:
    """The world is the camera's first frame. `most_motion_deg`: how far the scene's points may move within a second (a median)."""

    most_motion_deg: float = 1.0
    name: str = "fixed"

    def __post_init__(self) -> None:
        if not self.most_motion_deg > 0.0:
            raise ValueError(f"most_motion_deg must be positive, got {self.most_motion_deg}")

    def path(self, clip: Clip, intrinsics: Intrinsics, sightings: Sequence[Sightings]) -> CameraPath:
        """The same pose in every frame. NoCameraPathError when the scene moves."""
        tracks = follow_points(clip, sightings, NUM_POINTS)
        motions_px = [
            motion for a, b in zip(tracks, islice(tracks, min(SPAN, len(tracks) - 1), None), strict=False) if (motion := moved_px(a, b)) is not None
        ]
        motion_deg = float(np.degrees(np.median(motions_px) / intrinsics.camera.fx)) if motions_px else 0.0
        if motion_deg > self.most_motion_deg:
            raise NoCameraPathError(
                f"the camera did not stand still, as --camera fixed says it did: the scene moves by {motion_deg:.1f} degrees within a second,"
                f" at most {self.most_motion_deg:.1f} wanted; find its path (--camera colmap) or import one"
            )
        return CameraPath(intrinsics, tuple(np.eye(4) for _ in clip.frames), is_metric=True, source=self.name)


def moved_px(a: TrackedPoints, b: TrackedPoints) -> float | None:
    """How far the points that both have moved, a median; None where they share too few."""
    _, of_a, of_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
    if len(of_a) < LEAST_COMMON:
        return None
    return float(np.median(np.linalg.norm(b.places_px[of_b] - a.places_px[of_a], axis=1)))

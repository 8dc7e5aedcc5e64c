"""Where the camera was in every frame, whoever says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.geometry import Transform


class NoCameraPathError(ValueError):
    """This clip does not show how its camera moved; the text says why and what helps."""


@dataclass(frozen=True, eq=False)
class CameraPath:
    """`T_world_camera` of every frame of a clip, None where it is not known.

    `is_metric`: translations are metres; otherwise they are to be scaled. `error_px`: how far the scene's points fall from where
    they were seen; `parallax_deg`: the median angle under which they were seen; NaN where the source does not say. `agreement`: of
    points that are followed for long, the share whose rays meet along this path; `parallax_agreement`: the same of those that a camera
    which only turns would not have seen so, the only ones that tell how a camera moved. NaN where they are too few, or nobody asked.
    `points_world`: where rays meet; `points_frames`: the first and last frame that sees each.
    """

    intrinsics: Intrinsics
    poses: tuple[Transform | None, ...]
    is_metric: bool
    source: str
    error_px: float = float("nan")
    parallax_deg: float = float("nan")
    agreement: float = float("nan")
    parallax_agreement: float = float("nan")
    points_world: Float[ndarray, "n 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    points_frames: Int[ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    @property
    def known_share(self) -> float:
        """Share of frames whose camera is known."""
        return float(np.mean([pose is not None for pose in self.poses])) if self.poses else 0.0

    @property
    def centres(self) -> Float[ndarray, "n 3"]:
        """Where the camera was, in the frames in which that is known."""
        return np.array([pose[:3, 3] for pose in self.poses if pose is not None]).reshape(-1, 3)

    def scaled(self, scale: float) -> CameraPath:
        """The same path with translations `scale` times as long, in metres from now on."""
        poses = tuple(None if pose is None else _scaled(pose, scale) for pose in self.poses)
        return replace(self, poses=poses, points_world=scale * self.points_world, is_metric=True)


@runtime_checkable
class CameraSource(Protocol):
    """What finds, reads or assumes a camera's path."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def path(self, clip: Clip, intrinsics: Intrinsics, sightings: Sequence[Sightings]) -> CameraPath:
        """The path; the hands are no part of the scene that stands still. NoCameraPathError when the clip does not show it."""
        ...


def _scaled(T_world_camera: Transform, scale: float) -> Transform:
    scaled = T_world_camera.copy()
    scaled[:3, 3] *= scale
    return scaled

"""Camera paths that other tools saved. A new format is a reader and a row of `FORMATS`.

Each reader gives poses by frame number or by time; scale is theirs, so the hands, or the user, say what a unit is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.cameras.points import follow_points
from h2w_ros.annotate.cameras.saved_files import (
    Lens,
    SavedPath,
    read_colmap,
    read_depth_anything,
    read_droid,
    read_megasam,
    read_tum,
    read_vipe,
)
from h2w_ros.annotate.cameras.triangulate import with_scene
from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, check_transform, interpolate

FORMATS: Mapping[str, Callable[[Path], SavedPath]] = {
    "tum": read_tum,
    "colmap-files": read_colmap,
    "vipe": read_vipe,
    "droid-slam": read_droid,
    "megasam": read_megasam,
    "depth-anything-3": read_depth_anything,
}


# Between keyframes further apart [s] the camera is not known.
LONGEST_GAP_S = 0.5
# Points of the scene that are followed at a time.
NUM_POINTS = 300


@dataclass(frozen=True)
class SavedCamera:
    """A camera source that reads a file of one format; `{name}` in the path stands for the video's name.

    `stride`: frames of the video per picture that the tool was shown, where the file counts pictures.
    """

    name: str
    path_of: str
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"the stride must be at least 1 frame of the video per picture that the tool was shown, got {self.stride}")

    def path(self, clip: Clip, intrinsics: Intrinsics, sightings: Sequence[Sightings]) -> CameraPath:
        """The path in the file's own unit, with points of the scene; FileNotFoundError or ValueError that names the file."""
        file = Path(self.path_of.replace("{name}", clip.path.stem))
        if not file.exists():
            raise FileNotFoundError(f"No camera path at {file}, which --camera {self.name} needs")
        saved = spread(FORMATS[self.name](file), self.stride)
        exact = [checked(pose, index, file) for index, pose in enumerate(saved.poses)]
        if saved.are_keyframes and saved.frames is not None:
            poses = between_keyframes(dict(zip(saved.frames.tolist(), exact, strict=True)), clip)
        else:
            poses = tuple(None if index is None else exact[index] for index in places_of(saved, clip, file))
        lens = intrinsics if intrinsics.source == "user" or saved.lens is None else Intrinsics(camera_of(saved.lens, clip), "camera path")
        path = CameraPath(replace(intrinsics, camera=lens.camera, source=lens.source), poses, is_metric=False, source=self.name)
        return with_scene(path, follow_points(clip, sightings, NUM_POINTS))


def spread(saved: SavedPath, stride: int) -> SavedPath:
    """The poses by frames of the video, of which the tool was shown one in `stride`."""
    if stride == 1 or saved.times_s is not None:
        return saved
    shown = np.arange(len(saved.poses)) if saved.frames is None else saved.frames
    return saved._replace(frames=shown * stride, are_keyframes=True)


def between_keyframes(known: Mapping[int, Transform], clip: Clip) -> tuple[Transform | None, ...]:
    """The clip's poses from those by frame, on the way from one to the next where these are near: the camera hardly moves between keyframes."""
    frames = np.array(sorted(known))
    frame_ns = (clip.stamps_ns[-1] - clip.stamps_ns[0]) / (clip.frames[-1] - clip.frames[0])
    return tuple(_between(known, frames, frame, LONGEST_GAP_S * 1e9 / frame_ns) for frame in clip.frames)


def _between(known: Mapping[int, Transform], frames: ndarray, frame: int, longest: float) -> Transform | None:
    if frame in known:
        return known[frame]
    after = int(np.searchsorted(frames, frame))
    if after in (0, len(frames)) or frames[after] - frames[after - 1] > longest:
        return None
    first, last = int(frames[after - 1]), int(frames[after])
    return interpolate(known[first], known[last], (frame - first) / (last - first))


def places_of(saved: SavedPath, clip: Clip, file: Path) -> list[int | None]:
    """Which saved pose belongs to every frame of the clip; None where there is none. ValueError when that cannot be told."""
    if saved.times_s is not None:
        return _nearest(saved.times_s, np.array(clip.stamps_ns) * 1e-9, 0.5 / clip.rate_hz)
    if saved.frames is not None:
        known = {int(frame): index for index, frame in enumerate(saved.frames)}
        return [known.get(frame) for frame in clip.frames]
    if len(saved.poses) == clip.num_source_frames:
        return list(clip.frames)
    if len(saved.poses) == clip.num_frames:
        return list(range(clip.num_frames))
    raise ValueError(
        f"{file} holds {len(saved.poses)} poses; it must hold one for each of the video's {clip.num_source_frames} frames,"
        f" or of the {clip.num_frames} that are used at {clip.rate_hz:g} Hz"
    )


def camera_of(lens: Lens, clip: Clip) -> Camera:
    """The lens at the clip's size: saved ones are often of a smaller picture, whose middle tells how much smaller."""
    fx, fy, cx, cy = lens
    across, down = clip.width_px / (2.0 * cx), clip.height_px / (2.0 * cy)
    return Camera(clip.width_px, clip.height_px, fx * across, fy * down, cx * across, cy * down)


def checked(pose: Float[ndarray, "4 4"], index: int, file: Path) -> Transform:
    """The pose with its rotation made exact; ValueError that names it when it is none."""
    U, sizes, Vt = np.linalg.svd(pose[:3, :3])
    if not np.isfinite(pose).all() or np.abs(sizes - 1.0).max() > 0.01:
        raise ValueError(f"{file}: pose {index} is no rigid motion:\n{pose}")
    exact = pose.copy()
    exact[:3, :3] = U @ Vt
    return check_transform(exact, f"pose {index} of {file}")


def _nearest(times_s: Float[ndarray, "n"], wanted_s: Float[ndarray, "m"], farthest_s: float) -> list[int | None]:
    gaps = np.abs(times_s[None, :] - wanted_s[:, None])
    return [int(row.argmin()) if row.min() <= farthest_s else None for row in gaps]

"""The camera's path by structure from motion: pycolmap on what is not hands."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.path import CameraPath, NoCameraPathError
from h2w_ros.annotate.cameras.points import PICTURE_NAME, TrackedPoints, beyond_turning_deg, follow_points
from h2w_ros.annotate.cameras.triangulate import LEAST_SIGHTS, LEAST_TRACKS, with_scene
from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, invert, transform

SEED = 0
# Two pictures to begin with see the scene under at least so many degrees; heads move little in a few seconds, so less is tried too.
START_DEG = (16.0, 8.0, 4.0)
# A model of this share of the frames needs no other try.
ENOUGH = 0.9
# All poses are adjusted together whenever the model has grown by this factor: frames of a video are many and alike.
GLOBAL_EVERY = 1.3
# Of one scene point at most so many sightings are compared for the angle under which it was seen.
MOST_COMPARED = 12


@dataclass(frozen=True)
class ColmapCamera:
    """Structure from motion over all frames of a clip.

    `max_features`: points that are followed at a time. `spans`: frames that lie so many apart are compared. `least_parallax_deg`: the
    median angle between the rays to a scene point; below it distances, and with them the camera's way, are guesses. `least_share`: of
    frames whose camera must be found. `least_motion_deg`: of points, beyond what turning explains. `num_threads`: -1 takes all cores.
    `most_s`: time for one try [s].
    """

    max_features: int = 500
    spans: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    least_parallax_deg: float = 2.0
    least_share: float = 0.5
    least_motion_deg: float = 0.3
    num_threads: int = -1
    most_s: int = 300
    name: str = "colmap"

    def __post_init__(self) -> None:
        if self.max_features < 100 or not self.spans or min(self.spans) < 1:
            raise ValueError(f"max_features must be at least 100 and spans at least 1, got {self.max_features} and {self.spans}")
        if not self.least_parallax_deg > 0.0 or not 0.0 < self.least_share <= 1.0:
            raise ValueError(f"least_parallax_deg must be positive and least_share in (0, 1], got {self.least_parallax_deg} and {self.least_share}")

    def path(self, clip: Clip, intrinsics: Intrinsics, sightings: Sequence[Sightings]) -> CameraPath:
        """The path in units of its own. NoCameraPathError, with the remedy, when the clip shows too little of a still scene from different places."""
        colmap = _pycolmap()
        with tempfile.TemporaryDirectory(prefix="h2w-colmap-") as folder:
            models, tracks = self._reconstructed(colmap, Path(folder), clip, intrinsics, sightings)
        model = max(models, key=lambda model: int(model.num_reg_images()), default=None)
        if model is None:
            raise NoCameraPathError(
                "the camera's path cannot be found: too few points of a still scene are seen from different places;"
                " move the camera sideways, import a path from elsewhere, or use --camera fixed if it stood still"
            )
        found = with_scene(_path_of(model, clip, intrinsics, self.name), tracks)
        self._check(found)
        return found

    def _reconstructed(
        self, colmap: Any, folder: Path, clip: Clip, intrinsics: Intrinsics, sightings: Sequence[Sightings]
    ) -> tuple[list[Any], list[TrackedPoints]]:
        """Follows points of the scene from frame to frame, and hands their tracks to COLMAP as its features and matches."""
        database, pictures = folder / "database.db", folder / "pictures"
        pictures.mkdir()
        tracks = follow_points(clip, sightings, self.max_features, pictures)
        self._check_moves(tracks, intrinsics.camera)
        is_known = intrinsics.source == "user"
        colmap.set_random_seed(SEED)
        colmap.Database.open(database).close()  # makes the file
        colmap.import_images(database, pictures, colmap.CameraMode.SINGLE, options=_reading(colmap, intrinsics.camera, is_known))
        _write_tracks(colmap, database, tracks, self.spans)
        pairs = folder / "pairs.txt"
        pairs.write_text("".join(f"{_name(a)} {_name(b)}\n" for a, b in _pairs(len(tracks), self.spans)))
        colmap.verify_matches(database, pairs)
        (folder / "models").mkdir()
        best: list[Any] = []
        for angle_deg in START_DEG:
            found = colmap.incremental_mapping(database, pictures, folder / "models", self._mapping(colmap, is_known, angle_deg))
            best = max(best, list(found.values()), key=_num_found)
            if _num_found(best) >= ENOUGH * clip.num_frames:
                break
        return best, tracks

    def _check_moves(self, tracks: Sequence[TrackedPoints], camera: Camera) -> None:
        """Before any minutes are spent: a camera that only turns shows no distances, however long one looks."""
        moved_deg = max(beyond_turning_deg(tracks, camera, span) for span in self.spans)
        if moved_deg < self.least_motion_deg:
            raise NoCameraPathError(
                f"the clip has too little parallax: beyond what turning explains, points move by {moved_deg:.2f} degrees, at least"
                f" {self.least_motion_deg:.2f} needed; move it sideways, import a path from elsewhere, or use --camera fixed if it stood still"
            )

    def _mapping(self, colmap: Any, is_known: bool, start_deg: float) -> Any:
        options = colmap.IncrementalPipelineOptions(num_threads=self.num_threads, random_seed=SEED, multiple_models=True, extract_colors=False)
        options.structure_less_registration_fallback = False  # it registers pictures that see nothing of the model
        options.ba_refine_focal_length = not is_known
        options.mapper.abs_pose_refine_focal_length = not is_known
        options.mapper.init_min_tri_angle = start_deg
        options.ba_global_frames_ratio = options.ba_global_points_ratio = GLOBAL_EVERY
        options.ba_global_max_refinements, options.ba_local_max_refinements = 2, 1
        options.max_runtime_seconds = self.most_s
        return options

    def _check(self, path: CameraPath) -> None:
        if path.known_share < self.least_share:
            raise NoCameraPathError(
                f"the camera was found in {path.known_share:.0%} of frames only, at least {self.least_share:.0%} needed: the scene is too bare,"
                " too blurred or hidden by hands; import a path from elsewhere, or cut the clip"
            )
        if not path.parallax_deg >= self.least_parallax_deg:
            raise NoCameraPathError(
                f"the clip has too little parallax: scene points are seen under {path.parallax_deg:.1f} degrees, at least"
                f" {self.least_parallax_deg:.1f} needed; the camera turned without moving: import a path from elsewhere, or use --camera fixed"
            )
        if np.isnan(path.parallax_agreement):
            raise NoCameraPathError(
                f"the clip has too little parallax: turning explains all but few of the points that are followed for {LEAST_SIGHTS} frames, and"
                f" {LEAST_TRACKS} others are needed to tell a right path from a wrong one; import a path from elsewhere, or use --camera fixed"
            )


def _num_found(models: Sequence[Any]) -> int:
    return max((int(model.num_reg_images()) for model in models), default=0)


def _pycolmap() -> Any:
    try:
        colmap = importlib.import_module("pycolmap")
    except ImportError as error:
        raise ImportError("structure from motion needs pycolmap: pip install pycolmap, or h2w_ros[annotate]") from error
    colmap.logging.minloglevel = colmap.logging.Level.FATAL.value
    return colmap


def _reading(colmap: Any, camera: Camera, is_known: bool) -> Any:
    """One pinhole for all pictures; with a focal length of its own for either axis only where the user knows them."""
    numbers = (camera.fx, camera.fy, camera.cx, camera.cy) if is_known else (camera.fx, camera.cx, camera.cy)
    options = colmap.ImageReaderOptions(camera_model="PINHOLE" if is_known else "SIMPLE_PINHOLE")
    options.camera_params = ",".join(str(number) for number in numbers)
    return options


def _pairs(num_frames: int, spans: Sequence[int]) -> list[tuple[int, int]]:
    return [(frame, frame + span) for span in spans for frame in range(num_frames - span)]


def _write_tracks(colmap: Any, database: Path, tracks: Sequence[TrackedPoints], spans: Sequence[int]) -> None:
    """Every followed point is a feature of every picture that sees it; the same point in two pictures is a match."""
    with colmap.Database.open(database) as store:
        ids = {image.name: image.image_id for image in store.read_all_images()}
        for frame, points in enumerate(tracks):
            store.write_keypoints(ids[_name(frame)], points.places_px.astype(np.float32))
        for a, b in _pairs(len(tracks), spans):
            _, of_a, of_b = np.intersect1d(tracks[a].ids, tracks[b].ids, assume_unique=True, return_indices=True)
            store.write_matches(ids[_name(a)], ids[_name(b)], np.stack([of_a, of_b], axis=1).astype(np.uint32))


def _name(frame: int) -> str:
    return PICTURE_NAME.format(frame)


def _path_of(model: Any, clip: Clip, intrinsics: Intrinsics, name: str) -> CameraPath:
    """COLMAP counts pixels from the picture's corner, as we do; its poses take the world to the camera."""
    poses: list[Transform | None] = [None] * clip.num_frames
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        poses[int(image.name.split(".")[0])] = _pose(image)
    (camera,) = model.cameras.values()
    K = camera.calibration_matrix()
    found = Camera(clip.width_px, clip.height_px, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    source = intrinsics.source if intrinsics.source == "user" else "camera path"
    return CameraPath(
        replace(intrinsics, camera=found, source=source),
        tuple(poses),
        is_metric=False,
        source=name,
        error_px=float(model.compute_mean_reprojection_error()),
        parallax_deg=_median_parallax_deg(model),
    )


def _pose(image: Any) -> Transform:
    matrix = image.cam_from_world().matrix()
    return invert(transform(_orthonormal(matrix[:, :3]), matrix[:, 3]))


def _orthonormal(R: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    U, _, Vt = np.linalg.svd(R)
    return np.asarray(U @ Vt)


def _median_parallax_deg(model: Any) -> float:
    """Over the scene's points: the largest angle between two of the rays that see it."""
    centres = {image_id: model.image(image_id).projection_center() for image_id in model.reg_image_ids()}
    angles = [_widest_deg(point.xyz, [centres[seen.image_id] for seen in point.track.elements]) for point in model.points3D.values()]
    return float(np.median(angles)) if angles else 0.0


def _widest_deg(point: Float[ndarray, "3"], centres: Sequence[Float[ndarray, "3"]]) -> float:
    rays = np.array(centres)[:: max(len(centres) // MOST_COMPARED, 1)] - point
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return float(np.degrees(np.arccos(np.clip((rays @ rays.T).min(), -1.0, 1.0))))

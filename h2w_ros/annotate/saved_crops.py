"""Hands that HaMeR and WiLoR saved, frame by frame: regressors on crops, whose focal length is a constant of theirs.

Their demos write meshes (`--save_mesh`) and nothing else; who calls the networks from code keeps the arrays instead. Both are
read. What places such hands in the picture is their projection; how far away they stand is said by the hand's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.saved_points import MIRROR, Frames, arrays, frame_in, sighting_of
from h2w_ros.annotate.sighting import HandSighting, Sightings
from h2w_ros.condition import Camera, Side
from h2w_ros.hands.model import NUM_VERTICES, TIP_VERTICES, HandModel, load_hand_model
from h2w_ros.hands.plausibility import side_by_shape
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order

# Both networks' EXTRA.FOCAL_LENGTH / MODEL.IMAGE_SIZE: their focal length, in longer sides of the picture.
FOCAL = 5000.0 / 256.0
# Their meshes are turned by half a turn about x for a viewer.
FROM_VIEWER = np.array([1.0, -1.0, -1.0])
CROP_KEYS = ("pred_keypoints_3d", "pred_cam_t_full", "is_right", "scaled_focal_length", "img_size")


def read_crops(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """A folder of the demo's `FRAME_HAND.obj`, which needs the user's MANO, or with one `FRAME.npz` of its arrays a frame.

    Such an .npz holds `pred_keypoints_3d` (n, 21, 3) in OpenPose's order, `pred_cam_t_full` (n, 3), `is_right` (n),
    `scaled_focal_length`, and `img_size` (w, h), under the demo's own names.
    """
    tables, meshes = sorted(path.glob("*.npz")), sorted(path.glob("*.obj"))
    if tables:
        return _by_frame({frame_in(file.stem, file): _crop_sightings(arrays(file, CROP_KEYS), clip) for file in tables}, path, clip)
    if meshes:
        return _by_frame(_mesh_frames(meshes, mano, clip), path, clip)
    raise FileNotFoundError(f"{path} holds neither the meshes FRAME_HAND.obj of the demo's --save_mesh, nor one .npz of its arrays a frame")


def _by_frame(frames: Frames, path: Path, clip: Clip) -> Frames:
    """Counted from 0; who counts from 1 is told by the number after the last frame."""
    last = max(frames)
    if last > clip.num_source_frames:
        raise ValueError(f"{path} tells of frame {last}, {clip.path.name} has {clip.num_source_frames}: these are results of another video")
    return frames if last < clip.num_source_frames else {frame - 1: seen for frame, seen in frames.items()}


def _crop_sightings(table: Mapping[str, ndarray], clip: Clip) -> Sightings:
    width, height = table["img_size"].reshape(-1, 2)[0]
    focal = float(table["scaled_focal_length"].reshape(-1)[0])
    lens = _lens(clip, focal * clip.width_px / width, focal * clip.height_px / height)
    hands = zip(table["pred_keypoints_3d"].reshape(-1, 21, 3), table["pred_cam_t_full"].reshape(-1, 3), table["is_right"].reshape(-1), strict=True)
    return tuple(_crop_sighting(points, place, "right" if is_right > 0.5 else "left", lens) for points, place, is_right in hands)


def _crop_sighting(points: Float[ndarray, "21 3"], place: Float[ndarray, "3"], side: Side, lens: Camera) -> HandSighting:
    """Left hands come mirrored from these networks, unless the tool has turned them back (WiLoR's demo does); the hand's own shape tells."""
    ours = in_our_order(CONVENTIONS["points21"], points)
    if side == "left" and side_by_shape(HandSkeleton(side, ours)) == "right":
        ours = ours * MIRROR
    return sighting_of(side, ours + place, lens, along_ray=True)


def _mesh_frames(meshes: list[Path], mano: Path | None, clip: Clip) -> Frames:
    if mano is None:
        raise ValueError(f"{meshes[0].parent} holds meshes of MANO's own vertices: --mano DIR must name the folder of your MANO files")
    model, focal = load_hand_model("right", mano), FOCAL * max(clip.width_px, clip.height_px)
    lens = _lens(clip, focal, focal)
    frames: dict[int, Sightings] = {}
    for file in meshes:
        frame = frame_in(file.stem.rpartition("_")[0], file)
        frames[frame] = (*frames.get(frame, ()), _mesh_sighting(file, model, lens))
    return frames


def _mesh_sighting(file: Path, model: HandModel, lens: Camera) -> HandSighting:
    points, faces = _obj(file)
    order = _places_of(faces, model.faces)
    side: Side = "right" if order is not None else "left"
    if order is None:
        order = _places_of(faces, model.faces[:, [0, 2, 1]])
    if order is None:
        raise ValueError(f"{file} must be a mesh of MANO's faces, as HaMeR's and WiLoR's demos write it; this one is of another hand, or order")
    vertices = points[order] * FROM_VIEWER
    return sighting_of(side, np.concatenate([model.joint_regressor @ vertices, vertices[list(TIP_VERTICES)]]), lens, along_ray=True)


def _places_of(faces: Int[ndarray, "F 3"], known: Int[ndarray, "1538 3"]) -> Int[ndarray, "778"] | None:
    """Where each of MANO's vertices stands among the file's, which a mesh library may have reordered; None where the faces are not these."""
    if len(faces) < len(known):
        return None
    order = np.zeros(NUM_VERTICES, dtype=np.int64)
    order[known.ravel()] = faces[: len(known)].ravel()
    return order if np.array_equal(order[known], faces[: len(known)]) else None


def _obj(file: Path) -> tuple[Float[ndarray, "V 3"], Int[ndarray, "F 3"]]:
    """Vertices and triangles of a Wavefront file; colours and normals are not ours to read."""
    words = [line.split() for line in file.read_text().splitlines()]
    try:
        points = np.array([row[1:4] for row in words if row[:1] == ["v"]], dtype=np.float64)
        faces = np.array([[corner.partition("/")[0] for corner in row[1:4]] for row in words if row[:1] == ["f"]], dtype=np.int64) - 1
    except ValueError as error:
        raise ValueError(f"{file} is no Wavefront file of triangles: {error}") from error
    if len(points) < NUM_VERTICES or not len(faces) or faces.max() >= len(points):
        raise ValueError(f"{file} must hold {NUM_VERTICES} vertices and their triangles, got {len(points)} and {len(faces)}")
    return points, faces


def _lens(clip: Clip, fx: float, fy: float) -> Camera:
    return Camera(clip.width_px, clip.height_px, fx, fy, clip.width_px / 2, clip.height_px / 2)

"""Who can find hands, and who can tell the camera's path. A new one is a file and a row here; it is imported when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from h2w_ros.annotate.cameras.path import CameraSource
from h2w_ros.annotate.sighting import HandDetector


class Row(NamedTuple):
    """Where a backend is made: `MODULE.MAKER()`, or `MAKER(name, path)` where it reads the user's files, and what these must be."""

    module: str
    maker: str
    needs: str = ""


_RESULTS = "h2w_ros.annotate.saved_hands"
_SAVED = "h2w_ros.annotate.cameras.saved"

HANDS: Mapping[str, Row] = {
    "mediapipe": Row("h2w_ros.annotate.mediapipe_hands", "MediaPipeHands"),
    "onnx": Row("h2w_ros.annotate.onnx_hands", "OnnxHands", "the network's .onnx file"),
    "hamer": Row(_RESULTS, "SavedHands", "out_folder of HaMeR's demo with --save_mesh, frames counted from 0, or one .npz of its arrays a frame"),
    "wilor": Row(_RESULTS, "SavedHands", "out_folder of WiLoR's demo with --save_mesh, frames counted from 0, or one .npz of its arrays a frame"),
    "hawor": Row(_RESULTS, "SavedHands", "HaWoR's folder of the video, with world_space_res.pth, SLAM and cam_space"),
    "dyn-hamr": Row(_RESULTS, "SavedHands", "Dyn-HaMR's smooth_fit/NAME_world_results.npz"),
}

CAMERAS: Mapping[str, Row] = {
    "colmap": Row("h2w_ros.annotate.cameras.colmap", "ColmapCamera"),
    "fixed": Row("h2w_ros.annotate.cameras.fixed", "FixedCamera"),
    "tum": Row(_SAVED, "SavedCamera", "the TUM file: lines of stamp tx ty tz qx qy qz qw, camera to world"),
    "colmap-files": Row(_SAVED, "SavedCamera", "the folder of COLMAP's cameras.txt and images.txt"),
    "vipe": Row(_SAVED, "SavedCamera", "ViPE's pose/NAME.npz; its lens is read from intrinsics/ beside pose/"),
    "droid-slam": Row(_SAVED, "SavedCamera", "DROID-SLAM's saved reconstruction; its demo looks at every third picture, say --camera-stride 3"),
    "megasam": Row(_SAVED, "SavedCamera", "MegaSaM's NAME_droid.npz or NAME_sgd_cvd_hr.npz"),
    "depth-anything-3": Row(_SAVED, "SavedCamera", "Depth Anything 3's results.npz, or its streaming camera_poses.txt"),
}


def hands_of(name: str, path: str | None, mano: Path | None = None) -> HandDetector:
    """The detector of this name; ValueError when it lacks its path, or wants none. `mano`: the user's MANO files, for results in its parameters."""
    found: HandDetector = _made(HANDS, name, path, "--hands", mano)
    return found


def camera_of(name: str, path: str | None, stride: int = 1) -> CameraSource:
    """The camera source of this name; ValueError when it lacks its path, or wants none. `stride`: frames per picture that a saved path counts."""
    found: CameraSource = _made(CAMERAS, name, path, "--camera", stride)
    return found


def _made(table: Mapping[str, Row], name: str, path: str | None, option: str, *more: Any) -> Any:
    if name not in table:
        raise ValueError(f"{option} must be one of {', '.join(table)}, got {name!r}")
    row = table[name]
    if row.needs and not path:
        raise ValueError(f"{option} {name} needs {option}-from {row.needs}")
    if path and not row.needs:
        raise ValueError(f"{option} {name} reads no files, {option}-from is {path!r}")
    make = getattr(importlib.import_module(row.module), row.maker)
    return make(name, path, *more) if row.needs else make()

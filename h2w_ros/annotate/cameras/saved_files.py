"""The files that camera trackers write, as poses that take the camera to the world; each as the tool's own writer writes it."""

from __future__ import annotations

import importlib
import pickle
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.geometry import invert, rotation_from_quaternion, transform

Lens = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels of whatever size the tool worked at."""

# Of COLMAP's camera models, where fx, fy, cx, cy stand among the parameters; what distorts is not ours to read.
COLMAP_LENSES = {"PINHOLE": (0, 1, 2, 3), "SIMPLE_PINHOLE": (0, 0, 1, 2)}


# The camera's kind, as ViPE calls one without distortion.
VIPE_PINHOLE = "PINHOLE"
# MegaSaM's writer keeps this many frames and leaves out the rest.
MEGASAM_FRAMES = 1000
# DROID-SLAM keeps intrinsics at the size of its features.
DROID_SHRINKS = 8.0


class SavedPath(NamedTuple):
    """Poses `T_world_camera`, and either their times, or the video's frames that they belong to, or neither: one after the other.

    `are_keyframes`: the tool left out frames in which the camera hardly moved.
    """

    poses: Float[ndarray, "n 4 4"]
    times_s: Float[ndarray, "n"] | None = None
    frames: ndarray | None = None
    lens: Lens | None = None
    are_keyframes: bool = False


def read_tum(path: Path) -> SavedPath:
    """Stamps are seconds from the video's first frame, or, when they are whole numbers one apart, its frames."""
    rows = _rows(path, 8)
    poses = np.stack([transform(_rotation(row[4:8], path), row[1:4]) for row in rows])
    stamps = rows[:, 0]
    if len(stamps) > 1 and np.array_equal(stamps, stamps.round()) and np.diff(stamps).min() >= 1.0:
        return SavedPath(poses, frames=stamps.astype(np.int64))
    return SavedPath(poses, times_s=stamps - stamps[0])


def read_colmap(path: Path) -> SavedPath:
    """COLMAP's text model; frames are the numbers at the end of the pictures' names, counted from 0, or from 1 where no 0 is there."""
    images = [line.split() for line in _lines(path / "images.txt")][::2]
    if not images or any(len(row) < 10 for row in images):
        raise ValueError(f"{path / 'images.txt'} must hold two lines an image: ID QW QX QY QZ TX TY TZ CAMERA NAME, then its points")
    numbers = np.array([row[1:8] for row in images], dtype=np.float64)
    poses = np.stack([invert(transform(_rotation(row[[1, 2, 3, 0]], path), row[4:7])) for row in numbers])
    frames = np.array([_number_of(row[9], path) for row in images])
    return SavedPath(poses, frames=frames - (1 if frames.min() == 1 else 0), lens=_colmap_lens(path / "cameras.txt"))


def read_vipe(path: Path) -> SavedPath:
    """ViPE's pose/NAME.npz: `data` (n, 4, 4), camera to world, and `inds`, the frames; its lens lies in intrinsics/ beside that folder."""
    table = numbers_of(path, ("data", "inds"))
    beside = path.parent.parent / "intrinsics"
    kinds = beside / f"{path.stem}_camera.txt"
    found = {line.partition(":")[2].strip() for line in kinds.read_text().splitlines()} if kinds.is_file() else {VIPE_PINHOLE}
    if found != {VIPE_PINHOLE}:
        raise ValueError(f"{kinds} must tell of a {VIPE_PINHOLE}, got {', '.join(sorted(found))}: run ViPE as for a pinhole, or undistort the video")
    rows = numbers_of(beside / path.name, ("data",))["data"] if (beside / path.name).is_file() else np.zeros((0, 4))
    return SavedPath(matrices(table["data"], path), frames=table["inds"].astype(np.int64), lens=_median_lens(rows))


def read_megasam(path: Path) -> SavedPath:
    """MegaSaM's NAME_droid.npz or NAME_sgd_cvd_hr.npz: `cam_c2w` (n, 4, 4), camera to world, of the first thousand frames; `intrinsic` (3, 3)."""
    table = numbers_of(path, ("cam_c2w", "intrinsic"))
    poses = matrices(table["cam_c2w"], path)
    frames = np.arange(len(poses)) if len(poses) == MEGASAM_FRAMES else None
    return SavedPath(poses, frames=frames, lens=_lens_of(table["intrinsic"].reshape(1, 3, 3)))


def read_depth_anything(path: Path) -> SavedPath:
    """Depth Anything 3's results.npz: `extrinsics` (n, 3, 4), world to camera, `intrinsics` (n, 3, 3), which differ a little from frame to frame.

    Or its streaming camera_poses.txt: sixteen numbers a line, camera to world; intrinsic.txt lies beside it.
    """
    if path.suffix == ".txt":
        beside = path.with_name("intrinsic.txt")
        rows = _rows(beside, 4) if beside.is_file() else np.zeros((0, 4))
        return SavedPath(matrices(_rows(path, 16).reshape(-1, 4, 4), path), lens=_median_lens(rows))
    table = numbers_of(path, ("extrinsics", "intrinsics"))
    return SavedPath(invert(matrices(table["extrinsics"], path)), lens=_lens_of(table["intrinsics"].reshape(-1, 3, 3)))


def read_droid(path: Path) -> SavedPath:
    """DROID-SLAM's saved reconstruction: a .pth, or, of old versions, a folder with poses.npy, tstamps.npy and intrinsics.npy.

    Keyframes only: poses tx ty tz qx qy qz qw that take the world to the camera; `tstamps` count the pictures that it was shown.
    """
    table = {name: _array(path / f"{name}.npy") for name in DROID_KEYS} if path.is_dir() else _tensors(path, DROID_KEYS)
    if table["poses"].ndim != 2 or table["poses"].shape[1] != 7:
        raise ValueError(f"{path}: poses must be rows tx ty tz qx qy qz qw, got shape {table['poses'].shape}")
    poses = np.stack([invert(transform(_rotation(row[3:7], path), row[:3])) for row in table["poses"]])
    lens = _median_lens(DROID_SHRINKS * table["intrinsics"].reshape(-1, 4))
    return SavedPath(poses, frames=table["tstamps"].round().astype(np.int64), lens=lens, are_keyframes=True)


DROID_KEYS = ("poses", "tstamps", "intrinsics")


def numbers_of(path: Path, keys: tuple[str, ...]) -> dict[str, ndarray]:
    """Arrays of a .npz by their names; ValueError that names the file and what it lacks."""
    try:
        with np.load(path, allow_pickle=False) as table:
            return {key: np.asarray(table[key], dtype=np.float64) for key in keys}
    except (KeyError, OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npz with {', '.join(keys)}: {error}") from error


def matrices(rows: Float[ndarray, "n r 4"], path: Path) -> Float[ndarray, "n 4 4"]:
    """Rigid motions of three or four rows as whole matrices."""
    if rows.ndim != 3 or rows.shape[1:] not in ((3, 4), (4, 4)):
        raise ValueError(f"{path}: poses must have shape (n, 4, 4) or (n, 3, 4), got {rows.shape}")
    whole = np.tile(np.eye(4), (len(rows), 1, 1))
    whole[:, :3] = rows[:, :3]
    return whole


def _tensors(path: Path, keys: tuple[str, ...]) -> dict[str, ndarray]:
    """Tensors of a torch file by their names; nothing else in it is made."""
    try:
        table = importlib.import_module("torch").load(path, map_location="cpu", weights_only=True)
        return {key: table[key].double().numpy() for key in keys}
    except (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        said = str(error).partition("\n")[0]  # torch goes on with advice to trust the file
        raise ValueError(f"{path} must be a file of torch.save with the tensors {', '.join(keys)}: {said}") from error


def _lens_of(K: Float[ndarray, "n 3 3"]) -> Lens | None:
    return _median_lens(K[:, [0, 1, 0, 1], [0, 1, 2, 2]])


def _median_lens(rows: Float[ndarray, "n 4"]) -> Lens | None:
    """One lens for a whole video."""
    if not len(rows):
        return None
    fx, fy, cx, cy = np.median(rows[:, :4], axis=0).tolist()
    return fx, fy, cx, cy


def _colmap_lens(path: Path) -> Lens | None:
    rows = [line.split() for line in _lines(path)] if path.is_file() else []
    if len(rows) != 1:
        return None
    model, numbers = rows[0][1], [float(word) for word in rows[0][4:]]
    if model not in COLMAP_LENSES:
        raise ValueError(f"{path} must hold a camera without distortion ({', '.join(COLMAP_LENSES)}), got {model}: undistort the video first")
    fx, fy, cx, cy = (numbers[place] for place in COLMAP_LENSES[model])
    return fx, fy, cx, cy


def _number_of(name: str, path: Path) -> int:
    found = re.findall(r"\d+", Path(name).stem)
    if not found:
        raise ValueError(f"{path}: the pictures' names must end with the frame's number, got {name!r}")
    return int(found[-1])


def _rotation(quaternion_xyzw: ndarray, path: Path) -> Float[ndarray, "3 3"]:
    try:
        return rotation_from_quaternion(quaternion_xyzw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _lines(path: Path) -> list[str]:
    """Lines without comments; images without points leave empty lines, which count."""
    if not path.is_file():
        raise FileNotFoundError(f"No camera path at {path}; COLMAP writes it with `colmap model_converter --output_type TXT`")
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def _rows(path: Path, width: int) -> Float[ndarray, "n w"]:
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} must hold rows of {width} numbers: {error}") from error
    if rows.shape[0] == 0 or rows.shape[1] != width:
        raise ValueError(f"{path} must hold rows of {width} numbers, got shape {rows.shape}")
    return rows


def _array(path: Path) -> ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npy file of numbers: {error}") from error

"""The files that camera trackers write, as poses that take the camera to the world."""

from __future__ import annotations

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


class SavedPath(NamedTuple):
    """Poses `T_world_camera`, and either their times, or the video's frames that they belong to, or neither: one after the other."""

    poses: Float[ndarray, "n 4 4"]
    times_s: Float[ndarray, "n"] | None = None
    frames: ndarray | None = None
    lens: Lens | None = None


def read_tum(path: Path) -> SavedPath:
    """Stamps are seconds from the video's first frame, or, when they are whole numbers one apart, its frames."""
    rows = _numbers(path, 8)
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


def read_droid(path: Path) -> SavedPath:
    """DROID-SLAM's saved reconstruction: poses of keyframes as tx ty tz qx qy qz qw that take the world to the camera, and their frames."""
    rows = _array(path / "poses.npy")
    if rows.ndim != 2 or rows.shape[1] != 7:
        raise ValueError(f"{path / 'poses.npy'} must hold rows tx ty tz qx qy qz qw, got shape {rows.shape}")
    poses = np.stack([invert(transform(_rotation(row[3:7], path), row[:3])) for row in rows])
    return SavedPath(poses, frames=_array(path / "tstamps.npy").round().astype(np.int64))


def read_arrays(path: Path, poses: str, takes_camera_to_world: bool, frames: str | None = None, lens: str | None = None) -> SavedPath:
    """A .npz of matrices (n, 3 or 4, 4) under the key `poses`, which take the camera to the world or the other way; frames and lens by their keys."""
    try:
        with np.load(path, allow_pickle=False) as table:
            matrices = np.asarray(table[poses], dtype=np.float64)
            known = np.asarray(table[frames]).astype(np.int64) if frames is not None else None
            K = np.asarray(table[lens], dtype=np.float64).reshape(-1, 3, 3)[0] if lens is not None and lens in table else None
    except (KeyError, OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npz with {', '.join(name for name in (poses, frames) if name)}: {error}") from error
    if matrices.ndim != 3 or matrices.shape[1:] not in ((3, 4), (4, 4)):
        raise ValueError(f"{path}: {poses} must have shape (n, 4, 4) or (n, 3, 4), got {matrices.shape}")
    whole = np.tile(np.eye(4), (len(matrices), 1, 1))
    whole[:, :3] = matrices[:, :3]
    return SavedPath(
        whole if takes_camera_to_world else invert(whole), frames=known, lens=None if K is None else (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    )


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


def _numbers(path: Path, width: int) -> Float[ndarray, "n w"]:
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

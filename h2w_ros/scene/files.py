"""Scenes as files: our own .npz, clouds of others, and meshes.

Ours is NumPy's .npz without pickles: `points` (n, 3) float32 [m], `colors` (n, 3) uint8, `radii` (n) float32 [m] for points; for a
mesh `vertices`, `faces`, `colors`, `uv`, `texture_of_face`, `texture_0` and so on. docs/episode.md describes the same.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.points import Points, radii_of

Scene = Points | Mesh

NPZ = ".npz"
MESHES = (".ply", ".obj", ".glb", ".gltf", ".stl", ".off")
LARGEST_M, SMALLEST_M = 1000.0, 0.01
"""A scene is between these from corner to corner; others are not in metres."""


def load_scene(path: Path | str) -> Scene:
    """The scene of a file. FileNotFoundError when there is none, ValueError when it is of no known kind, damaged or not in metres."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No scene at {path}")
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"a scene's file must end with one of {', '.join(READERS)}, got {path.name!r}")
    scene = read(path)
    _check_size(scene, path)
    return scene


def save_scene(path: Path | str, scene: Scene) -> None:
    """Writes the scene as .npz, whole or not at all; ValueError for another ending."""
    path = Path(path)
    if path.suffix != NPZ:
        raise ValueError(f"scenes are saved as {NPZ}, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **_arrays(scene))
    partial.replace(path)


def _arrays(scene: Scene) -> dict[str, Any]:
    if isinstance(scene, Points):
        return {"points": scene.points_world, "colors": scene.colors, "radii": scene.radii_m}
    fixed = {"vertices": scene.vertices_world, "faces": scene.faces, "colors": scene.colors, "uv": scene.uv, "texture_of_face": scene.texture_of_face}
    return fixed | {f"texture_{index}": texture for index, texture in enumerate(scene.textures)}


def _read_npz(path: Path) -> Scene:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file.items())
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable .npz: {error}") from error
    kind = _mesh_of if "vertices" in arrays else _points_of
    try:
        return kind(arrays)
    except KeyError as error:
        raise ValueError(f"{path} must hold points and colors, or vertices and faces; it holds {sorted(arrays)}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _points_of(arrays: Mapping[str, ndarray]) -> Points:
    points, colors = _table(arrays["points"], "points", 3).astype(np.float32), color_bytes(_table(arrays["colors"], "colors", 3))
    if len(points) != len(colors):
        raise ValueError(f"points and colors must be equally many, got {len(points)} and {len(colors)}")
    finite = np.isfinite(points).all(axis=1)  # clouds of depth cameras mark what they did not measure so
    points, colors = points[finite], colors[finite]
    radii = arrays.get("radii")
    return Points(points, colors, radii_of(points) if radii is None else np.asarray(radii[finite], np.float32))


def _mesh_of(arrays: Mapping[str, ndarray]) -> Mesh:
    vertices, faces = _table(arrays["vertices"], "vertices", 3).astype(np.float32), _table(arrays["faces"], "faces", 3).astype(np.int32)
    colors = color_bytes(_table(arrays["colors"], "colors", 3))
    textures = tuple(arrays[f"texture_{index}"] for index in range(sum(name.startswith("texture_") for name in arrays) - 1))
    uv, texture_of_face = _table(arrays["uv"], "uv", 2).astype(np.float32), arrays["texture_of_face"].astype(np.int32)
    return Mesh(vertices, faces, colors, uv, texture_of_face, textures)


def _table(array: ndarray, name: str, num_columns: int) -> ndarray:
    if array.ndim != 2 or array.shape[1] < num_columns or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers in {num_columns} columns, got {array.dtype} of shape {array.shape}")
    return array[:, :num_columns]


def color_bytes(colors: ndarray) -> ndarray:
    """Colors as 0..255, of those or of floats 0..1; ValueError for others."""
    if colors.dtype.kind == "f":
        if len(colors) and not (colors.min() >= 0.0 and colors.max() <= 1.0):
            raise ValueError(f"colors as floats must be within 0..1, got {colors.min():g}..{colors.max():g}")
        return (colors * 255.0).round().astype(np.uint8)
    if len(colors) and (colors.min() < 0 or colors.max() > 255):
        raise ValueError(f"colors as whole numbers must be within 0..255, got {colors.min()}..{colors.max()}")
    return colors.astype(np.uint8)


def _read_mesh(path: Path) -> Scene:
    from h2w_ros.scene.mesh_files import read_mesh_file

    return read_mesh_file(path)


def _check_size(scene: Scene, path: Path) -> None:
    positions = scene.points_world if isinstance(scene, Points) else scene.vertices_world
    size_m = float(np.linalg.norm(positions.max(0) - positions.min(0)))
    if not SMALLEST_M <= size_m <= LARGEST_M:
        raise ValueError(f"{path} must be in metres: from corner to corner it would measure {size_m:g} m; scale it where it was made")


READERS: Mapping[str, Callable[[Path], Scene]] = {NPZ: _read_npz, **dict.fromkeys(MESHES, _read_mesh)}

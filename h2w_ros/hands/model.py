"""Hand models in MANO's layout: the shipped stand-in, or the user's own MANO file.

MANO itself (https://mano.is.tue.mpg.de) may not be passed on, so `models/hands/` ships a hand of our own with the same
arrays. A user who has MANO's files names them; they are read without running anything that they contain.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.condition import Side
from h2w_ros.hands.mano_pickle import read_mano_pickle
from h2w_ros.hands.topology import BoneLevel, Edges, Walks, bone_levels, cap, edge_walks, mesh_edges
from h2w_ros.paths import models_dir

NUM_VERTICES = 778
NUM_JOINTS = 16
NUM_BETAS = 10
# smplx's fingertip vertices, in the order in which smplx appends them: thumb, index, middle, ring, pinky.
TIP_VERTICES = (744, 320, 443, 554, 671)
NO_PARENT = -1
# The official left file repeats the right hand's x components of the shape directions; only then is their sum this close.
UNMIRRORED_SHAPE_SUM = 1.0

_SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "f": (1538, 3),
    "shapedirs": (NUM_VERTICES, 3, NUM_BETAS),
    "posedirs": (NUM_VERTICES, 3, 135),
    "J_regressor": (NUM_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_JOINTS),
    "kintree_table": (2, NUM_JOINTS),
    "hands_components": (45, 45),
    "hands_mean": (45,),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HandModel:
    """One side's hand, float64 and read-only. The template frame is MANO's: metres, right fingers along -x, back of the hand +y.

    `parents[j]` is the joint before j, -1 for the wrist; joints: 0 wrist, 1-3 index, 4-6 middle, 7-9 pinky, 10-12 ring, 13-15 thumb.
    """

    side: Side
    template_vertices: Float[ndarray, "778 3"]
    faces: Int[ndarray, "1538 3"]
    shape_directions: Float[ndarray, "778 3 10"]
    pose_directions: Float[ndarray, "778 3 135"]
    joint_regressor: Float[ndarray, "16 778"]
    skin_weights: Float[ndarray, "778 16"]
    parents: Int[ndarray, "16"]
    pose_components: Float[ndarray, "45 45"]
    pose_mean_rad: Float[ndarray, "45"]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, ndarray):
                value.setflags(write=False)

    @cached_property
    def edges(self) -> Edges:
        """The mesh's 2315 edges and the faces beside them."""
        return mesh_edges(self.faces)

    @cached_property
    def edge_walks(self) -> Walks:
        """The same edges as long walks."""
        return edge_walks(self.edges.vertices)

    @cached_property
    def bone_levels(self) -> list[BoneLevel]:
        """The joints after the wrist, by their distance from it."""
        return bone_levels(self.parents)

    @cached_property
    def joint_places(self) -> Int[ndarray, "16"]:
        """Where each joint stands when the wrist and the `bone_levels` are written one after another."""
        return np.argsort(np.concatenate([[0], *(level.joints for level in self.bone_levels)]))

    @cached_property
    def wrist_cap(self) -> Int[ndarray, "14 3"]:
        """Triangles that close the wrist, for those who need a closed hand; drawing leaves it open."""
        return cap(self.faces)


def load_hand_model(side: Side, path: Path | str | None = None) -> HandModel:
    """The hand of this side: the stand-in, or MANO from the user's `.pkl` / `.npz` file or the folder that holds MANO_{LEFT,RIGHT}.pkl.

    Raises FileNotFoundError for a missing file; ValueError, with file, key, expected and got, for one that is not a MANO
    hand of this side, or for a pickle that holds more than arrays (nothing in it runs).
    """
    if side not in ("left", "right"):
        raise ValueError(f"a hand's side must be 'left' or 'right', got {side!r}")
    return _load(side, standin_path(side) if path is None else Path(path))


def mano_folder(mano_dir: str) -> Path | None:
    """The folder that a setting `mano_dir` names, None for the empty word; both hands are read at once, so that faults are said early."""
    if not mano_dir:
        return None
    for side in get_args(Side):
        load_hand_model(side, mano_dir)
    return Path(mano_dir)


def standin_path(side: Side) -> Path:
    """Where the shipped hand of this side lies."""
    return models_dir() / "hands" / f"standin_{side}.npz"


@lru_cache(maxsize=8)
def _load(side: Side, path: Path) -> HandModel:
    file = path / f"MANO_{side.upper()}.pkl" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no hand model at {file}; models/hands/README.md says which files fit and where they come from")
    arrays = checked_arrays(read_arrays(file), file)
    _check_side(arrays, side, file)
    if side == "left":
        arrays = _with_mirrored_shape(arrays, file)
    return hand_model(side, arrays)


def read_arrays(file: Path) -> dict[str, ndarray]:
    """The named arrays of a `.npz` or a MANO pickle, sparse ones made dense; nothing in the file is executed."""
    if file.suffix == ".pkl":
        return read_mano_pickle(file)
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    raise ValueError(f"{file}: a hand model must be a .pkl or a .npz file, got suffix {file.suffix!r}")


def checked_arrays(arrays: Mapping[str, ndarray], file: Path) -> dict[str, ndarray]:
    """The arrays a hand needs, with MANO's shapes, finite; betas beyond the first ten are dropped."""
    checked: dict[str, ndarray] = {}
    for key, expected in _SHAPES.items():
        if key not in arrays:
            raise ValueError(f"{file}: a hand model must hold {key!r} with shape {expected}, got only {sorted(arrays)}")
        value = arrays[key][..., :NUM_BETAS] if key == "shapedirs" else arrays[key]
        if value.shape != expected or not np.issubdtype(value.dtype, np.number):
            raise ValueError(f"{file}: {key!r} must hold numbers of shape {expected}, got {value.dtype} {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{file}: {key!r} must be finite, got {np.count_nonzero(~np.isfinite(value))} values that are not")
        checked[key] = value
    if int(checked["f"].max()) >= NUM_VERTICES:
        raise ValueError(f"{file}: 'f' must index {NUM_VERTICES} vertices, got index {checked['f'].max()}")
    parents = checked["kintree_table"][0, 1:].astype(np.int64)
    if not ((parents >= 0) & (parents <= np.arange(NUM_JOINTS - 1))).all():
        raise ValueError(f"{file}: 'kintree_table' must name a parent before each joint but the wrist, got {parents.tolist()}")
    return checked


def hand_model(side: Side, arrays: Mapping[str, ndarray]) -> HandModel:
    """The model from checked arrays under MANO's names."""
    reals = {key: np.array(arrays[key], dtype=np.float64) for key in _SHAPES if key not in ("f", "kintree_table")}
    parents = np.concatenate([[NO_PARENT], arrays["kintree_table"][0, 1:].astype(np.int64)])
    return HandModel(
        side=side,
        template_vertices=reals["v_template"],
        faces=arrays["f"].astype(np.int64),
        shape_directions=reals["shapedirs"],
        pose_directions=reals["posedirs"],
        joint_regressor=reals["J_regressor"],
        skin_weights=reals["weights"],
        parents=parents,
        pose_components=reals["hands_components"],
        pose_mean_rad=reals["hands_mean"],
    )


def _check_side(arrays: Mapping[str, ndarray], side: Side, file: Path) -> None:
    """MANO's right hand stretches its fingers along -x, the left one along +x."""
    wrist, middle = (arrays["J_regressor"] @ arrays["v_template"])[[0, 4]]
    found = "right" if middle[0] < wrist[0] else "left"
    if found != side:
        raise ValueError(f"{file}: must hold the {side} hand, it holds the {found} one")


def _with_mirrored_shape(arrays: dict[str, ndarray], file: Path) -> dict[str, ndarray]:
    """The left hand with its shape directions' x mirrored where the file forgot it, which only the right hand's file shows."""
    right_file = file.with_name(file.name.replace("LEFT", "RIGHT").replace("left", "right"))
    if right_file == file or not right_file.is_file():
        _log.warning("%s: no right hand beside it, so shape directions that were never mirrored go unnoticed; put %s there", file, right_file.name)
        return arrays
    right = checked_arrays(read_arrays(right_file), right_file)
    difference = np.abs(arrays["shapedirs"][:, 0] - right["shapedirs"][:, 0]).sum()
    if difference >= UNMIRRORED_SHAPE_SUM:
        return arrays
    return {**arrays, "shapedirs": arrays["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]}

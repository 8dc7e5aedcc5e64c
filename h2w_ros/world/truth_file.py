"""The ground truth of an episode as a file beside its conditions: one row a frame, pictures as PNG inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float32
from numpy import ndarray

from h2w_ros.condition import SIDES
from h2w_ros.world.truth import GroundTruth

TRUTH = "truth.parquet"
DEPTH_UNIT_M = 0.0002
"""One step of the stored depth: 16 bits reach 13 m."""
NAMES_KEY = b"names"

_OBJECT = pa.struct(
    [
        ("T_world_object", pa.list_(pa.float64(), 12)),
        ("T_world_link", pa.list_(pa.float64(), 12)),
        ("opening", pa.float64()),
        ("touched_by", pa.list_(pa.string())),
    ],
)
SCHEMA = pa.schema(
    [
        ("ids_png", pa.binary()),
        ("links_png", pa.binary()),
        ("depth_png", pa.binary()),
        ("complete_hands_png", pa.binary()),
        ("objects", pa.list_(_OBJECT)),
    ],
)


def write_truth(folder: Path, truth: GroundTruth) -> None:
    """Writes `truth.parquet` into the folder; depth is rounded to DEPTH_UNIT_M, and 0 where there is nothing."""
    names = "\n".join(truth.names).encode()
    rows = [_row(truth, frame) for frame in range(len(truth.ids))]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA.with_metadata({NAMES_KEY: names})), folder / TRUTH, compression="zstd")


def read_truth(folder: Path) -> GroundTruth:
    """What `write_truth` wrote; FileNotFoundError where an episode has no truth."""
    path = folder / TRUTH
    if not path.exists():
        raise FileNotFoundError(f"No {TRUTH} in {folder}; only simulated episodes (`h2w world sample`) have one")
    table = pq.read_table(path)
    if table.schema.names != SCHEMA.names:
        raise ValueError(f"{path} must have the columns {SCHEMA.names}, got {table.schema.names}: `h2w world sample` makes the episode anew")
    rows = table.to_pylist()
    return GroundTruth(
        tuple(table.schema.metadata[NAMES_KEY].decode().split("\n")),
        np.stack([_from_png(row["ids_png"]) for row in rows]),
        np.stack([_from_png(row["links_png"]) > 0 for row in rows]),
        np.stack([_metres(_from_png(row["depth_png"])) for row in rows]),
        np.stack([_from_png(row["complete_hands_png"]) > 0 for row in rows]),
        np.stack([[_matrix(thing["T_world_object"]) for thing in row["objects"]] for row in rows]),
        np.stack([[_matrix(thing["T_world_link"]) for thing in row["objects"]] for row in rows]),
        np.array([[np.nan if thing["opening"] is None else thing["opening"] for thing in row["objects"]] for row in rows]),
        np.array([[[side in thing["touched_by"] for thing in row["objects"]] for side in SIDES] for row in rows]),
    )


def _row(truth: GroundTruth, frame: int) -> dict[str, Any]:
    objects = [
        {
            "T_world_object": T[:3].ravel().tolist(),
            "T_world_link": T_link[:3].ravel().tolist(),
            "opening": None if np.isnan(opening) else float(opening),
            "touched_by": [side for side, touches in zip(SIDES, touching, strict=True) if touches],
        }
        for T, T_link, opening, touching in zip(
            truth.T_world_object[frame], truth.T_world_link[frame], truth.openings[frame], truth.contacts[frame].T, strict=True
        )
    ]
    steps = np.where(np.isfinite(truth.depth_m[frame]), truth.depth_m[frame] / DEPTH_UNIT_M, 0.0)
    return {
        "ids_png": _png(truth.ids[frame]),
        "links_png": _png(truth.links[frame].astype(np.uint8)),
        "depth_png": _png(np.clip(np.round(steps), 0, 65535).astype(np.uint16)),
        "complete_hands_png": _png(truth.complete_hand_masks[frame].astype(np.uint8)),
        "objects": objects,
    }


def _png(picture: ndarray) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1])


def _from_png(png: bytes) -> ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))


def _metres(steps: ndarray) -> Float32[ndarray, "H W"]:
    return np.where(steps > 0, steps * np.float32(DEPTH_UNIT_M), np.float32(np.inf)).astype(np.float32)


def _matrix(upper: list[float]) -> Float[ndarray, "4 4"]:
    return np.concatenate([np.reshape(upper, (3, 4)), [[0.0, 0.0, 0.0, 1.0]]])

"""The episode on disk, version 1: file names, the table's columns, and how a condition becomes a row and back.

docs/episode.md describes the same for readers in other languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.geometry import Transform
from h2w_ros.video import LOSSLESS, TO_TRAIN, Encoding

FORMAT = "h2w episode"
VERSION = 1

MANIFEST = "episode.json"
FRAMES = "frames.parquet"
MASKS = "masks.parquet"
SCENE = "scene.npz"
STATIC_KNOWN = "static_known"
PARTIAL_SUFFIX = ".partial"
ROWS_PER_GROUP = 64
MAX_COUNT = 2**31 - 1

# Thin coloured lines do not survive 4:2:0, and a hand render is mostly black: losslessly it costs little.
PICTURES: Mapping[str, Encoding] = {"image": TO_TRAIN, "static_render": TO_TRAIN, "hand_render": LOSSLESS}


def _numbers(count: int) -> pa.DataType:
    return pa.list_(pa.float64(), count)


HAND_TYPE = pa.struct(
    [
        pa.field("side", pa.string(), nullable=False),
        pa.field("T_world_wrist", _numbers(12), nullable=False),
        pa.field("joint_angles_rad", _numbers(45), nullable=False),
        pa.field("betas", _numbers(10), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
    ]
)

FRAMES_SCHEMA = pa.schema(
    [
        pa.field("stamp_ns", pa.int64(), nullable=False),
        pa.field("camera", _numbers(4), nullable=False),
        pa.field("T_world_camera", _numbers(12), nullable=False),
        pa.field("hands", pa.list_(HAND_TYPE), nullable=False),
        *(pa.field(name, pa.int32()) for name in PICTURES),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """What `episode.json` says. `pictures` and `masks` name what is there; size in pixels."""

    num_frames: int
    rate_hz: float
    width_px: int
    height_px: int
    domain: str
    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    dropped: Mapping[str, int]
    description: Mapping[str, Any]
    format: str = FORMAT
    version: int = VERSION

    def __post_init__(self) -> None:
        for name in ("num_frames", "width_px", "height_px"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < MAX_COUNT:
                raise ValueError(f"{name} must be a whole number from 0 to {MAX_COUNT}, got {value!r}")
        if not isinstance(self.rate_hz, int | float) or not 0.0 < self.rate_hz < np.inf:
            raise ValueError(f"rate_hz must be a positive number, got {self.rate_hz!r}")
        if not set(self.pictures) <= set(PICTURES) or not all(isinstance(name, str) for name in self.masks):
            raise ValueError(f"pictures must be among {', '.join(PICTURES)}, masks are names; got {self.pictures} and {self.masks}")
        if not isinstance(self.domain, str) or not isinstance(self.dropped, Mapping) or not isinstance(self.description, Mapping):
            raise ValueError(f"domain must be a word, dropped and description tables; got {self.domain!r}, {self.dropped!r}, {self.description!r}")


class IncompleteEpisodeError(ValueError):
    """The writer of this episode did not finish."""


def video_name(picture: str) -> str:
    """File name of one kind of picture."""
    return f"{picture}.mp4"


def partial_path(path: Path) -> Path:
    """Where an episode grows before it gets its name."""
    return path.with_name(f".{path.name}{PARTIAL_SUFFIX}")


def looks_like_episode(path: Path) -> bool:
    """Whether this folder is an episode, finished or not."""
    return (path / MANIFEST).is_file() or (path / FRAMES).is_file() or (path.is_dir() and path.suffix == PARTIAL_SUFFIX)


def row_of(condition: Condition, places: Mapping[str, int | None]) -> dict[str, Any]:
    """The table's row; `places` are the frame numbers of the condition's pictures in their videos."""
    camera = condition.camera
    return {
        "stamp_ns": condition.stamp_ns,
        "camera": [camera.fx, camera.fy, camera.cx, camera.cy],
        "T_world_camera": _to_numbers(condition.T_world_camera),
        "hands": [_hand_row(hand) for hand in condition.hands],
        **{name: places.get(name) for name in PICTURES},
    }


def condition_of(row: Mapping[str, Any], width_px: int, height_px: int, pictures: Mapping[str, Image]) -> Condition:
    """The condition that `row_of` wrote down."""
    hands = tuple(_hand_of(hand) for hand in row["hands"])
    return Condition(row["stamp_ns"], Camera(width_px, height_px, *row["camera"]), _to_transform(row["T_world_camera"]), hands, **pictures)


def _hand_row(hand: HandPose) -> dict[str, Any]:
    return {
        "side": hand.side,
        "T_world_wrist": _to_numbers(hand.T_world_wrist),
        "joint_angles_rad": hand.joint_angles_rad.tolist(),
        "betas": hand.betas.tolist(),
        "confidence": hand.confidence,
    }


def _hand_of(row: Mapping[str, Any]) -> HandPose:
    return HandPose(row["side"], _to_transform(row["T_world_wrist"]), np.array(row["joint_angles_rad"]), np.array(row["betas"]), row["confidence"])


def _to_numbers(T: Transform) -> list[float]:
    """The upper three rows, row by row."""
    return [float(number) for number in T[:3].ravel()]


def _to_transform(numbers: list[float]) -> Transform:
    return np.array([*numbers, 0.0, 0.0, 0.0, 1.0]).reshape(4, 4)

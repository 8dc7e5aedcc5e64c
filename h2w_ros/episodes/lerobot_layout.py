"""LeRobotDataset v3.0 as we fill it: file names, features, and how a condition becomes a row and back.

Policies find `observation.state` and `action` (the state that follows) in single precision; what an episode is made of lies beside them,
exactly, in columns of our own, which policies leave alone. Format: https://huggingface.co/docs/lerobot/lerobot-dataset-v3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import SIDES, Camera, Condition, HandPose, Image, Side
from h2w_ros.episodes.layout import PICTURES
from h2w_ros.geometry import Transform, axis_angle_from_rotation

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{PLACE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{PLACE}.mp4"
EPISODES_PATH = f"{EPISODES}/{PLACE}.parquet"

OUR_COLUMN = "h2w.episode"
"""In the table of episodes: JSON of what an episode's manifest says."""
NO_TASK = "unspecified"

STAMP, CAMERA, POSE = "h2w.stamp_ns", "h2w.camera", "h2w.T_world_camera"
HAND_SIZE = 12 + 45 + 10 + 1


def hand_column(side: Side) -> str:
    """The column of one hand: T_world_wrist's upper rows, joint angles, betas, confidence; NaN throughout where it is not known."""
    return f"h2w.hand.{side}"


def video_key(picture: str) -> str:
    """LeRobot's name for one kind of our pictures."""
    return f"observation.images.{picture}"


def file_place(index: int) -> dict[str, int]:
    """Where the episode of this number keeps its files: each has its own."""
    return {"chunk_index": index // FILES_PER_CHUNK, "file_index": index % FILES_PER_CHUNK}


STATE_NAMES = [
    f"{side}.{name}"
    for side in SIDES
    for name in ("is_known", *(f"wrist_{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz")), *map(str, range(45)))
]
OURS: Mapping[str, tuple[str, list[str]]] = {
    STAMP: ("int64", ["stamp_ns"]),
    CAMERA: ("float64", ["fx", "fy", "cx", "cy"]),
    POSE: ("float64", [f"T_{row}{column}" for row in range(3) for column in range(4)]),
    **{
        hand_column(side): (
            "float64",
            [
                *(f"T_{row}{column}" for row in range(3) for column in range(4)),
                *(f"angle_{index}" for index in range(45)),
                *(f"beta_{index}" for index in range(10)),
                "confidence",
            ],
        )
        for side in SIDES
    },
}
THEIRS: Mapping[str, tuple[str, list[str] | None]] = {
    "observation.state": ("float32", STATE_NAMES),
    "action": ("float32", STATE_NAMES),
    "timestamp": ("float32", None),
    "frame_index": ("int64", None),
    "episode_index": ("int64", None),
    "index": ("int64", None),
    "task_index": ("int64", None),
}


def features(pictures: Sequence[str], width_px: int, height_px: int, rate_hz: float) -> dict[str, Any]:
    """The table of features as `meta/info.json` holds it."""
    numeric = {name: {"dtype": kind, "shape": [len(names or "1")], "names": names} for name, (kind, names) in {**THEIRS, **OURS}.items()}
    return {**{video_key(name): _video_feature(name, width_px, height_px, rate_hz) for name in pictures}, **numeric}


def _video_feature(picture: str, width_px: int, height_px: int, rate_hz: float) -> dict[str, Any]:
    encoding = PICTURES[picture]
    info = {
        "video.height": height_px,
        "video.width": width_px,
        "video.codec": "h264",
        "video.pix_fmt": "gbrp" if encoding.lossless else encoding.pixel_format,
        "video.is_depth_map": False,
        "video.fps": rate_hz,
        "video.channels": 3,
        "has_audio": False,
    }
    return {"dtype": "video", "shape": [height_px, width_px, 3], "names": ["height", "width", "channels"], "info": info}


def our_columns(condition: Condition) -> dict[str, Any]:
    """What a condition is made of, pictures apart, without loss."""
    camera = condition.camera
    return {
        STAMP: condition.stamp_ns,
        CAMERA: [camera.fx, camera.fy, camera.cx, camera.cy],
        POSE: condition.T_world_camera[:3].ravel().tolist(),
        **{hand_column(side): _hand_numbers(condition.hand(side)) for side in SIDES},
    }


def condition_of(row: Mapping[str, Any], width_px: int, height_px: int, pictures: Mapping[str, Image]) -> Condition:
    """The condition that `our_columns` wrote down."""
    hands = tuple(hand for side in SIDES if (hand := _hand_of(side, np.array(row[hand_column(side)]))) is not None)
    return Condition(int(row[STAMP]), Camera(width_px, height_px, *row[CAMERA]), _transform(np.array(row[POSE])), hands, **pictures)


def state(condition: Condition) -> Float[ndarray, "104"]:
    """Both hands in the world: known or not (0 or 1), wrist [m] and its rotation vector [rad], joint angles [rad]; zeros where not known."""
    return np.concatenate([_hand_state(condition.hand(side)) for side in SIDES])


def _hand_state(hand: HandPose | None) -> Float[ndarray, "52"]:
    if hand is None:
        return np.zeros(52)
    T = hand.T_world_wrist
    return np.concatenate([[1.0], T[:3, 3], axis_angle_from_rotation(T[:3, :3]), hand.joint_angles_rad])


def _hand_numbers(hand: HandPose | None) -> list[float]:
    if hand is None:
        return [float("nan")] * HAND_SIZE
    return [*hand.T_world_wrist[:3].ravel().tolist(), *hand.joint_angles_rad.tolist(), *hand.betas.tolist(), hand.confidence]


def _hand_of(side: Side, numbers: Float[ndarray, "68"]) -> HandPose | None:
    if np.isnan(numbers).all():
        return None
    return HandPose(side, _transform(numbers[:12]), numbers[12:57], numbers[57:67], float(numbers[67]))


def _transform(numbers: Float[ndarray, "12"]) -> Transform:
    return np.vstack([numbers.reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])

"""Reads the example folders of the Hand2World release: a scene image, a ready-made hand video, camera poses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.episodes.recording import REAL, Recording, check_range
from h2w_ros.geometry import Transform, check_transform, transform
from h2w_ros.video import iterate_video, video_info

SCENE, HANDS, CAMERAS = "scene_image.png", "hand_video.mp4", "camera.json"
RATE_HZ = 16.0
PERIOD_NS = 62_500_000


@dataclass(frozen=True)
class CameraMoment:
    """One frame of `camera.json`: intrinsics count from the picture's corner, poses are camera to world, OpenCV axes."""

    camera: Camera
    T_world_camera: Transform


class Hand2WorldExample(Recording):
    """161 frames at 16 Hz, without hand poses: every condition carries the hand video's frame, the first one the scene image.

    The files have no stamps; frame k gets (k + 1) / 16 s, because ROS reads a stamp of zero as "not filled in".
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rate_hz = RATE_HZ
        self.domain = REAL
        self.description = {"hand2world_example": self.path.name}
        self.dropped: Counter[str] = Counter()
        missing = [name for name in (SCENE, HANDS, CAMERAS) if not (self.path / name).is_file()]
        if missing:
            raise FileNotFoundError(f"A Hand2World example holds {SCENE}, {HANDS} and {CAMERAS}; {self.path} lacks {', '.join(missing)}")
        self._moments = read_cameras(self.path / CAMERAS)
        num_renders = video_info(self.path / HANDS).num_frames
        if num_renders > len(self._moments):
            self.dropped["hand_render_without_camera"] = num_renders - len(self._moments)
        if num_renders < len(self._moments):
            self.dropped["camera_without_hand_render"] = len(self._moments) - num_renders
        self._num_frames = min(num_renders, len(self._moments))

    @property
    def num_frames(self) -> int:
        """How many frames have both a camera and a hand render."""
        return self._num_frames

    @cached_property
    def _scene(self) -> Image:
        picture = cv2.imread(str(self.path / SCENE), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{self.path / SCENE} is not a readable picture")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1; each carries its ready-made hand render, number 0 the scene image too."""
        start, stop = check_range(start, stop, self.num_frames, self.path)
        if start == stop:
            return
        for index, render in enumerate(iterate_video(self.path / HANDS, start, stop), start):
            moment = self._moments[index]
            image = self._scene if index == 0 else None
            yield Condition((index + 1) * PERIOD_NS, moment.camera, moment.T_world_camera, hand_render=render, image=image)


def read_cameras(path: Path) -> list[CameraMoment]:
    """The frames of a `camera.json`. ValueError that names file and frame when it is damaged."""
    try:
        fields = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return [_moment(fields, index, path) for index in range(len(fields.get("frames", ())))]


def _moment(fields: dict[str, Any], index: int, path: Path) -> CameraMoment:
    try:
        frame = fields["frames"][index]
        K = frame["intrinsics"]
        camera = Camera(int(fields["image_width"]), int(fields["image_height"]), *(float(K[name]) for name in ("fx", "fy", "cx", "cy")))
        R, t = np.array(frame["rotation"], dtype=np.float64).reshape(3, 3), np.array(frame["translation"], dtype=np.float64).reshape(3)
        return CameraMoment(camera, check_transform(transform(R, t), "T_world_camera"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}, frame {index}: {error!r}") from error

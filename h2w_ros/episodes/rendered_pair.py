"""Dexterous World Models' own interface: a video of the untouched scene, and a video of the hands alone, along one camera path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from h2w_ros.camera import scaled
from h2w_ros.condition import Camera, Condition
from h2w_ros.episodes.hand2world import CAMERAS, HANDS, CameraMoment, read_cameras
from h2w_ros.episodes.recording import UNKNOWN, Recording, check_range
from h2w_ros.video import VideoInfo, iterate_video, video_info

STATIC = "static_video.mp4"
RATE_TOLERANCE = 1e-3
NS_PER_S = 1_000_000_000


class RenderedPair(Recording):
    """Every condition carries both renders; the first one also shows the scene without hands as what the camera saw.

    Where no `cameras` (a camera.json as Hand2World's) are given, the path is known from the renders alone, and conditions
    have a camera of a plain angle of view that stands still: `knows_camera` says so.
    """

    def __init__(self, static_video: Path | str, hand_video: Path | str, cameras: Path | str | None = None) -> None:
        self.path, self._hands = Path(static_video), Path(hand_video)
        info, hands = video_info(self.path), video_info(self._hands)
        check_pair(info, hands)
        self._info, self.rate_hz, self.domain = info, info.rate_hz, UNKNOWN
        self._moments = [_still(info)] * info.num_frames if cameras is None else _moments(Path(cameras), info)
        self.knows_camera = cameras is not None
        self.description = {"static_video": self.path.name, "hand_video": self._hands.name, "knows_camera": self.knows_camera}
        self.dropped: Counter[str] = Counter()

    @property
    def num_frames(self) -> int:
        """How many frames either video has."""
        return self._info.num_frames

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1; frame k is at (k + 1) periods, because ROS reads a stamp of zero as "not filled in"."""
        start, stop = check_range(start, stop, self.num_frames, self.path)
        if start == stop:
            return
        pairs = zip(iterate_video(self.path, start, stop), iterate_video(self._hands, start, stop), strict=True)
        for index, (static, hands) in enumerate(pairs, start):
            moment, stamp_ns = self._moments[index], round((index + 1) * NS_PER_S / self.rate_hz)
            image = static if index == 0 else None
            yield Condition(stamp_ns, moment.camera, moment.T_world_camera, hand_render=hands, static_render=static, image=image)


def open_pair(folder: Path) -> RenderedPair:
    """The pair of a folder: static_video.mp4, hand_video.mp4 and, where the path is known, camera.json."""
    cameras = folder / CAMERAS
    return RenderedPair(folder / STATIC, folder / HANDS, cameras if cameras.is_file() else None)


def check_pair(static: VideoInfo, hands: VideoInfo) -> None:
    """ValueError unless both videos have one length, one size and one rate."""
    differ = {name: (value, asdict(hands)[name]) for name, value in asdict(static).items() if abs(value - asdict(hands)[name]) > RATE_TOLERANCE}
    if differ:
        told = ", ".join(f"{name} {one:g} and {other:g}" for name, (one, other) in differ.items())
        raise ValueError(f"the static video and the hand video must be rendered along one path at one size and rate, got {told}")
    if not static.rate_hz > 0.0:
        raise ValueError("the static video must tell its frame rate, got none")


def _still(info: VideoInfo) -> CameraMoment:
    """A camera that sees about as far to the sides as it is away, at the world's origin."""
    focal_px = float(max(info.width_px, info.height_px))
    return CameraMoment(Camera(info.width_px, info.height_px, focal_px, focal_px, info.width_px / 2, info.height_px / 2), np.eye(4))


def _moments(path: Path, info: VideoInfo) -> list[CameraMoment]:
    moments = read_cameras(path)
    if len(moments) != info.num_frames:
        raise ValueError(f"{path} must have a camera for each of the videos' {info.num_frames} frames, got {len(moments)}")
    return [CameraMoment(scaled(moment.camera, info.width_px, info.height_px), moment.T_world_camera) for moment in moments]

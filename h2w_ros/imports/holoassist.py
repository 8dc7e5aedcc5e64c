"""HoloAssist (Wang et al., ICCV 2023): people at work with HoloLens 2, hands as its 26 joints.

`<session>/Export_py/` holds `Video_pitchshift.mp4`, `Video/VideoMp4Timing.txt` (first and last stamp), `Video/Pose_sync.txt`
(time, stamp, 4x4 pose a line), `Video/Intrinsics.txt` and `Hands/{Left,Right}_sync.txt` (a few words, 26 4x4 poses, 26 valid and
26 tracked flags a line; line k belongs to pose k). Stamps count 100 ns; the world and the camera have x forward, y left, z up.
Joints have no MANO: they are fitted. Layout: taeinkwon/PyHoloAssist and the HoloLens exporter of microsoft/psi.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros import geometry
from h2w_ros.camera import from_pixel_centres
from h2w_ros.condition import Camera, Condition, Side
from h2w_ros.episodes.recording import REAL
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.axes import AXES
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order
from h2w_ros.imports.dataset import Dataset, ImportOptions, frames_at, numbers
from h2w_ros.imports.files import picked_pictures, read_words
from h2w_ros.imports.fitting import SeenHand, fit_sequence
from h2w_ros.imports.mano import SIDES
from h2w_ros.video import VideoInfo, video_info

NS_PER_TICK = 100
NUM_JOINTS = 26
NUM_JOINT_NUMBERS = 16 * NUM_JOINTS
# From the camera's x-right, y-down, z-forward axes to the x-forward, y-left, z-up ones of the recorded pose.
T_RECORDED_OPTICAL = geometry.transform(AXES["optical"], np.zeros(3))
EXPORT = "Export_py"
LICENCE = "CDLA-Permissive-2.0 (holoassist.github.io)"
LAYOUT = "a folder with <session>/Export_py/ (Video_pitchshift.mp4, Video/, Hands/)"


def sequences(source: Path) -> list[str]:
    """Names of sessions."""
    return [str(file.parents[2].relative_to(source)) for file in sorted(source.rglob(f"{EXPORT}/Video/Pose_sync.txt"))]


class HoloAssistSession:
    """One session."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "holoassist", "sequence": name, "licence": LICENCE}
        self._folder, self._options = source / name / EXPORT, options
        self._video = self._folder / "Video_pitchshift.mp4"
        info = video_info(self._video)
        self._camera = self._read_camera(info)
        self._poses = self._lines("Video/Pose_sync.txt")
        self._hands = {side: self._lines(f"Hands/{side.title()}_sync.txt") for side in SIDES}
        stamps_ns = self._pose_stamps_ns()
        picked = frames_at(stamps_ns, options.rate_hz)
        self.rate_hz = picked.rate_hz
        self._stamps_ns = {row: stamps_ns[row] for row in picked.frames}
        self._frames = self._video_frames(info)

    def conditions(self) -> Iterator[Condition]:
        """The picked moments whose camera is known."""
        seen = [hand for side in SIDES for hand in self._seen(side)]
        hands = fit_sequence(seen, self._options.mano, self.dropped)
        pictures = picked_pictures(self._video, list(self._frames.values()))
        for row, picture in zip(self._frames, pictures, strict=True):
            try:
                recorded = numbers(self._poses[row][2:], (16,), f"pose in line {row + 1}").reshape(4, 4)
                T_world_camera = geometry.check_transform(recorded @ T_RECORDED_OPTICAL, "pose")
            except ValueError:
                self.dropped["camera_invalid"] += 1
                continue
            yield Condition(self._stamps_ns[row], self._camera, T_world_camera, hands.get(row, ()), image=picture)

    def _read_camera(self, info: VideoInfo) -> Camera:
        words = numbers(self._lines("Video/Intrinsics.txt")[0], (None,), f"{self._folder}/Video/Intrinsics.txt")
        if len(words) < 11 or not np.isfinite(words).all():
            raise ValueError(f"{self._folder}/Video/Intrinsics.txt must hold a 3x3 matrix and, at its end, the size, got {words}")
        K, size_px = words[:9].reshape(3, 3), (int(words[-2]), int(words[-1]))
        if size_px != (info.width_px, info.height_px):
            raise ValueError(f"{self._video} must be {size_px[0]}x{size_px[1]} px like Intrinsics.txt, got {info.width_px}x{info.height_px}")
        return from_pixel_centres(*size_px, K[0, 0], K[1, 1], K[0, 2], K[1, 2])

    def _pose_stamps_ns(self) -> list[int]:
        """Since the video's first frame."""
        try:
            begin = int(self._lines("Video/VideoMp4Timing.txt")[0][0])
            return [NS_PER_TICK * (int(words[1]) - begin) for words in self._poses]
        except (ValueError, IndexError) as error:
            raise ValueError(f"{self._folder}/Video must count stamps in whole numbers, in VideoMp4Timing.txt and Pose_sync.txt: {error}") from error

    def _video_frames(self, info: VideoInfo) -> dict[int, int]:
        """Line of the poses -> the nearest frame of the video, each frame once; lines before or after the video are counted."""
        frames: dict[int, int] = {}
        for row, stamp_ns in self._stamps_ns.items():
            frame = round(stamp_ns * 1e-9 * info.rate_hz)
            if 0 <= frame < info.num_frames and frame > max(frames.values(), default=-1):
                frames[row] = frame
            else:
                self.dropped["pose_without_picture"] += 1
        return frames

    def _seen(self, side: Side) -> Iterator[SeenHand]:
        """The tracked hands of one side."""
        for row in self._frames:
            words = self._hands[side][row] if row < len(self._hands[side]) else []
            points = joints_of(words, f"{self._folder}/Hands, {side}, line {row + 1}") if words else None
            if points is None or not np.isfinite(points).any():
                self.dropped["hand_not_tracked"] += 1
                continue
            ours = in_our_order(CONVENTIONS["openxr26"], points * self._options.metres_per_unit)
            yield SeenHand(row, self._stamps_ns[row], HandSkeleton(side, ours))

    def _lines(self, name: str) -> list[list[str]]:
        return read_words(self._folder / name)


def joints_of(words: list[str], name: str) -> np.ndarray:
    """Positions (26, 3) of a line's joints, NaN where the headset calls them invalid; ValueError for a line that is too short.

    Exports differ in how many numbers come before the joints.
    """
    line = numbers(words, (None,), name)
    begin = len(line) - NUM_JOINT_NUMBERS - 2 * NUM_JOINTS
    if begin < 2:
        raise ValueError(f"{name} must hold {NUM_JOINTS} poses of 16 numbers and {2 * NUM_JOINTS} flags, got {len(line)} numbers")
    poses = line[begin : begin + NUM_JOINT_NUMBERS].reshape(NUM_JOINTS, 4, 4)
    is_valid = line[begin + NUM_JOINT_NUMBERS :][:NUM_JOINTS] > 0.5
    found: np.ndarray = np.where(is_valid[:, None], poses[:, :3, 3], np.nan)
    return found


DATASET = Dataset(LICENCE, LAYOUT, sequences, HoloAssistSession)

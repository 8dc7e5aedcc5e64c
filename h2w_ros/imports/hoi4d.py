"""HOI4D (Liu et al., CVPR 2022): a head camera at 15 Hz, hands as MANO's parameters in the camera's frame.

A sequence is `ZY20210800001/H1/C1/N19/S100/s02/T1`. Under the source folder lie `HOI4D_release/<seq>/align_rgb/image.mp4`,
`HOI4D_annotations/<seq>/3Dseg/output.log`, `camera_params/<ZY...>/intrin.npy` and
`handpose/refinehandpose_right/<seq>/<frame>.pickle` (poseCoeff 48, beta 10, trans 3, kps2D 21x2), `_left` likewise.

output.log holds camera -> world: the authors' own tools (prepare_4Dseg) give Open3D's `extrinsic`, which is the inverse of what
the file says, to a function that wants world -> camera. Hands are checked against the key points that come with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros import geometry
from h2w_ros.camera import from_pixel_centres, project
from h2w_ros.condition import Condition, HandPose, Side
from h2w_ros.episodes.recording import REAL
from h2w_ros.hands.skinning import hand_joints_world
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order
from h2w_ros.imports.dataset import Dataset, ImportOptions, counted_stamps_ns, entry, frames_at, numbers
from h2w_ros.imports.files import picked_pictures, read_npy, read_pickle, read_words
from h2w_ros.imports.mano import SIDES, ManoConvention, ManoHands, ManoParameters
from h2w_ros.video import VideoInfo, video_info

VIDEO = "align_rgb/image.mp4"
RELEASES = ("HOI4D_release", ".")
ANNOTATIONS = ("HOI4D_annotations", "HOI4D_release", ".")
CAMERAS = ("camera_params", "camera_params/camera_params")
HANDS = ("handpose/refinehandpose_{side}", "Hand_pose/handpose_{side}_hand")
LINES_PER_POSE = 5
# Half of a hand's joints may be this share of the picture's width away from the key points that come with it: 15 px of 1920.
MOST_OFF = 0.008
LICENCE = "CC BY-NC 4.0 (hoi4d.github.io)"
LAYOUT = "a folder with HOI4D_release/, HOI4D_annotations/, camera_params/ and handpose/"


def sequences(source: Path) -> list[str]:
    """Names such as ZY20210800001/H1/C1/N19/S100/s02/T1."""
    release = next((source / folder for folder in RELEASES if (source / folder).is_dir()), source)
    return [str(file.parents[1].relative_to(release)) for file in sorted(release.glob(f"ZY*/*/*/*/*/*/*/{VIDEO}"))]


class Hoi4dSequence:
    """One sequence."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "hoi4d", "sequence": name, "licence": LICENCE}
        self._mano = ManoHands(options, ManoConvention(adds_mean=False, left_as_released=True))
        self._video = first_of(source, RELEASES, f"{name}/{VIDEO}")
        self._T_world_camera = read_poses(first_of(source, ANNOTATIONS, f"{name}/3Dseg/output.log"))
        info = video_info(self._video)
        K = numbers(read_npy(first_of(source, CAMERAS, f"{Path(name).parts[0]}/intrin.npy")), (3, 3), f"{source}: intrin.npy")
        self._camera = from_pixel_centres(info.width_px, info.height_px, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        self._pickles = {side: hand_files(source, name, side) for side in SIDES}
        self._step, source_rate_hz = frames_per_pose(info, len(self._T_world_camera), self._video)
        num_frames = min(len(self._T_world_camera), -(-info.num_frames // self._step))
        self._stamps_ns = counted_stamps_ns(num_frames, source_rate_hz)
        picked = frames_at(self._stamps_ns, options.rate_hz)
        self.rate_hz, self._frames = picked.rate_hz, picked.frames

    def conditions(self) -> Iterator[Condition]:
        """The picked frames whose camera is known."""
        pictures = picked_pictures(self._video, [frame * self._step for frame in self._frames])
        for frame, picture in zip(self._frames, pictures, strict=True):
            try:
                T_world_camera = geometry.check_transform(self._T_world_camera[frame], "pose in output.log")
            except ValueError:
                self.dropped["camera_invalid"] += 1
                continue
            yield Condition(self._stamps_ns[frame], self._camera, T_world_camera, self._hands_at(frame, T_world_camera), image=picture)

    def _hands_at(self, frame: int, T_world_camera: geometry.Transform) -> tuple[HandPose, ...]:
        tables = {side: (files[frame], read_pickle(files[frame])) for side, files in self._pickles.items() if frame in files}
        parameters = {side: parameters_of(table, file) for side, (file, table) in tables.items()}
        hands = self._mano.hands(parameters, T_world_camera, T_world_camera, self.dropped)
        return tuple(hand for hand in hands if self._agrees(hand, T_world_camera, tables[hand.side][1]))

    def _agrees(self, hand: HandPose, T_world_camera: geometry.Transform, table: Mapping[str, Any]) -> bool:
        """Whether the hand lies where its key points are; one that does not is counted."""
        if "kps2D" not in table:
            return True
        joints = hand_joints_world(self._mano.ours(hand.side), hand)
        points_px = project(self._camera, geometry.apply(geometry.invert(T_world_camera), joints))
        given_px = in_our_order(CONVENTIONS["points21"], numbers(table["kps2D"], (21, 2), "kps2D"))[: len(joints)]
        is_near = float(np.median(np.linalg.norm(points_px - given_px, axis=1))) <= MOST_OFF * self._camera.width_px
        if not is_near:
            self.dropped["hand_off_its_keypoints"] += 1
        return is_near


def parameters_of(table: Any, file: Path) -> ManoParameters:
    """MANO's numbers of one pickle, in the camera's frame."""
    pose = numbers(np.ravel(entry(table, "poseCoeff", file)), (48,), f"{file} poseCoeff")
    betas, translation = (numbers(np.ravel(entry(table, key, file)), (size,), f"{file} {key}") for key, size in (("beta", 10), ("trans", 3)))
    return ManoParameters(pose[:3], pose[3:], betas, translation)


def read_poses(file: Path) -> Float[ndarray, "N 4 4"]:
    """T_world_camera of every frame: a line of three counts, then four of the matrix."""
    lines = read_words(file)
    if len(lines) % LINES_PER_POSE:
        raise ValueError(f"{file} must hold {LINES_PER_POSE} lines a frame, got {len(lines)}")
    rows = [line for number, line in enumerate(lines) if number % LINES_PER_POSE]
    return numbers(rows, (len(rows), 4), str(file)).reshape(-1, 4, 4)


def frames_per_pose(info: VideoInfo, num_poses: int, video: Path) -> tuple[int, float]:
    """How many frames of the video go to each pose, and poses a second: annotations are for 15 Hz, some videos have 30."""
    for step in (1, 2):
        if abs(info.num_frames - step * num_poses) <= 2 * step:
            return step, info.rate_hz / step
    raise ValueError(f"{video} must have one or two frames for each of {num_poses} poses in output.log, it has {info.num_frames}")


def hand_files(source: Path, name: str, side: Side) -> Mapping[int, Path]:
    """Frame -> pickle of one side; empty where this sequence has none."""
    folders = [source / folder.format(side=side) / name for folder in HANDS]
    return {int(file.stem): file for folder in folders for file in folder.glob("*.pickle") if file.stem.isdecimal()}


def first_of(source: Path, folders: tuple[str, ...], name: str) -> Path:
    """The file under the first of these folders that has it; FileNotFoundError otherwise."""
    found = next((source / folder / name for folder in folders if (source / folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"No {name} under {source} in any of {', '.join(folders)}")
    return found


DATASET = Dataset(LICENCE, LAYOUT, sequences, Hoi4dSequence)

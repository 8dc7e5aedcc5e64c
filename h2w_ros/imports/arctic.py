"""ARCTIC (Fan et al., CVPR 2023): two hands and an articulated object, motion capture, one head camera with a wide lens.

Under the source folder: `raw_seqs/s01/box_grab_01.mano.npy` and `.egocam.dist.npy`, `meta/misc.json`, and the head camera's
pictures `images/s01/box_grab_01/0/00001.jpg`, or `cropped_images`, whose view 0 is the whole picture at 0.3 of its size.
Layout and conventions: docs/data/data_doc.md and src/arctic of the authors' release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros import geometry
from h2w_ros.condition import Condition, Side
from h2w_ros.episodes.recording import REAL
from h2w_ros.imports.dataset import Dataset, ImportOptions, entry, frames_at, numbers
from h2w_ros.imports.files import read_json, read_npy, read_picture
from h2w_ros.imports.mano import SIDES, ManoConvention, ManoHands, ManoParameters
from h2w_ros.rectify import Lens, Rectifier

RATE_HZ = 30.0
EGO_VIEW = 0
CAMERA_SUFFIX = ".egocam.dist.npy"
# The last one is how the release's own documentation spells it.
IMAGE_FOLDERS = ("images", "cropped_images", "croppped_images")
LICENCE = "ARCTIC licence (arctic.is.tue.mpg.de): non-commercial research, no redistribution, registration"
LAYOUT = "a folder with raw_seqs/, meta/misc.json and images/ or cropped_images/"


def sequences(source: Path) -> list[str]:
    """Names such as s01/box_grab_01."""
    files = sorted((source / "raw_seqs").glob(f"*/*{CAMERA_SUFFIX}"))
    return [f"{file.parent.name}/{file.name.removesuffix(CAMERA_SUFFIX)}" for file in files]


class ArcticSequence:
    """One sequence, seen by the head camera, its pictures rectified."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "arctic", "sequence": name, "licence": LICENCE}
        self._mano = ManoHands(options, ManoConvention(adds_mean=True, left_as_released=True))
        raw = source / "raw_seqs" / name
        self._hands_file, self._camera_file = raw.with_name(f"{raw.name}.mano.npy"), raw.with_name(f"{raw.name}{CAMERA_SUFFIX}")
        self._hands = {side: self._side(entry(read_npy(self._hands_file), side, self._hands_file)) for side in SIDES}
        self._camera = read_npy(self._camera_file)
        self._R_camera_world = numbers(entry(self._camera, "R_k_cam_np", self._camera_file), (None, 3, 3), "R_k_cam_np")
        self._t_camera_world = numbers(entry(self._camera, "T_k_cam_np", self._camera_file), (len(self._R_camera_world), 3, 1), "T_k_cam_np")
        misc_file = source / "meta" / "misc.json"
        self._subject = entry(read_json(misc_file), raw.parent.name, misc_file)
        self._pictures = self._annotated_pictures(source, name, int(entry(self._subject, "ioi_offset", misc_file)))
        frames = sorted(self._pictures)
        picked = frames_at([round(frame * 1e9 / RATE_HZ) for frame in frames], options.rate_hz)
        self.rate_hz, self._frames = picked.rate_hz, [frames[place] for place in picked.frames]

    def conditions(self) -> Iterator[Condition]:
        """The picked frames whose camera is known."""
        rectifier: Rectifier | None = None
        for frame in self._frames:
            T_world_camera = self._T_world_camera(frame)
            if T_world_camera is None:
                self.dropped["camera_invalid"] += 1
                continue
            try:
                picture = read_picture(self._pictures[frame])
            except ValueError:
                self.dropped["picture_damaged"] += 1
                continue
            rectifier = rectifier or Rectifier(self._lens(picture.shape[1], picture.shape[0]))
            hands = self._mano.hands(self._hands_at(frame), np.eye(4), T_world_camera, self.dropped)
            yield Condition(round(frame * 1e9 / RATE_HZ), rectifier.camera, T_world_camera, hands, image=rectifier(picture))

    def _side(self, parameters: Any) -> Mapping[str, np.ndarray]:
        rot = numbers(entry(parameters, "rot", self._hands_file), (None, 3), "rot")
        sizes = {"pose": 45, "trans": 3}
        arrays = {key: numbers(entry(parameters, key, self._hands_file), (len(rot), size), key) for key, size in sizes.items()}
        shape = numbers(np.ravel(entry(parameters, "shape", self._hands_file))[:10], (10,), "shape")
        return {"rot": rot, **arrays, "shape": shape}

    def _annotated_pictures(self, source: Path, name: str, offset: int) -> Mapping[int, Path]:
        """Frame of the annotation -> its picture: files are numbered `ioi_offset` later than the annotation's frames."""
        folders = [source / folder / name / str(EGO_VIEW) for folder in IMAGE_FOLDERS]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise FileNotFoundError(f"No pictures of the head camera at {folders[0]}; download images/ or cropped_images/ of this sequence")
        numbered = {int(file.stem) - offset: file for file in folder.glob("*.jpg") if file.stem.isdecimal()}
        num_frames = min(len(self._R_camera_world), *(len(hand["rot"]) for hand in self._hands.values()))
        annotated = {frame: file for frame, file in numbered.items() if 0 <= frame < num_frames}
        if len(annotated) < len(numbered):
            self.dropped["picture_without_annotation"] = len(numbered) - len(annotated)
        return annotated

    def _T_world_camera(self, frame: int) -> geometry.Transform | None:
        T_camera_world = geometry.transform(self._R_camera_world[frame], self._t_camera_world[frame, :, 0])
        try:
            return geometry.invert(geometry.check_transform(T_camera_world, "world -> camera"))
        except ValueError:
            return None

    def _lens(self, width_px: int, height_px: int) -> Lens:
        """The head camera's lens for pictures of this size; its calibration is for the size in misc.json."""
        full_width_px, full_height_px = self._subject["image_size"][EGO_VIEW]
        K = numbers(entry(self._camera, "intrinsics", self._camera_file), (3, 3), "intrinsics")
        dist = numbers(np.ravel(entry(self._camera, "dist8", self._camera_file)), (8,), "dist8")
        x, y = width_px / full_width_px, height_px / full_height_px
        scaled = (K[0, 0] * x, K[1, 1] * y, (K[0, 2] + 0.5) * x - 0.5, (K[1, 2] + 0.5) * y - 0.5)
        return Lens(width_px, height_px, scaled, "rational_polynomial", tuple(dist.tolist()))

    def _hands_at(self, frame: int) -> Mapping[Side, ManoParameters]:
        return {
            side: ManoParameters(hand["rot"][frame], hand["pose"][frame], hand["shape"], hand["trans"][frame]) for side, hand in self._hands.items()
        }


DATASET = Dataset(LICENCE, LAYOUT, sequences, ArcticSequence)

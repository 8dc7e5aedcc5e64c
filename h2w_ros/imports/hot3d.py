"""HOT3D-Clips (Banerjee et al., 2024): 150 frames of Aria or Quest 3 a tar file, hands by motion capture.

`clip-*.tar` holds `000000.cameras.json`, `.hands.json`, `.info.json`, `.image_214-1.jpg` (Aria's colour camera) and
`.image_1201-1.jpg` (grey), and `__hand_shapes.json__`. Quaternions are w x y z; cameras are FISHEYE624 and mounted on their
side; hands are 15 of MANO's pose components around its mean pose, with the left hand's shape directions mirrored.
Layout: hot3d/clips/README.md; conventions: facebookresearch/hand_tracking_toolkit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros import geometry
from h2w_ros.condition import Camera, Condition, Image, Side
from h2w_ros.episodes.recording import REAL
from h2w_ros.geometry import Transform
from h2w_ros.imports.dataset import Dataset, ImportOptions, entry, frames_at, numbers
from h2w_ros.imports.files import TarFile, decoded_picture
from h2w_ros.imports.fisheye624 import MODEL_NAMES, Fisheye624, FisheyeRectifier
from h2w_ros.imports.mano import SIDES, ManoConvention, ManoHands, ManoParameters

COLOUR_STREAM = "214-1"
NUM_COMPONENTS = 15
SHAPES = "__hand_shapes.json__"
INFO_SUFFIX, HANDS_SUFFIX = ".info.json", ".hands.json"
# Aria's calibrations have one focal length, Quest's two.
NUM_PARAMETERS_ONE_FOCAL = 15
# The cameras are mounted on their side: turned clockwise, right becomes down.
R_UPRIGHT_MOUNTED = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
LICENCE = "HOT3D licence (projectaria.com/datasets/hot3d/license): hands CC BY-NC-SA, sequences CC BY-SA"
LAYOUT = "a folder with clip-*.tar, such as train_aria/ and train_quest3/"


def sequences(source: Path) -> list[str]:
    """Names such as train_aria/clip-001849."""
    return [str(file.relative_to(source).with_suffix("")) for file in sorted(source.rglob("clip-*.tar"))]


class Hot3dClip:
    """One clip, seen by its colour camera, or by its first grey one; pictures rectified and upright."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "hot3d-clips", "sequence": name, "licence": LICENCE}
        self._mano = ManoHands(options, ManoConvention(adds_mean=True))
        self._path = source / f"{name}.tar"
        self._tar = TarFile(self._path)
        if SHAPES not in self._tar.names or not any(member.endswith(HANDS_SUFFIX) for member in self._tar.names):
            raise ValueError(f"{self._path} holds no hands: they are published for the training clips only")
        self._betas = numbers(entry(self._tar.read_json(SHAPES), "mano", self._path), (10,), f"{SHAPES} mano")
        keys = sorted(member.removesuffix(INFO_SUFFIX) for member in self._tar.names if member.endswith(INFO_SUFFIX))
        self._stream = self._chosen_stream(keys)
        stamps_ns = [self._stamp_ns(key) for key in keys]
        picked = frames_at(stamps_ns, options.rate_hz)
        self.rate_hz = picked.rate_hz
        self._frames = [(keys[place], stamps_ns[place]) for place in picked.frames]

    def conditions(self) -> Iterator[Condition]:
        """The picked frames."""
        rectifier: FisheyeRectifier | None = None
        for key, stamp_ns in self._frames:
            calibrated = entry(self._tar.read_json(f"{key}.cameras.json"), self._stream, self._path)
            lens = lens_of(entry(calibrated, "calibration", self._path), self._path)
            if rectifier is None or rectifier.lens != lens:
                rectifier = FisheyeRectifier(lens)
            try:
                mounted = self._picture(key)
            except ValueError:
                self.dropped["picture_damaged"] += 1
                continue
            camera, picture = upright(rectifier.camera, rectifier(mounted))
            T_world_mounted = pose_of(entry(calibrated, "T_world_from_camera", self._path), self._path)
            T_world_camera = T_world_mounted @ geometry.invert(geometry.transform(R_UPRIGHT_MOUNTED, np.zeros(3)))
            hands = self._mano.hands(self._hands_at(key), np.eye(4), T_world_camera, self.dropped)
            yield Condition(stamp_ns, camera, T_world_camera, hands, image=picture)

    def _chosen_stream(self, keys: list[str]) -> str:
        if not keys:
            raise ValueError(f"{self._path} holds no frames: no member ends with {INFO_SUFFIX}")
        streams = sorted(self._tar.read_json(f"{keys[0]}.cameras.json"))
        return COLOUR_STREAM if COLOUR_STREAM in streams else streams[0]

    def _stamp_ns(self, key: str) -> int:
        stamps = entry(self._tar.read_json(f"{key}{INFO_SUFFIX}"), "image_timestamps_ns", self._path)
        return int(entry(stamps, self._stream, self._path))

    def _hands_at(self, key: str) -> Mapping[Side, ManoParameters]:
        """The hands of a frame; one that only UmeTrack's model describes is counted."""
        name = f"{key}{HANDS_SUFFIX}"
        table = self._tar.read_json(name) if name in self._tar.names else {}
        found: dict[Side, ManoParameters] = {}
        for side in SIDES:
            hand = table.get(side)
            if hand is None:
                continue
            if not hand.get("mano_pose"):
                self.dropped["hand_without_mano"] += 1
                continue
            thetas = numbers(entry(hand["mano_pose"], "thetas", self._path), (NUM_COMPONENTS,), f"{name} thetas")
            wrist = numbers(entry(hand["mano_pose"], "wrist_xform", self._path), (6,), f"{name} wrist_xform")
            angles = thetas @ self._mano.model(side).pose_components[:NUM_COMPONENTS]
            found[side] = ManoParameters(wrist[:3], angles, self._betas, wrist[3:])
        return found

    def _picture(self, key: str) -> Image:
        name = f"{key}.image_{self._stream}.jpg"
        return decoded_picture(self._tar.read(name), f"{self._path}: {name}")


def lens_of(calibration: Any, path: Path) -> Fisheye624:
    """The lens of a `calibration` table; ValueError for another model than FISHEYE624."""
    read = partial(entry, calibration, path=path)
    if read("projection_model_type") not in MODEL_NAMES:
        raise ValueError(f"{path}: camera model must be one of {', '.join(MODEL_NAMES)}, got {calibration['projection_model_type']!r}")
    parameters = [float(number) for number in read("projection_params")]
    if len(parameters) == NUM_PARAMETERS_ONE_FOCAL:
        parameters.insert(0, parameters[0])
    fx, fy, cx, cy = parameters[:4]
    return Fisheye624(int(read("image_width")), int(read("image_height")), (fx, fy, cx, cy), tuple(parameters[4:]))


def pose_of(table: Any, path: Path) -> Transform:
    """T_a_b of a table with `quaternion_wxyz` and `translation_xyz` [m]."""
    w, x, y, z = numbers(entry(table, "quaternion_wxyz", path), (4,), "quaternion_wxyz")
    translation = numbers(entry(table, "translation_xyz", path), (3,), "translation_xyz")
    return geometry.check_transform(geometry.transform(geometry.rotation_from_quaternion(np.array([x, y, z, w])), translation), "T_world_from_camera")


def upright(camera: Camera, picture: Image) -> tuple[Camera, Image]:
    """Camera and picture turned clockwise by a quarter."""
    turned = replace(
        camera,
        width_px=camera.height_px,
        height_px=camera.width_px,
        fx=camera.fy,
        fy=camera.fx,
        cx=camera.height_px - camera.cy,
        cy=camera.cx,
    )
    return turned, np.ascontiguousarray(np.rot90(picture, k=3))


DATASET = Dataset(LICENCE, LAYOUT, sequences, Hot3dClip)

"""EgoDex (Hoque et al., 2025): hours of table-top work seen by Vision Pro at 30 Hz, hands as ARKit's skeleton.

`<task>/<n>.hdf5` beside `<task>/<n>.mp4`. The HDF5 file holds `camera/intrinsic` (3x3), `transforms/<joint>` (N, 4, 4), all of
them to ARKit's world (y up), `transforms/camera` with the optical axes of a camera, and for most files `confidences/<joint>`.
Joints have no MANO: they are fitted. Layout: the README of the authors' release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros import geometry
from h2w_ros.condition import Camera, Condition, Side
from h2w_ros.episodes.recording import REAL
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.axes import AXES
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order
from h2w_ros.imports.dataset import Dataset, ImportOptions, counted_stamps_ns, frames_at, numbers
from h2w_ros.imports.files import picked_pictures
from h2w_ros.imports.fitting import SeenHand, fit_sequence
from h2w_ros.imports.mano import SIDES
from h2w_ros.video import video_info

RATE_HZ = 30.0
# Joints in the order of the convention `wrist25`: ARKit calls a joint after what it is, OpenXR after the bone that begins there.
THUMB = ("ThumbKnuckle", "ThumbIntermediateBase", "ThumbIntermediateTip", "ThumbTip")
FINGER = ("Metacarpal", "Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
JOINTS = ("Hand", *THUMB, *(f"{finger}Finger{joint}" for finger in ("Index", "Middle", "Ring", "Little") for joint in FINGER))
# ARKit's world has y up like OpenXR's; ours has z up.
T_WORLD_ARKIT = geometry.transform(AXES["openxr"], np.zeros(3))
# A joint of which the tracker is less sure than this is missing.
LEAST_CONFIDENCE = 0.05
LICENCE = "EgoDex licence (github.com/apple/ml-egodex): CC BY-NC-ND 4.0, non-commercial, no derivatives may be passed on"
LAYOUT = "a folder with <task>/<n>.hdf5 and <task>/<n>.mp4; needs h5py (extra [datasets])"


def sequences(source: Path) -> list[str]:
    """Names such as fold_towel/12."""
    return [str(file.relative_to(source).with_suffix("")) for file in sorted(source.rglob("*.hdf5"))]


class EgoDexSequence:
    """One take."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self._file, self._video = source / f"{name}.hdf5", source / f"{name}.mp4"
        self._options = options
        self._arrays, text = read_arrays(self._file)
        self.description: Mapping[str, Any] = {"dataset": "egodex", "sequence": name, "licence": LICENCE, "text": text}
        self._T_arkit_camera = numbers(self._array("transforms/camera"), (None, 4, 4), f"{self._file} transforms/camera")
        info = video_info(self._video)
        self._camera = camera_of(numbers(self._array("camera/intrinsic"), (3, 3), f"{self._file} camera/intrinsic"), info.width_px, info.height_px)
        num_frames = min(info.num_frames, len(self._T_arkit_camera))
        if num_frames < max(info.num_frames, len(self._T_arkit_camera)):
            self.dropped["frame_without_partner"] = max(info.num_frames, len(self._T_arkit_camera)) - num_frames
        self._stamps_ns = counted_stamps_ns(num_frames, RATE_HZ)
        picked = frames_at(self._stamps_ns, options.rate_hz)
        self.rate_hz, self._frames = picked.rate_hz, picked.frames

    def conditions(self) -> Iterator[Condition]:
        """The picked frames whose camera is known."""
        seen = [hand for side in SIDES for hand in self._seen(side)]
        hands = fit_sequence(seen, self._options.mano, self.dropped)
        for frame, picture in zip(self._frames, picked_pictures(self._video, self._frames), strict=True):
            try:
                T_world_camera = geometry.check_transform(T_WORLD_ARKIT @ self._T_arkit_camera[frame], "transforms/camera")
            except ValueError:
                self.dropped["camera_invalid"] += 1
                continue
            yield Condition(self._stamps_ns[frame], self._camera, T_world_camera, hands.get(frame, ()), image=picture)

    def _seen(self, side: Side) -> Iterator[SeenHand]:
        """The skeletons of one side at the picked frames; ValueError that names the joints that the file lacks."""
        lacking = [joint for joint in JOINTS if f"transforms/{side}{joint}" not in self._arrays]
        if lacking:
            raise ValueError(
                f"{self._file} must hold transforms of all {len(JOINTS)} joints of a hand, it lacks those of {side}: {', '.join(lacking)}"
            )
        places = np.stack(
            [numbers(self._array(f"transforms/{side}{joint}"), (None, 4, 4), f"{self._file} {side}{joint}")[:, :3, 3] for joint in JOINTS], axis=1
        )
        sure = np.stack([self._confidence(f"{side}{joint}", len(places)) for joint in JOINTS], axis=1)
        for frame in self._frames:
            if frame >= len(places) or not sure[frame, 0] > LEAST_CONFIDENCE:
                self.dropped["hand_not_tracked"] += 1
                continue
            points = geometry.apply(T_WORLD_ARKIT, places[frame] * self._options.metres_per_unit)
            yield SeenHand(frame, self._stamps_ns[frame], skeleton_of(side, points, sure[frame]))

    def _confidence(self, joint: str, num_frames: int) -> np.ndarray:
        """One number a frame; all sure where the file, as some do, has none."""
        if f"confidences/{joint}" not in self._arrays:
            return np.ones(num_frames)
        return np.clip(np.nan_to_num(numbers(self._arrays[f"confidences/{joint}"], (num_frames,), f"{self._file} confidences/{joint}")), 0.0, 1.0)

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise ValueError(f"{self._file} must hold {name!r}, it holds {len(self._arrays)} other arrays")
        return self._arrays[name]


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], str]:
    """Every array of an HDF5 file by its path, and the text that describes the take."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("EgoDex is kept in HDF5 files: pip install 'h2w_ros[datasets]' brings h5py") from error
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(file, "r") as opened:
            opened.visititems(lambda name, item: arrays.update({name: np.asarray(item[()])}) if isinstance(item, h5py.Dataset) else None)
            text = opened.attrs.get("llm_description", "")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py has no type of its own for damage
        raise ValueError(f"{file} is no readable HDF5 file: {error}") from error
    return arrays, text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def camera_of(K: np.ndarray, width_px: int, height_px: int) -> Camera:
    """The pinhole of a video. EgoDex's principal point is half the size to the last digit, so it counts from the corner."""
    if not (abs(K[0, 2] / width_px - 0.5) < 0.1 and abs(K[1, 2] / height_px - 0.5) < 0.1):
        raise ValueError(f"intrinsics with centre ({K[0, 2]:.0f}, {K[1, 2]:.0f}) are not those of a video of {width_px}x{height_px}: was it resized?")
    return Camera(width_px, height_px, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))


def skeleton_of(side: Side, points_world: np.ndarray, sure: Sequence[float] | np.ndarray) -> HandSkeleton:
    """The 25 joints as our 21 points, each as sure as the tracker is."""
    row = CONVENTIONS["wrist25"]
    ours = in_our_order(row, np.where(np.asarray(sure)[:, None] > LEAST_CONFIDENCE, points_world, np.nan))
    weights = np.nan_to_num(in_our_order(row, np.asarray(sure)))
    return HandSkeleton(side, ours, weights)


DATASET = Dataset(LICENCE, LAYOUT, sequences, EgoDexSequence)

"""Video of a camera that stands still, such as TASTE-Rob's (Zhao et al., CVPR 2025): pictures and a camera; hands come later.

`SingleHand/<scene>/*.mp4` and `DoubleHand/<scene>/*.mp4`, as the archives unpack, or any folder of .mp4 files. The data says
nothing about lenses or hands: the lens is the user's word, the world is the camera's own frame, and `h2w annotate` finds hands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros.condition import Camera, Condition
from h2w_ros.episodes.recording import REAL
from h2w_ros.imports.dataset import Dataset, ImportOptions, counted_stamps_ns, frames_at
from h2w_ros.imports.files import picked_pictures
from h2w_ros.video import video_info

LICENCE = "TASTE-Rob Terms of Use (taste-rob.github.io), by request; for videos of your own: yours"
LAYOUT = "a folder of .mp4 files, and --intrinsics; gives episodes without hands, to be annotated"


def sequences(source: Path) -> list[str]:
    """Names such as SingleHand/Kitchen/102."""
    return [str(file.relative_to(source).with_suffix("")) for file in sorted(source.rglob("*.mp4"))]


class FixedVideo:
    """One video."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        if options.intrinsics_px is None:
            raise ValueError("videos say nothing about their lens: give it with --intrinsics 'FX FY CX CY' [px]")
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "fixed-video", "sequence": name, "licence": LICENCE, "world": "the camera's own frame"}
        self._video = source / f"{name}.mp4"
        info = video_info(self._video)
        self._camera = Camera(info.width_px, info.height_px, *options.intrinsics_px)
        self._stamps_ns = counted_stamps_ns(info.num_frames, info.rate_hz)
        picked = frames_at(self._stamps_ns, options.rate_hz)
        self.rate_hz, self._frames = picked.rate_hz, picked.frames

    def conditions(self) -> Iterator[Condition]:
        """The picked frames."""
        for frame, picture in zip(self._frames, picked_pictures(self._video, self._frames), strict=True):
            yield Condition(self._stamps_ns[frame], self._camera, np.eye(4), image=picture)


DATASET = Dataset(LICENCE, LAYOUT, sequences, FixedVideo, has_hands=False)

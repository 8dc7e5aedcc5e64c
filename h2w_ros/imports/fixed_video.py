"""Video of a camera that stands still, such as TASTE-Rob's (Zhao et al., CVPR 2025): pictures and a camera; hands come later.

TASTE-Rob comes as `SingleHand/<scene>.zip` and `DoubleHand/<scene>.zip`, which are to be unpacked, and `captions.xlsx` (id, scene, caption),
which is not read; any other folder of .mp4 files will do as well. The data says nothing about lenses or hands: the lens is the
user's word, for the upright picture; the world is the camera's own frame; hands are found by `h2w annotate --camera fixed`, from the
same videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros.condition import Camera, Condition
from h2w_ros.episodes.recording import REAL
from h2w_ros.imports.dataset import Dataset, ImportOptions, frames_at
from h2w_ros.imports.files import picked_pictures
from h2w_ros.video import video_timing

LICENCE = "TASTE-Rob Terms of Use (taste-rob.github.io), by request; for videos of your own: yours"
LAYOUT = "a folder of .mp4 files (TASTE-Rob's zips unpacked), and --intrinsics; no hands: `h2w annotate --camera fixed` finds them in the videos"


def sequences(source: Path) -> list[str]:
    """Names such as SingleHand/Kitchen/102."""
    return [str(file.relative_to(source).with_suffix("")) for file in sorted(source.rglob("*.mp4"))]


class FixedVideo:
    """One video."""

    domain = REAL

    def __init__(self, source: Path, name: str, options: ImportOptions) -> None:
        if options.intrinsics_px is None:
            raise ValueError("videos say nothing about their lens: give it with --intrinsics FX,FY,CX,CY [px]")
        self.dropped: Counter[str] = Counter()
        self.description: Mapping[str, Any] = {"dataset": "fixed-video", "sequence": name, "licence": LICENCE, "world": "the camera's own frame"}
        self._video = source / f"{name}.mp4"
        timing = video_timing(self._video)
        self._quarter_turns = round(timing.rotation_deg / 90.0) % 4
        size_px = (timing.height_px, timing.width_px) if self._quarter_turns % 2 else (timing.width_px, timing.height_px)
        self._camera = Camera(*size_px, *options.intrinsics_px)
        self._stamps_ns = [stamp_ns - timing.stamps_ns[0] for stamp_ns in timing.stamps_ns]
        picked = frames_at(self._stamps_ns, options.rate_hz)
        self.rate_hz, self._frames = picked.rate_hz, picked.frames

    def conditions(self) -> Iterator[Condition]:
        """The picked frames."""
        for frame, picture in zip(self._frames, picked_pictures(self._video, self._frames), strict=True):
            upright = np.ascontiguousarray(np.rot90(picture, self._quarter_turns))
            yield Condition(self._stamps_ns[frame], self._camera, np.eye(4), image=upright)


DATASET = Dataset(LICENCE, LAYOUT, sequences, FixedVideo, has_hands=False)

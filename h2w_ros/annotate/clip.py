"""A video as annotation sees it: upright pictures at the generator's clock, with the stamps that they really have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2w_ros.camera import Resize
from h2w_ros.condition import Image
from h2w_ros.imports.dataset import GENERATOR_RATE_HZ, frames_at
from h2w_ros.video import iterate_video, video_timing

# A video that is shorter says nothing that could be fitted over time.
LEAST_FRAMES = 8


@dataclass(frozen=True)
class ClipConfig:
    """Frames a second that are kept (a slower video keeps its own), and the longest side of the pictures [px]; None leaves them as they are."""

    rate_hz: float = GENERATOR_RATE_HZ
    longest_side_px: int | None = 960

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_hz <= 1000.0:
            raise ValueError(f"rate_hz must be in (0, 1000] frames a second, got {self.rate_hz}")
        if self.longest_side_px is not None and self.longest_side_px < 64:
            raise ValueError(f"longest_side_px must be at least 64, got {self.longest_side_px}")


@dataclass(frozen=True)
class Clip:
    """The frames of a video that are used, of all `num_source_frames`. `stamps_ns` begin at 0; sizes are those of the upright, resized picture.

    `source_scale`: pixels of a picture per pixel of the upright video. `metadata` is what the file says about itself.
    """

    path: Path
    frames: tuple[int, ...]
    num_source_frames: int
    stamps_ns: tuple[int, ...]
    rate_hz: float
    width_px: int
    height_px: int
    source_scale: float
    quarter_turns: int
    metadata: Mapping[str, str]
    dropped: Mapping[str, int]

    @property
    def num_frames(self) -> int:
        """How many frames are used."""
        return len(self.frames)

    def pictures(self) -> Iterator[Image]:
        """The pictures, upright and resized, in order; ValueError when the file does not hold what it announced."""
        wanted, resize = iter(self.frames), Resize(self.width_px, self.height_px)
        following = next(wanted, None)
        for index, picture in enumerate(iterate_video(self.path, 0, self.frames[-1] + 1)):
            if index == following:
                yield resize.picture(np.rot90(picture, self.quarter_turns))
                following = next(wanted, None)


def open_clip(path: Path, config: ClipConfig | None = None) -> Clip:
    """The clip of a video file. FileNotFoundError, or ValueError when it is no whole video, or too short to annotate."""
    config = config or ClipConfig()
    timing = video_timing(path)
    picked = frames_at(timing.stamps_ns, config.rate_hz)
    if len(picked.frames) < LEAST_FRAMES:
        raise ValueError(f"{path} is too short to annotate: {len(picked.frames)} frames at {picked.rate_hz:g} Hz, at least {LEAST_FRAMES} needed")
    quarter_turns = round(timing.rotation_deg / 90.0) % 4
    width, height = (timing.height_px, timing.width_px) if quarter_turns % 2 else (timing.width_px, timing.height_px)
    scale = 1.0 if config.longest_side_px is None else min(1.0, config.longest_side_px / max(width, height))
    first_ns = timing.stamps_ns[picked.frames[0]]
    num_ticks = round((timing.stamps_ns[-1] - first_ns) * 1e-9 * picked.rate_hz) + 1
    return Clip(
        path=path,
        frames=tuple(picked.frames),
        num_source_frames=len(timing.stamps_ns),
        stamps_ns=tuple(timing.stamps_ns[frame] - first_ns for frame in picked.frames),
        rate_hz=picked.rate_hz,
        width_px=max(round(width * scale), 1),
        height_px=max(round(height * scale), 1),
        source_scale=scale,
        quarter_turns=quarter_turns,
        metadata=timing.metadata,
        dropped={"moments without a frame": missing} if (missing := max(num_ticks - len(picked.frames), 0)) else {},
    )


def fingerprint(path: Path) -> str:
    """What tells a video from another of the same name: its size and its first and last megabyte."""
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(1 << 20))
        stream.seek(max(size - (1 << 20), 0))
        digest.update(stream.read())
    return f"{size}-{digest.hexdigest()[:16]}"

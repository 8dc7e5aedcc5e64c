"""Writes episodes: frame by frame, and under their name only when they are whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Condition
from h2w_ros.episodes.layout import (
    FRAMES,
    FRAMES_SCHEMA,
    MANIFEST,
    MASKS,
    PICTURES,
    ROWS_PER_GROUP,
    STATIC_KNOWN,
    Manifest,
    partial_path,
    row_of,
    video_name,
)
from h2w_ros.episodes.recording import UNKNOWN
from h2w_ros.video import VideoWriter

Mask = Bool[ndarray, "H W"]


class EpisodeWriter:
    """Takes conditions one by one and leaves an episode folder.

    Everything grows in a hidden folder beside `path`; `close` renames it. As a context manager it keeps what was
    written when the body ends or is interrupted by Ctrl-C, and leaves nothing when the body fails. `description` is any
    JSON: where the episode comes from. The first condition decides the size, which pictures there are to be named,
    and the names of the masks.
    """

    def __init__(self, path: Path | str, rate_hz: float, domain: str = UNKNOWN, description: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.rate_hz = rate_hz
        self.domain = domain
        self.description = json.loads(json.dumps(description or {}))
        self.num_frames = 0
        self.dropped: dict[str, int] = {}
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists already; remove it or choose another name")
        self._folder = partial_path(self.path)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._rows: list[dict[str, Any]] = []
        self._masks: dict[str, list[bytes]] = {}
        self._size_px: tuple[int, int] | None = None
        self._stamp_ns: int | None = None
        self._videos: dict[str, VideoWriter] = {}
        self._frames_file = pq.ParquetWriter(self._folder / FRAMES, FRAMES_SCHEMA, compression="zstd")
        self._masks_file: pq.ParquetWriter | None = None

    def write(self, condition: Condition, masks: Mapping[str, Mask] | None = None) -> None:
        """Appends one moment. `masks`: boolean pictures (H, W) of the camera's size, the same names every time.

        Where the static render is known becomes a mask of its own, `static_known`, when the first condition tells it.
        """
        masks = self._with_known(condition, dict(masks or {}))
        self._check(condition, masks)
        places = {name: self._write_picture(name, condition) for name in PICTURES}
        self._rows.append(row_of(condition, places))
        for name, mask in masks.items():
            self._masks.setdefault(name, []).append(np.packbits(mask).tobytes())
        self.num_frames += 1
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _with_known(self, condition: Condition, masks: dict[str, Mask]) -> dict[str, Mask]:
        if condition.static_known is not None:
            masks[STATIC_KNOWN] = condition.static_known
        elif STATIC_KNOWN in self._masks:
            has_render = condition.static_render is not None  # known everywhere, or nowhere
            masks[STATIC_KNOWN] = np.full((condition.camera.height_px, condition.camera.width_px), has_render)
        return masks

    def _check(self, condition: Condition, masks: Mapping[str, Mask]) -> None:
        size_px = (condition.camera.width_px, condition.camera.height_px)
        self._size_px = self._size_px or size_px
        if size_px != self._size_px:
            raise ValueError(f"all moments of an episode have one picture size, the first is {self._size_px}, frame {self.num_frames} is {size_px}")
        if self._stamp_ns is not None and condition.stamp_ns <= self._stamp_ns:
            raise ValueError(f"stamps of an episode must grow, frame {self.num_frames} is at {condition.stamp_ns} ns after {self._stamp_ns} ns")
        self._stamp_ns = condition.stamp_ns
        if self.num_frames and set(masks) != set(self._masks):
            raise ValueError(f"every frame needs the same masks, the first has {sorted(self._masks)}, frame {self.num_frames} has {sorted(masks)}")
        for name, mask in masks.items():
            if mask.shape != size_px[::-1] or mask.dtype != np.bool_:
                raise ValueError(f"mask {name!r} must be bool {size_px[::-1]} like its camera, got {mask.dtype} {mask.shape}")

    def _write_picture(self, name: str, condition: Condition) -> int | None:
        """Appends the picture to its video; its place there, None when the condition has none."""
        picture = getattr(condition, name)
        if picture is None:
            return None
        if name not in self._videos:
            self._videos[name] = VideoWriter(self._folder / video_name(name), self.rate_hz, PICTURES[name])
        self._videos[name].write(picture)
        return self._videos[name].num_frames - 1

    def _flush(self) -> None:
        if not self._rows:
            return
        self._frames_file.write_table(pa.Table.from_pylist(self._rows, FRAMES_SCHEMA))
        self._rows.clear()
        if self._masks:
            table = pa.table({name: pa.array(masks, pa.binary()) for name, masks in self._masks.items()})
            self._masks_file = self._masks_file or pq.ParquetWriter(self._folder / MASKS, table.schema, compression="zstd")
            self._masks_file.write_table(table)
            self._masks = {name: [] for name in self._masks}

    def close(self) -> None:
        """Finishes all files, writes the manifest last, and gives the folder its name."""
        if self._size_px is None:
            self.discard()
            raise ValueError(f"{self.path} was given no conditions; an episode without frames is not written")
        self._flush()
        self._close_files()
        self._write_manifest(*self._size_px)
        self._folder.rename(self.path)

    def _write_manifest(self, width_px: int, height_px: int) -> None:
        manifest = Manifest(
            num_frames=self.num_frames,
            rate_hz=self.rate_hz,
            width_px=width_px,
            height_px=height_px,
            domain=self.domain,
            pictures=tuple(self._videos),
            masks=tuple(self._masks),
            dropped=dict(self.dropped),
            description=self.description,
        )
        (self._folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")

    def _close_files(self) -> None:
        for video in self._videos.values():
            video.close()
        self._frames_file.close()
        if self._masks_file is not None:
            self._masks_file.close()

    def discard(self) -> None:
        """Drops everything written so far."""
        for video in self._videos.values():
            video.discard()
        self._frames_file.close()
        if self._masks_file is not None:
            self._masks_file.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or (issubclass(kind, KeyboardInterrupt) and self.num_frames):
            self.close()
        else:
            self.discard()


def write_episode(
    path: Path | str,
    conditions: Iterable[Condition],
    rate_hz: float,
    masks: Mapping[str, Bool[ndarray, "T H W"]] | None = None,
    description: Mapping[str, Any] | None = None,
    domain: str = UNKNOWN,
) -> int:
    """Writes a whole episode; returns its number of frames. Each of `masks` holds one boolean picture a condition."""
    with EpisodeWriter(path, rate_hz, domain, description) as writer:
        for index, condition in enumerate(conditions):
            writer.write(condition, {name: mask[index] for name, mask in (masks or {}).items()})
    return writer.num_frames

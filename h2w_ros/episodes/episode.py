"""Reads episodes by frame range."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.condition import Condition, Image
from h2w_ros.episodes.layout import (
    FORMAT,
    FRAMES,
    MANIFEST,
    MASKS,
    SCENE,
    STATIC_KNOWN,
    VERSION,
    IncompleteEpisodeError,
    Manifest,
    condition_of,
    video_name,
)
from h2w_ros.episodes.recording import Recording, check_range
from h2w_ros.video import iterate_video


class Episode(Recording):
    """An episode folder, opened for reading. Pictures and poses are read when asked for."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.rate_hz = self.manifest.rate_hz
        self.domain = self.manifest.domain
        self.dropped = self.manifest.dropped
        self.description = self.manifest.description
        num_rows = _parquet(self.path / FRAMES).metadata.num_rows
        if num_rows != self.num_frames:
            raise ValueError(f"{self.path} is damaged: {MANIFEST} announces {self.num_frames} frames, {FRAMES} holds {num_rows}")

    @property
    def num_frames(self) -> int:
        """How many moments the episode holds."""
        return self.manifest.num_frames

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1 with the pictures that were recorded with them."""
        start, stop = check_range(start, stop, self.num_frames, self.path)
        videos = {name: self._pictures(name, start, stop) for name in self.manifest.pictures}
        known = self.masks(STATIC_KNOWN, start, stop) if STATIC_KNOWN in self.manifest.masks and start < stop else None
        for index, row in enumerate(_rows(self.path / FRAMES, start, stop)):
            with _naming(self.path):
                pictures = {name: _next_of(video, name) for name, video in videos.items() if row[name] is not None}
                condition = condition_of(row, self.manifest.width_px, self.manifest.height_px, pictures)
            yield condition if known is None or condition.static_render is None else replace(condition, static_known=known[index])

    @property
    def scene_path(self) -> Path | None:
        """The file of the episode's static scene, where it has one; `h2w_ros.scene.files` reads it."""
        return self.path / SCENE if (self.path / SCENE).is_file() else None

    def masks(self, name: str, start: int = 0, stop: int | None = None) -> Bool[ndarray, "T H W"]:
        """One kind of mask, frames start .. stop - 1."""
        start, stop = check_range(start, stop, self.num_frames, self.path)
        if name not in self.manifest.masks:
            raise ValueError(f"{self.path} has no mask {name!r}; it has {sorted(self.manifest.masks)}")
        packed = [row[name] for row in _rows(self.path / MASKS, start, stop, [name])]
        height_px, width_px = self.manifest.height_px, self.manifest.width_px
        bits = np.unpackbits(np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), -1), axis=1, count=height_px * width_px)
        return bits.reshape(-1, height_px, width_px).astype(np.bool_)

    def moments(self) -> Iterator[Condition]:
        """All conditions, numbers only: no video is decoded."""
        for row in _rows(self.path / FRAMES, 0, self.num_frames):
            with _naming(self.path):
                condition = condition_of(row, self.manifest.width_px, self.manifest.height_px, {})
            yield condition

    def picture_places(self, name: str, start: int = 0, stop: int | None = None) -> list[int]:
        """Where in their video the pictures of one kind lie that belong to these frames; frames without one are left out."""
        with _naming(self.path):
            rows = _rows(self.path / FRAMES, start, self.num_frames if stop is None else stop, [name])
            return [row[name] for row in rows if row[name] is not None]

    def _pictures(self, name: str, start: int, stop: int) -> Iterator[Image]:
        """Pictures of one kind that belong to these frames; they lie in their video one after the other."""
        places = self.picture_places(name, start, stop)
        return iterate_video(self.path / video_name(name), places[0], places[-1] + 1) if places else iter(())


def read_manifest(path: Path) -> Manifest:
    """What `episode.json` says. IncompleteEpisodeError when the episode was never finished, ValueError when it is of another format."""
    if not (path / MANIFEST).is_file():
        raise IncompleteEpisodeError(f"{path} is half-written: {MANIFEST}, which is written last, is missing. Record it again")
    try:
        fields = json.loads((path / MANIFEST).read_text())
    except ValueError as error:
        raise ValueError(f"{path / MANIFEST} is damaged: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path / MANIFEST} is damaged: it must hold a table, got {fields!r}")
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        found = f"{fields.get('format')!r} version {fields.get('version')!r}"
        raise ValueError(f"{path} must be of format {FORMAT!r} version {VERSION}, got {found}; a newer h2w_ros may read it")
    try:
        return Manifest(**{**fields, "pictures": tuple(fields["pictures"]), "masks": tuple(fields["masks"])})
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path / MANIFEST} is damaged: {error}") from error


def _next_of(video: Iterator[Image], name: str) -> Image:
    """The next picture; ValueError where the video ends before the table of frames does."""
    picture = next(video, None)
    if picture is None:
        raise ValueError(f"{video_name(name)} ends before {FRAMES} does")
    return picture


def _rows(path: Path, start: int, stop: int, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows start .. stop - 1, one row group at a time; other groups are not read."""
    with _parquet(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high:
                yield from _decoded(path, file, group, columns)[low:high]
            first += count


def _parquet(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise FileNotFoundError(f"The episode lacks {path}")
    with _naming(path):
        return pq.ParquetFile(path)


def _decoded(path: Path, file: pq.ParquetFile, group: int, columns: list[str] | None) -> list[dict[str, Any]]:
    with _naming(path):
        rows: list[dict[str, Any]] = file.read_row_group(group, columns=columns).to_pylist()
        return rows


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns the many ways in which damaged files fail into one that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is not readable: {error}") from error

"""Reads episodes of LeRobotDatasets v3.0 that carry hands and cameras in our columns; `lerobot_layout` tells which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from h2w_ros.condition import Condition, Image
from h2w_ros.episodes import lerobot_layout as layout
from h2w_ros.episodes.layout import PICTURES
from h2w_ros.episodes.recording import UNKNOWN, Recording, check_range
from h2w_ros.video import iterate_video


class LeRobotEpisode(Recording):
    """One episode of a dataset."""

    def __init__(self, root: Path, index: int) -> None:
        self.path = named(root, index)
        self._root, self._info = root, read_info(root)
        rows = read_episodes(root)
        if not 0 <= index < len(rows):
            raise ValueError(f"{root} holds episodes 0..{len(rows) - 1}, not {index}")
        self._row, ours = rows[index], _our_manifest(rows[index])
        self.rate_hz = float(self._info["fps"])
        self.domain = str(ours.get("domain", UNKNOWN))
        self.dropped, self.description = dict(ours.get("dropped", {})), dict(ours.get("description", {}))
        self._kinds = [name for name in PICTURES if layout.video_key(name) in self._info["features"]]
        if not self._kinds:
            raise ValueError(
                f"{root} must have pictures of one of {', '.join(map(layout.video_key, PICTURES))}, it has {sorted(self._info['features'])}"
            )

    @property
    def num_frames(self) -> int:
        """How many moments the episode holds."""
        return int(self._row["length"])

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1 with their pictures."""
        start, stop = check_range(start, stop, self.num_frames, self.path)
        if start == stop:
            return
        height_px, width_px, _ = self._info["features"][layout.video_key(self._kinds[0])]["shape"]
        videos = {name: self._pictures(name, start, stop) for name in self._kinds}
        for row in self._rows(start, stop):
            with _naming(self.path):
                pictures = {name: next(video) for name, video in videos.items()}
                condition = layout.condition_of(row, width_px, height_px, pictures)
            yield condition

    def _pictures(self, name: str, start: int, stop: int) -> Iterator[Image]:
        """Frames of the episode's part of a video, which it may share with others."""
        key = layout.video_key(name)
        first = round(self._row[f"videos/{key}/from_timestamp"] * self.rate_hz)
        place = {part: self._row[f"videos/{key}/{part}"] for part in ("chunk_index", "file_index")}
        return iterate_video(self._root / self._info["video_path"].format(video_key=key, **place), first + start, first + stop)

    def _rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        place = {part: self._row[f"data/{part}"] for part in ("chunk_index", "file_index")}
        path = self._root / self._info["data_path"].format(**place)
        with _naming(path):
            table = pq.read_table(path, columns=list(layout.OURS), filters=[("episode_index", "=", self._row["episode_index"])])
            rows: list[dict[str, Any]] = table.slice(start, stop - start).to_pylist()
        if len(rows) != stop - start:
            raise ValueError(f"{path} is damaged: it lacks frames of episode {self._row['episode_index']}")
        return rows


def looks_like_lerobot(path: Path) -> bool:
    """Whether this names a dataset, or one of its episodes as DATASET:3."""
    return (split_name(path)[0] / layout.INFO).is_file()


def open_lerobot(path: Path) -> LeRobotEpisode:
    """The episode that DATASET:3 names; a dataset's only one may go without number."""
    root, index = split_name(path)
    count = len(read_episodes(root))
    if index is None and count != 1:
        raise ValueError(f"{root} holds {count} episodes; name one of them, for example {named(root, 0)}")
    return LeRobotEpisode(root, index or 0)


def named(root: Path, index: int) -> Path:
    """How an episode of a dataset is called on the command line."""
    return root.with_name(f"{root.name}:{index}")


def split_name(path: Path) -> tuple[Path, int | None]:
    """The dataset's folder and the episode's number, None when none is said."""
    match = re.fullmatch(r"(.+):(\d+)", path.name)
    return (path, None) if match is None or path.exists() else (path.with_name(match[1]), int(match[2]))


def read_info(root: Path) -> Mapping[str, Any]:
    """`meta/info.json`; ValueError for other versions, and for datasets without our columns."""
    with _naming(root / layout.INFO):
        info = json.loads((root / layout.INFO).read_text())
        version, found = str(info["codebase_version"]), set(info["features"])
    if not version.startswith("v3."):
        raise ValueError(f"{root} must be a LeRobotDataset of version 3, it is {version}: convert it with LeRobot's own script")
    missing = sorted(set(layout.OURS) - found)
    if missing:
        raise ValueError(f"{root} does not say where camera and hands are: it lacks {', '.join(missing)}; it has {', '.join(sorted(found))}")
    return info


def read_episodes(root: Path) -> list[dict[str, Any]]:
    """The table of episodes, statistics left out, in their order."""
    files = sorted((root / layout.EPISODES).glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{root} is damaged: {layout.EPISODES} is missing")
    rows = list[dict[str, Any]]()
    for file in files:
        with _naming(file):
            columns = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            rows += pq.read_table(file, columns=columns).to_pylist()
    return sorted(rows, key=lambda row: row["episode_index"])


def _our_manifest(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the episode's writer said about it; nothing for datasets that went through other hands."""
    try:
        said = json.loads(row.get(layout.OUR_COLUMN) or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns the many ways in which damaged files fail into one that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        raise ValueError(f"{path} is not readable: {error}") from error

"""Episodes as a LeRobotDataset v3.0. Their videos are shared with it (hard links) where the file system can."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from h2w_ros.condition import Condition
from h2w_ros.episodes import lerobot_layout as layout
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.layout import video_name
from h2w_ros.episodes.lerobot_stats import Stats, evenly_spread, number_stats, picked, picture_stats, pooled
from h2w_ros.video import iterate_video

PARTS = ("data", "videos", "meta")
"""In the order in which a finished dataset is put in place: nothing reads one without `meta`."""


def write_lerobot(root: Path, episodes: Sequence[Episode]) -> None:
    """Makes `root` the dataset of these episodes; one that is there already is replaced, other files in `root` stay.

    ValueError when episodes do not go together: a dataset has one rate, one picture size and the same kinds of pictures throughout.
    """
    kinds = _common_kinds(episodes)
    grown = root / ".lerobot.partial"
    shutil.rmtree(grown, ignore_errors=True)
    (grown / "meta").mkdir(parents=True)
    tasks = sorted({_task(episode) for episode in episodes})
    rows, first = list[dict[str, Any]](), 0
    for index, episode in enumerate(episodes):
        rows.append(_write_episode(grown, episode, index, first, tasks, kinds))
        first += episode.num_frames
    _write_meta(grown, episodes[0], rows, tasks, kinds)
    _put_in_place(grown, root)


def _common_kinds(episodes: Sequence[Episode]) -> tuple[str, ...]:
    """The kinds of pictures that every frame of every episode has."""
    if not episodes:
        raise ValueError("a dataset needs at least one episode")
    shapes = {(e.rate_hz, e.manifest.width_px, e.manifest.height_px) for e in episodes}
    if len(shapes) > 1:
        listed = ", ".join(f"{rate_hz:g} Hz {width_px}x{height_px}" for rate_hz, width_px, height_px in sorted(shapes))
        raise ValueError(f"all episodes of a LeRobotDataset have one rate and one picture size, these have {listed}")
    kinds = tuple(name for name in episodes[0].manifest.pictures if all(_is_complete(episode, name) for episode in episodes))
    if not kinds:
        raise ValueError(f"{episodes[0].path}: a LeRobotDataset needs a picture of every moment, and these episodes have none of one kind throughout")
    return kinds


def _is_complete(episode: Episode, picture: str) -> bool:
    return picture in episode.manifest.pictures and episode.picture_places(picture) == list(range(episode.num_frames))


def _task(episode: Episode) -> str:
    """What is done in the episode, in words, where its maker said so."""
    return str(episode.description.get("task") or layout.NO_TASK)


def _write_episode(root: Path, episode: Episode, index: int, first: int, tasks: list[str], kinds: tuple[str, ...]) -> dict[str, Any]:
    """Writes an episode's table and videos; its row in the table of episodes."""
    place, count = layout.file_place(index), episode.num_frames
    conditions = list(episode.moments())
    table = _table(conditions, index, first, tasks.index(_task(episode)), episode.rate_hz)
    data = root / layout.DATA_PATH.format(**place)
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, data, compression="zstd")
    stats: dict[str, Stats] = {name: number_stats(_matrix(table[name])) for name in table.column_names}
    row: dict[str, Any] = {"episode_index": index, "tasks": [_task(episode)], "length": count}
    row |= {
        "dataset_from_index": first,
        "dataset_to_index": first + count,
        **_prefixed("data", place),
        **_prefixed("meta/episodes", dict.fromkeys(place, 0)),
    }
    for name in kinds:
        key, video = layout.video_key(name), episode.path / video_name(name)
        _link(video, root / layout.VIDEO_PATH.format(video_key=key, **place))
        row |= _prefixed(f"videos/{key}", {**place, "from_timestamp": 0.0, "to_timestamp": count / episode.rate_hz})
        stats[key] = picture_stats(picked(iterate_video(video), evenly_spread(count)))
    row[layout.OUR_COLUMN] = json.dumps(asdict(episode.manifest))
    return row | {f"stats/{feature}/{name}": value for feature, of_feature in stats.items() for name, value in of_feature.items()}


def _table(conditions: Sequence[Condition], index: int, first: int, task: int, rate_hz: float) -> pa.Table:
    """An episode's frames. The last one's action is its own state: nothing follows."""
    states = [layout.state(condition).astype(np.float32) for condition in conditions]
    ours = [layout.our_columns(condition) for condition in conditions]
    count = len(conditions)
    values: dict[str, Any] = {
        "observation.state": states,
        "action": [*states[1:], states[-1]],
        "timestamp": [frame / rate_hz for frame in range(count)],
        "frame_index": range(count),
        "episode_index": [index] * count,
        "index": range(first, first + count),
        "task_index": [task] * count,
        **{name: [row[name] for row in ours] for name in layout.OURS},
    }
    sizes = {name: (kind, len(names or "1")) for name, (kind, names) in {**layout.THEIRS, **layout.OURS}.items()}
    return pa.table({name: pa.array(list(value), _arrow_type(*sizes[name])) for name, value in values.items()})


def _arrow_type(kind: str, size: int) -> pa.DataType:
    single = pa.type_for_alias(kind)
    return single if size == 1 else pa.list_(single, size)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.float64).reshape(len(column), -1)


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_meta(root: Path, sample: Episode, rows: Sequence[dict[str, Any]], tasks: Sequence[str], kinds: tuple[str, ...]) -> None:
    manifest = sample.manifest
    features = layout.features(kinds, manifest.width_px, manifest.height_px, manifest.rate_hz)
    rate_hz = int(manifest.rate_hz) if float(manifest.rate_hz).is_integer() else manifest.rate_hz
    info = {
        "codebase_version": layout.VERSION,
        "robot_type": "hands",
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"],
        "total_tasks": len(tasks),
        "chunks_size": layout.FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": rate_hz,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH,
        "features": features,
    }
    (root / layout.INFO).write_text(json.dumps(info, indent=1) + "\n")
    stats = {feature: pooled([_stats_of(row, feature) for row in rows]) for feature in features}
    (root / layout.STATS).write_text(json.dumps(stats, indent=1) + "\n")
    pq.write_table(_tasks_table(tasks), root / layout.TASKS)
    path = root / layout.EPISODES_PATH.format(chunk_index=0, file_index=0)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def _stats_of(row: dict[str, Any], feature: str) -> Stats:
    prefix = f"stats/{feature}/"
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _tasks_table(tasks: Sequence[str]) -> pa.Table:
    """LeRobot reads it with pandas, and the tasks' words are its index: the schema's metadata says so."""
    index = "__index_level_0__"
    words = {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    numbers = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    pandas = {"index_columns": [index], "column_indexes": [], "columns": [numbers, words], "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _put_in_place(grown: Path, root: Path) -> None:
    """The old dataset goes, `meta` first; the new one comes, `meta` last."""
    for name in reversed(PARTS):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in PARTS:
        (grown / name).rename(root / name)
    grown.rmdir()

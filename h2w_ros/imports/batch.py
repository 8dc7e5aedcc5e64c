"""A dataset's sequences as jobs for the bulk runner, each to become one episode."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from h2w_ros.bulk.job import Job, MakeWork, Work
from h2w_ros.camera import Resize
from h2w_ros.condition import Condition
from h2w_ros.episodes.writer import EpisodeWriter
from h2w_ros.imports.dataset import ImportOptions
from h2w_ros.imports.datasets import dataset

PICTURES = ("image", "hand_render", "static_render")


@dataclass(frozen=True)
class Import:
    """What all jobs of one import share: the dataset's name, its folder, how it is read, and the pictures' size (None: as they come)."""

    dataset_name: str
    source: Path
    options: ImportOptions
    resize: Resize | None = None

    def jobs(self) -> list[Job]:
        """One a sequence, called after it; FileNotFoundError that says what belongs into the folder when there are none."""
        row = dataset(self.dataset_name)
        names = row.sequences(self.source) if self.source.exists() else []
        if not names:
            raise FileNotFoundError(f"{self.source} holds no sequences of {self.dataset_name}: it must be {row.layout}")
        key = hashlib.blake2b(repr((self.options, self.resize)).encode(), digest_size=8).hexdigest()
        return [Job(self._job_name(name), name, key) for name in names]

    def make_work(self) -> MakeWork:
        """What every worker begins with."""
        return partial(_importer, self)

    def _job_name(self, name: str) -> str:
        return self.source.absolute().stem if name == "." else name.replace("/", "-")


def import_sequence(task: Import, name: str, place: Path) -> Mapping[str, Any]:
    """Writes one sequence as an episode; its number of frames, and by reason what was dropped.

    ValueError and no episode when no frame shows a hand that should be there.
    """
    row = dataset(task.dataset_name)
    reader = row.opens(task.source, name, task.options)
    num_hands = 0
    with EpisodeWriter(place, reader.rate_hz, reader.domain, reader.description) as writer:
        for condition in reader.conditions():
            writer.write(resized(condition, task.resize))
            num_hands += len(condition.hands) + (condition.hand_render is not None)
        writer.dropped = dict(reader.dropped)
        if not writer.num_frames or (row.has_hands and not num_hands):
            raise ValueError(f"{writer.num_frames} frames can be read, with no hand that can be used; dropped {writer.dropped or 'nothing'}")
    return {"frames": writer.num_frames, "dropped": writer.dropped}


def resized(condition: Condition, resize: Resize | None) -> Condition:
    """The same moment with pictures, and their camera, of another size."""
    if resize is None:
        return condition
    pictures: dict[str, Any] = {name: resize.picture(picture) for name in PICTURES if (picture := getattr(condition, name)) is not None}
    return replace(condition, camera=resize.camera(condition.camera), **pictures)


def _importer(task: Import) -> Work:
    return partial(import_sequence, task)

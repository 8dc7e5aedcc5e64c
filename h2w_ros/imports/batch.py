"""Sequences of a dataset to episodes, one after another: what is there already stays, one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from h2w_ros.camera import Resize
from h2w_ros.condition import Condition
from h2w_ros.episodes.writer import EpisodeWriter
from h2w_ros.imports.dataset import Dataset, ImportOptions, SequenceReader

PICTURES = ("image", "hand_render", "static_render")


@dataclass(frozen=True)
class Outcome:
    """What became of a sequence, and why it failed."""

    name: str
    status: Literal["imported", "there already", "failed"]
    num_frames: int = 0
    dropped: int = 0
    reason: str = ""


def import_all(dataset: Dataset, source: Path, out: Path, options: ImportOptions, resize: Resize | None = None) -> Iterator[Outcome]:
    """Imports what is not there yet; yields one outcome a sequence, in their order."""
    for name in found_sequences(dataset, source):
        yield import_one(dataset, source, name, out, options, resize)


def found_sequences(dataset: Dataset, source: Path) -> list[str]:
    """The sequences of a source folder; FileNotFoundError that says what belongs there when there are none."""
    if not source.exists():
        raise FileNotFoundError(f"No data at {source}; it must be {dataset.layout}")
    names = dataset.sequences(source)
    if not names:
        raise FileNotFoundError(f"{source} holds no sequences: it must be {dataset.layout}")
    return names


def import_one(dataset: Dataset, source: Path, name: str, out: Path, options: ImportOptions, resize: Resize | None = None) -> Outcome:
    """One sequence to one episode folder, which gets its name only when it is whole."""
    path = out / name.replace("/", "-")
    if path.exists():
        return Outcome(name, "there already")
    try:
        reader = dataset.opens(source, name, options)
        num_frames = write_sequence(reader, path, resize, dataset.has_hands)
    except (ValueError, OSError) as error:
        return Outcome(name, "failed", reason=str(error))
    return Outcome(name, "imported", num_frames, sum(reader.dropped.values()))


def write_sequence(reader: SequenceReader, path: Path, resize: Resize | None, has_hands: bool) -> int:
    """Writes the episode; returns its number of frames. ValueError, and no episode, when no frame shows a hand that should be there."""
    num_hands = 0
    with EpisodeWriter(path, reader.rate_hz, reader.domain, reader.description) as writer:
        for condition in reader.conditions():
            writer.write(resized(condition, resize))
            num_hands += len(condition.hands) + (condition.hand_render is not None)
        writer.dropped = dict(reader.dropped)
        if writer.num_frames and has_hands and not num_hands:
            raise ValueError(f"none of {writer.num_frames} frames has a hand that can be used; dropped {writer.dropped or 'nothing'}")
    return writer.num_frames


def resized(condition: Condition, resize: Resize | None) -> Condition:
    """The same moment with pictures, and their camera, of another size."""
    if resize is None:
        return condition
    pictures: dict[str, Any] = {name: resize.picture(picture) for name in PICTURES if (picture := getattr(condition, name)) is not None}
    return replace(condition, camera=resize.camera(condition.camera), **pictures)

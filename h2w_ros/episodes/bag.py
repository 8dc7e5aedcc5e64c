"""Reads ROS 2 bags: any mixture of rates becomes conditions on the generator's clock. Needs no ROS."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from struct import error as StructError
from typing import Any

from backports.zstd import ZstdError  # what rosbags decompresses with
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError

from h2w_ros.condition import Condition
from h2w_ros.episodes.bag_alignment import Alignment, BagFrames, BagOptions, in_order_of_stamps
from h2w_ros.episodes.bag_repair import repair_when_cut_off
from h2w_ros.episodes.bag_topics import RECORDING_INFO, TF_STATIC, BagTopics, choose_topics
from h2w_ros.episodes.recording import UNKNOWN, Recording, check_range
from h2w_ros.episodes.typestore import all_parts, lacking, ros_typestore
from h2w_ros.frames import StaticFrames
from h2w_ros.ros_messages import transform_from_msg

# What rosbags lets through when bytes are wrong, besides its own errors.
DAMAGE = (
    *(AnyReaderError, ReaderError, SerdeError, ZstdError, StructError),
    *(ArithmeticError, LookupError, UnicodeDecodeError, EOFError, MemoryError, TypeError, SyntaxError),
)

log = logging.getLogger(__name__)


class Bag(Recording):
    """A bag as a recording: aligned by header stamps at the timeline's rate. Frame ranges are reached by reading from the start."""

    def __init__(self, path: Path | str, options: BagOptions | None = None) -> None:
        self.path = bag_file(Path(path))
        self.options = options or BagOptions()
        self.rate_hz = self.options.timeline.rate_hz
        self.dropped: Mapping[str, int] = {}
        with opened(self.path) as reader:
            self.topics = choose_topics({topic: info.msgtype or "" for topic, info in reader.topics.items()}, self.options.topics, self.path)
            _check_definitions(reader, self.topics)
            info = _recording_info(reader)
        self.domain = str(info.get("domain", UNKNOWN))
        self.description = info.get("description", {})

    @cached_property
    def num_frames(self) -> int:
        """How many conditions the bag gives; reads it once."""
        return sum(1 for _ in self._aligned())

    def conditions(self, start: int = 0, stop: int | None = None) -> Iterator[Condition]:
        """Conditions start .. stop - 1."""
        if stop is not None:
            check_range(start, stop, self.num_frames, self.path)
        return islice(self._aligned(), start, stop)

    def _aligned(self) -> Iterator[Condition]:
        with opened(self.path) as reader:
            alignment = Alignment(self.options, self.topics.ready_made_hands is not None, _frames(reader, self.topics), self.path)
            connections = [connection for connection in reader.connections if self.topics.part_of(connection.topic)]
            for part, message in in_order_of_stamps(_messages(reader, connections, self.topics, alignment.dropped)):
                yield from alignment.take(part, message)
                if alignment.has_restarted:
                    log.warning("%s: the clock or the camera jumps; what follows is another recording and is left out", self.path)
                    alignment.dropped["after_clock_jump"] += 1
                    break
            self.dropped = alignment.dropped + alignment.timeline.dropped


def bag_file(path: Path) -> Path:
    """What rosbags opens: a folder with metadata.yaml, or a storage file; of a folder without metadata its only storage file.

    A bag whose recorder was killed is repaired first.
    """
    repair_when_cut_off(path)
    if path.is_file() or (path / "metadata.yaml").is_file():
        return path
    files = sorted([*path.glob("*.mcap"), *path.glob("*.db3")])
    if len(files) != 1:
        raise ValueError(f"{path} has no metadata.yaml and {len(files)} storage files; name one of them")
    return files[0]


@contextmanager
def opened(path: Path) -> Iterator[AnyReader]:
    """The bag's reader. ValueError that names the file when it cannot be opened."""
    try:
        reader = AnyReader([path], default_typestore=ros_typestore())
        reader.open()
    except DAMAGE as error:
        remedy = "`h2w repair` mends MCAP bags that were cut off; other formats are not read"
        raise ValueError(f"{path} is not a readable bag ({error}): {remedy}") from error
    try:
        yield reader
    finally:
        reader.close()


def _check_definitions(reader: AnyReader, topics: BagTopics) -> None:
    """ValueError when messages of the bag lack fields that are read here: it brings its own definitions, which may be of another version."""
    ours = ros_typestore()
    kinds = {
        connection.msgtype for connection in reader.connections if topics.part_of(connection.topic) or connection.topic in (TF_STATIC, RECORDING_INFO)
    }
    for kind in sorted(all_parts(kinds, ours)):
        missing = lacking(kind, ours, reader.typestore)
        if missing:
            raise ValueError(f"{reader.paths[0]} was recorded with another version of {kind}, which lacks {', '.join(missing)}: convert it first")


def raw_messages(reader: AnyReader, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
    """Connection, recording time and CDR bytes of messages in the order of recording. ValueError where the file is damaged."""
    messages = reader.messages(connections)
    while True:
        try:
            found = next(messages, None)
        except DAMAGE as error:
            raise ValueError(f"{reader.paths[0]} is damaged: {error}") from error
        if found is None:
            return
        yield found


def _messages(reader: AnyReader, connections: list[Connection], topics: BagTopics, dropped: Counter[str]) -> Iterator[tuple[int, str, Any]]:
    for connection, recorded_ns, raw in raw_messages(reader, connections):
        part = topics.part_of(connection.topic)
        assert part is not None
        try:
            message = _deserialized(reader, connection, raw)
        except ValueError:
            dropped[f"{part}_undecodable"] += 1
            continue
        yield recorded_ns, part, message


def _frames(reader: AnyReader, topics: BagTopics) -> BagFrames:
    """Frame names from the first messages that carry them."""
    camera, world = (next((message.header.frame_id for message in _all_of(reader, topic)), "") for topic in (topics.camera_info, topics.odometry))
    return BagFrames(camera, world, _static_frames(reader))


def _static_frames(reader: AnyReader) -> StaticFrames:
    frames = StaticFrames()
    for message in _all_of(reader, TF_STATIC):
        for edge in message.transforms:
            frames.add(edge.header.frame_id, edge.child_frame_id, transform_from_msg(edge.transform))
    return frames


def _recording_info(reader: AnyReader) -> Mapping[str, Any]:
    """What the bag's writer said about it; empty for bags of others."""
    for message in _all_of(reader, RECORDING_INFO):
        try:
            info = json.loads(message.data)
        except json.JSONDecodeError:
            return {}
        return info if isinstance(info, dict) else {}
    return {}


def _all_of(reader: AnyReader, topic: str) -> Iterator[Any]:
    connections = [connection for connection in reader.connections if connection.topic == topic]
    if connections:
        for connection, _, raw in raw_messages(reader, connections):
            yield _deserialized(reader, connection, raw)


def _deserialized(reader: AnyReader, connection: Connection, raw: bytes) -> Any:
    try:
        return reader.deserialize(raw, connection.msgtype)
    except DAMAGE as error:
        raise ValueError(f"{reader.paths[0]}: a message on {connection.topic} is damaged: {error}") from error

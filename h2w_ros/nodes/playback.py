"""What a replay sends: every recording as serialized messages in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2w_ros.episodes.bag import Bag, bag_file, opened, raw_messages
from h2w_ros.episodes.bag_topics import PARTS, RECORDING_INFO, TF_STATIC, BagTopics, choose_topics
from h2w_ros.episodes.bag_writer import BagFormat, messages_of, on_ros_clock, recording_info_msg
from h2w_ros.episodes.recording import Recording, open_recording
from h2w_ros.episodes.typestore import ros_typestore

LATCHED_TOPICS = (TF_STATIC, RECORDING_INFO)


@dataclass(frozen=True)
class Recorded:
    """One message as it was sent: time on the recording's clock [ns], topic, type (package/msg/Name), CDR bytes."""

    time_ns: int
    topic: str
    kind: str
    data: bytes


@dataclass(frozen=True)
class Playback:
    """A recording that can be played any number of times; `topics` maps topic to type."""

    path: Path
    topics: dict[str, str]
    source: Recording | BagTopics | None

    def messages(self) -> Iterator[Recorded]:
        """All messages, oldest first."""
        if isinstance(self.source, Recording):
            return _messages_of_recording(self.source)
        return _messages_of_bag(self.path, self.source, self.topics)


def open_playback(path: Path | str, as_recorded: bool = False) -> Playback:
    """A bag's inputs under the names our nodes listen to, or (`as_recorded`) all its topics under their own; anything else as messages."""
    path = Path(path)
    recording = None if as_recorded else open_recording(path)
    if recording is not None and not isinstance(recording, Bag):
        return Playback(path, _topics_of_recording(recording), recording)
    path = bag_file(path)
    with opened(path) as reader:
        found = {topic: info.msgtype or "" for topic, info in reader.topics.items()}
    if as_recorded:
        return Playback(path, found, None)
    chosen = choose_topics(found, {}, path)
    topics = {our_name(chosen, topic, kind): kind for topic, kind in found.items() if chosen.part_of(topic) or topic in LATCHED_TOPICS}
    return Playback(path, topics, chosen)


def our_name(chosen: BagTopics, topic: str, kind: str) -> str:
    """The name under which our nodes listen to what this topic of a bag carries."""
    part = chosen.part_of(topic)
    if part is None:
        return topic
    raw, *compressed = PARTS[part].defaults
    return compressed[0] if kind.endswith("/CompressedImage") else raw


def _messages_of_bag(path: Path, chosen: BagTopics | None, topics: dict[str, str]) -> Iterator[Recorded]:
    with opened(path) as reader:
        wanted = [c for c in reader.connections if chosen is None or chosen.part_of(c.topic) or c.topic in LATCHED_TOPICS]
        for connection, time_ns, data in raw_messages(reader, wanted):
            name = connection.topic if chosen is None else our_name(chosen, connection.topic, connection.msgtype)
            if name in topics:
                yield Recorded(time_ns, name, connection.msgtype, bytes(data))


def _topics_of_recording(recording: Recording) -> dict[str, str]:
    first = next(recording.conditions(0, min(1, recording.num_frames)), None)
    if first is None:
        raise ValueError(f"{recording.path} holds no frame to replay")
    return {
        RECORDING_INFO: _info_of(recording).__msgtype__,
        **{topic: content.__msgtype__ for topic, content in messages_of(first, BagFormat(jpeg_quality=None))},
    }


def _messages_of_recording(recording: Recording) -> Iterator[Recorded]:
    for number, condition in enumerate(on_ros_clock(recording.conditions())):
        if number == 0:
            info = _info_of(recording)
            yield Recorded(condition.stamp_ns, RECORDING_INFO, info.__msgtype__, _serialized(info))
        for topic, content in messages_of(condition, BagFormat(jpeg_quality=None)):
            yield Recorded(condition.stamp_ns, topic, content.__msgtype__, _serialized(content))


def _info_of(recording: Recording) -> Any:
    return recording_info_msg(recording.domain, recording.description)


def _serialized(content: Any) -> bytes:
    return bytes(ros_typestore().serialize_cdr(content, content.__msgtype__))

"""rosbag2's metadata.yaml, made from what the storage files hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from mcap.records import Channel, Schema
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

from h2w_ros.episodes.mcap_scan import McapContent

METADATA_FILE = "metadata.yaml"
VERSION = 9


def metadata_text(contents: Mapping[str, McapContent]) -> str:
    """The whole file, for a bag of these storage files (name -> content)."""
    information = {
        "version": VERSION,
        "storage_identifier": "mcap",
        **_extent(contents.values()),
        "relative_file_paths": list(contents),
        "topics_with_message_count": _topics(contents.values()),
        "compression_format": "",
        "compression_mode": "",
        "files": [{"path": name, **_extent([content])} for name, content in contents.items()],
        "custom_data": None,
        "ros_distro": "rosbags",
    }
    return yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False)


def _extent(contents: Iterable[McapContent]) -> dict[str, Any]:
    """When it starts, how long it is, how many messages it holds."""
    filled = [(content.first_ns, content.last_ns, content.num_messages.total()) for content in contents if content.num_messages.total()]
    first_ns = min((first_ns for first_ns, _, _ in filled if first_ns is not None), default=0)
    last_ns = max((last_ns for _, last_ns, _ in filled if last_ns is not None), default=0)
    return {
        "duration": {"nanoseconds": last_ns - first_ns},
        "starting_time": {"nanoseconds_since_epoch": first_ns},
        "message_count": sum(count for _, _, count in filled),
    }


def _topics(contents: Iterable[McapContent]) -> list[dict[str, Any]]:
    """Every topic once, with its messages in all files."""
    found: dict[str, dict[str, Any]] = {}
    for content in contents:
        for channel in content.channels.values():
            entry = found.setdefault(channel.topic, {"topic_metadata": _topic(channel, content.schemas), "message_count": 0})
            entry["message_count"] += content.num_messages[channel.id]
    return list(found.values())


def _topic(channel: Channel, schemas: Mapping[int, Schema]) -> dict[str, Any]:
    schema = schemas.get(channel.schema_id)
    return {
        "name": channel.topic,
        "type": schema.name if schema else "",
        "serialization_format": channel.message_encoding,
        "offered_qos_profiles": yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or [],
        "type_description_hash": _type_hash(schema) if schema else "",
    }


def _type_hash(schema: Schema) -> str:
    """REP 2011's hash of a message type; empty, as rosbag2 writes it, where the definition cannot be read."""
    store = get_typestore(Stores.EMPTY)
    try:
        text = schema.data.decode()
        store.register(get_types_from_idl(text) if schema.encoding == "ros2idl" else get_types_from_msg(text, schema.name))
        return str(store.hash_rihs01(schema.name))
    except (TypesysError, UnicodeDecodeError, KeyError):
        return ""

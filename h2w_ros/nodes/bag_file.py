"""A growing bag: rosbag2 in MCAP, closed chunk by chunk, so that a crash costs less than a second."""

from __future__ import annotations

import time
from pathlib import Path

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from h2w_ros.nodes.types import typestore_with

CHUNK_S = 0.5


class BagFile:
    """Takes serialized messages; `close` writes the index and metadata.yaml, and a second `close` does nothing."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(f"{path} exists already; remove it or choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.num_messages = 0
        self._writer: Writer | None = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._chunk_began_s = time.monotonic()

    def open_topic(self, topic: str, kind: str, qos: Qos) -> Connection:
        """Makes a topic known; needed once before its first message."""
        if self._writer is None:
            raise ValueError(f"{self.path} is closed")
        return self._writer.add_connection(topic, kind, typestore=typestore_with(kind), offered_qos_profiles=[qos])

    def write(self, connection: Connection, time_ns: int, data: bytes) -> None:
        """Appends one message; ignored once the bag is closed."""
        if self._writer is None:
            return
        self._writer.write(connection, time_ns, data)
        self.num_messages += 1
        if time.monotonic() - self._chunk_began_s > CHUNK_S:
            self._close_chunk(self._writer)

    def close(self) -> None:
        """Finishes the file; a bag that got no message is valid too."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _close_chunk(self, writer: Writer) -> None:
        storage = writer.storage
        assert isinstance(storage, McapWriter)
        storage.close_chunk()
        storage.bio.flush()
        self._chunk_began_s = time.monotonic()

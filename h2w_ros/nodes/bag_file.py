"""A growing bag: rosbag2 in MCAP, closed chunk by chunk, so that a crash costs less than a second."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from h2w_ros.episodes.bag_repair import lock, repair_bag
from h2w_ros.nodes.types import typestore_with

CHUNK_S = 0.5


class BagFile:
    """Takes serialized messages; `close` writes the index and metadata.yaml, and a second `close` does nothing.

    A disk that takes no more ends the file early: `problem` says why, and what was written until then can be read. The
    file is locked as long as it grows, so that nobody repairs it meanwhile. Its methods may be called from any thread.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(f"{path} exists already; remove it or choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.num_messages = 0
        self.problem = ""
        self._changing = threading.RLock()
        self._writer: Writer | None = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._chunk_began_s = time.monotonic()
        lock(_storage(self._writer).bio)
        self._close_chunk()

    @property
    def is_open(self) -> bool:
        """Whether it still takes messages."""
        return self._writer is not None

    def open_topic(self, topic: str, kind: str, qos: Qos | None = None) -> Connection:
        """Makes a topic known; needed once before its first message. `qos` is what a replay offers."""
        with self._changing:
            if self._writer is None:
                raise ValueError(f"{self.path} is closed")
            return self._writer.add_connection(topic, kind, typestore=typestore_with(kind), offered_qos_profiles=[qos] if qos else [])

    def write(self, connection: Connection, time_ns: int, data: bytes) -> None:
        """Appends one message; ignored once the bag is closed."""
        with self._changing:
            if self._writer is None:
                return
            try:
                self._writer.write(connection, time_ns, data)
            except OSError as error:
                self._give_up(self._writer, error)
                return
            self.num_messages += 1
            self.close_chunk_when_due()

    def close_chunk_when_due(self) -> None:
        """Hands what is older than half a second to the operating system; to be called also while no message comes."""
        if time.monotonic() - self._chunk_began_s > CHUNK_S:
            self._close_chunk()

    def close(self) -> None:
        """Finishes the file; a bag that got no message is valid too."""
        with self._changing:
            writer = self._writer
            if writer is None:
                return
            try:
                writer.close()
            except OSError as error:
                self._give_up(writer, error)
            self._writer = None

    def _close_chunk(self) -> None:
        with self._changing:
            if self._writer is None:
                return
            storage = _storage(self._writer)
            self._chunk_began_s = time.monotonic()
            try:
                if storage.chunk.msgs:
                    storage.close_chunk()
                storage.bio.flush()
            except OSError as error:
                self._give_up(self._writer, error)

    def _give_up(self, writer: Writer, error: OSError) -> None:
        """Ends the file behind its last whole chunk."""
        self._writer = None
        self.problem = f"recording stopped, {self.path} cannot be written: {error.strerror or error}"
        if writer.storage is not None:
            _close_without_writing(_storage(writer))
        try:
            self.num_messages = repair_bag(self.path).num_messages
        except (OSError, ValueError) as failure:
            self.problem += f"; make room, then `h2w repair {self.path}` gives the file its end ({failure})"


def _storage(writer: Writer) -> McapWriter:
    assert isinstance(writer.storage, McapWriter)
    return writer.storage


def _close_without_writing(storage: McapWriter) -> None:
    """Closes a file whose buffer cannot be written; Python has no other way to let go of a buffer than to write it somewhere."""
    if storage.bio.closed:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, storage.bio.fileno())
    os.close(nowhere)
    storage.bio.close()

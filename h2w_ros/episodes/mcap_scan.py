"""What the whole records of an MCAP file hold, found without its summary: the file may have been cut off anywhere."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase, BytesIO
from typing import NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, Header, MessageIndex, Metadata, MetadataIndex, Schema, Statistics
from mcap.stream_reader import get_chunk_data_stream
from zstandard import ZstdError  # what mcap decompresses with

MAGIC = b"\x89MCAP0\r\n"
FRAME = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<HIQ")  # channel, sequence number, time of recording
BEFORE_DATA_END = {Opcode.HEADER, *range(Opcode.SCHEMA, Opcode.MESSAGE_INDEX + 1), Opcode.ATTACHMENT, Opcode.METADATA}

# What wrong bytes raise in mcap and in the decompressors that it calls (lz4 raises RuntimeError).
DAMAGE = (McapError, ZstdError, RuntimeError, struct.error, ValueError, MemoryError, OverflowError)

Places = dict[int, list[tuple[int, int]]]  # channel -> (time of recording, offset in the chunk) of its messages


class RawRecord(NamedTuple):
    """One record as it lies in its stream."""

    opcode: int
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        """Offset of the byte behind it."""
        return self.offset + FRAME.size + len(self.content)


@dataclass
class McapContent:
    """All that a summary has to say about the records before it. `end` is the offset behind the last whole record."""

    library: str = ""
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)
    num_messages: Counter[int] = field(default_factory=Counter)
    num_attachments: int = 0
    num_damaged_chunks: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    end: int = len(MAGIC)
    missing_index: list[MessageIndex] = field(default_factory=list)

    @property
    def statistics(self) -> Statistics:
        """The counts as the summary's record of them."""
        return Statistics(
            attachment_count=self.num_attachments,
            channel_count=len(self.channels),
            channel_message_counts={number: self.num_messages[number] for number in sorted(self.channels)},
            chunk_count=len(self.chunks),
            message_count=self.num_messages.total(),
            message_end_time=self.last_ns or 0,
            message_start_time=self.first_ns or 0,
            metadata_count=len(self.metadata),
            schema_count=len(self.schemas),
        )


def whole_records(stream: BufferedIOBase) -> Iterator[RawRecord]:
    """Records from the stream's position up to the first that does not fit into what is left."""
    offset = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    while offset + FRAME.size <= size:
        stream.seek(offset)
        opcode, length = FRAME.unpack(stream.read(FRAME.size))
        if offset + FRAME.size + length > size:
            return
        record = RawRecord(opcode, offset, stream.read(length))
        yield record
        offset = record.end


def scan(stream: BufferedIOBase) -> McapContent:
    """Reads the whole stream once. ValueError when it does not begin as MCAP does."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin as an MCAP file does")
    content, scanner = McapContent(), _Scanner()
    for record in whole_records(stream):
        if record.opcode not in BEFORE_DATA_END:
            break
        scanner.take(content, record)
        content.end = record.end
    scanner.finish(content)
    return content


class _Scanner:
    """Which messages of the newest chunk still wait for the index records that follow every chunk."""

    def __init__(self) -> None:
        self._unindexed: Places = {}
        self._is_indexing = False

    def take(self, content: McapContent, record: RawRecord) -> None:
        if record.opcode == Opcode.CHUNK:
            self._take_chunk(content, record)
        elif record.opcode == Opcode.MESSAGE_INDEX:
            self._take_index(content, record)
        elif record.opcode == Opcode.HEADER:
            content.library = Header.read(_stream(record)).library
        elif record.opcode == Opcode.METADATA:
            name = Metadata.read(_stream(record)).name
            content.metadata.append(MetadataIndex(offset=record.offset, length=record.end - record.offset, name=name))
        elif record.opcode == Opcode.ATTACHMENT:
            content.num_attachments += 1
        else:
            _add(content, *_parts([record]))

    def _take_chunk(self, content: McapContent, record: RawRecord) -> None:
        self._is_indexing = False
        try:
            chunk = Chunk.read(_stream(record))
            schemas, channels, places = _parts_of_chunk(chunk)
        except DAMAGE:
            content.num_damaged_chunks += 1
            return
        _add(content, schemas, channels, places)
        content.chunks.append(_index(chunk, record))
        self._unindexed, self._is_indexing = places, True

    def _take_index(self, content: McapContent, record: RawRecord) -> None:
        """Index records of a damaged chunk lead nowhere."""
        if self._is_indexing:
            index, chunk = MessageIndex.read(_stream(record)), content.chunks[-1]
            chunk.message_index_offsets[index.channel_id] = record.offset
            chunk.message_index_length += record.end - record.offset
            self._unindexed.pop(index.channel_id, None)

    def finish(self, content: McapContent) -> None:
        """What the last chunk's index lacks is to be written behind it."""
        if self._is_indexing:
            content.missing_index = [MessageIndex(channel, places) for channel, places in sorted(self._unindexed.items())]


def _index(chunk: Chunk, record: RawRecord) -> ChunkIndex:
    return ChunkIndex(
        chunk_length=record.end - record.offset,
        chunk_start_offset=record.offset,
        compression=chunk.compression,
        compressed_size=len(chunk.data),
        message_end_time=chunk.message_end_time,
        message_index_length=0,
        message_index_offsets={},
        message_start_time=chunk.message_start_time,
        uncompressed_size=chunk.uncompressed_size,
    )


def _parts_of_chunk(chunk: Chunk) -> tuple[list[Schema], list[Channel], Places]:
    """Schemas, channels and places of messages in a chunk. ValueError when its records do not fill it."""
    stream, size = get_chunk_data_stream(chunk, validate_crc=True)
    data = stream.read(size)
    records = list(whole_records(BytesIO(data)))
    if size != chunk.uncompressed_size or (records[-1].end if records else 0) != size:
        raise ValueError("a chunk's records do not fill it")
    return _parts(records)


def _parts(records: Iterable[RawRecord]) -> tuple[list[Schema], list[Channel], Places]:
    schemas: list[Schema] = []
    channels: list[Channel] = []
    places: Places = {}
    for record in records:
        if record.opcode == Opcode.SCHEMA:
            schemas.append(Schema.read(_stream(record)))
        elif record.opcode == Opcode.CHANNEL:
            channels.append(Channel.read(_stream(record)))
        elif record.opcode == Opcode.MESSAGE:
            channel, _, time_ns = MESSAGE_HEAD.unpack_from(record.content)
            places.setdefault(channel, []).append((time_ns, record.offset))
    return schemas, channels, places


def _add(content: McapContent, schemas: list[Schema], channels: list[Channel], places: Places) -> None:
    content.schemas.update((schema.id, schema) for schema in schemas)
    content.channels.update((channel.id, channel) for channel in channels)
    for channel, found in places.items():
        times_ns = [time_ns for time_ns, _ in found]
        content.num_messages[channel] += len(found)
        content.first_ns = min(times_ns if content.first_ns is None else (content.first_ns, *times_ns))
        content.last_ns = max(times_ns if content.last_ns is None else (content.last_ns, *times_ns))


def _stream(record: RawRecord) -> ReadDataStream:
    return ReadDataStream(BytesIO(record.content))

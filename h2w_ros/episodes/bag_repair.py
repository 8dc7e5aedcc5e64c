"""Gives a bag whose recorder was killed its end back: the MCAP summary and footer, and metadata.yaml.

Nothing that is whole is moved: the file is cut behind its last whole record and the end is written there, so a repair
takes as long as reading the file once, and one that is interrupted can be repeated. What is cut away is kept beside it.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import DataEnd, Footer, McapRecord, SummaryOffset

from h2w_ros.episodes.bag_metadata import METADATA_FILE, metadata_text
from h2w_ros.episodes.mcap_scan import DAMAGE, FRAME, MAGIC, McapContent, scan

TORN_SUFFIX = ".torn"
FOOTER_LENGTH = 20
OUR_LIBRARY = "rosbags-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repair:
    """What a repair found and did: messages that are there now, torn bytes that were cut away, whether anything was to do."""

    path: Path
    num_messages: int
    num_cut_bytes: int
    num_damaged_chunks: int
    was_whole: bool


def repair_bag(path: Path, only_ours: bool = False) -> Repair:
    """Repairs an .mcap file, or all of them in a rosbag2 folder and its metadata.yaml.

    `only_ours` leaves bags of other recorders alone, which do not lock the file that they still write. ValueError when
    the path is no such bag, or is being recorded at this moment.
    """
    files = mcap_files(path)
    if not files:
        raise ValueError(f"{path} holds no .mcap file: only MCAP bags lose their end when a recorder is killed")
    ends = [_mend(file, only_ours) for file in files]
    was_whole = all(end.was_whole for end in ends)
    if path.is_dir() and not (was_whole and (path / METADATA_FILE).is_file()):
        was_whole = False
        _write_whole(path / METADATA_FILE, metadata_text({file.name: end.content for file, end in zip(files, ends, strict=True)}))
    contents = [end.content for end in ends]
    num_messages, num_damaged = (sum(numbers) for numbers in zip(*((c.num_messages.total(), c.num_damaged_chunks) for c in contents), strict=True))
    return Repair(path, num_messages, sum(end.num_cut_bytes for end in ends), num_damaged, was_whole)


def repair_when_cut_off(path: Path) -> None:
    """Repairs what a recorder of ours left unfinished; ValueError for another's, which may still be growing."""
    if any(is_cut_off(file) for file in mcap_files(path)):
        done = repair_bag(path, only_ours=True)
        kept = f"; {done.num_cut_bytes} bytes of a torn record are put aside ({TORN_SUFFIX})" if done.num_cut_bytes else ""
        log.warning("%s was cut off and is repaired: %d messages%s", path, done.num_messages, kept)


def mcap_files(path: Path) -> list[Path]:
    """The file itself, or every storage file of the folder; empty for other kinds of bags."""
    if path.is_dir():
        return sorted(path.glob("*.mcap"))
    return [path] if path.is_file() and path.suffix == ".mcap" else []


def is_cut_off(file: Path) -> bool:
    """Whether an MCAP file lacks its end. What does not even begin as one is something else."""
    length = FRAME.size + FOOTER_LENGTH + len(MAGIC)
    with file.open("rb") as stream:
        begins_well = stream.read(len(MAGIC)) == MAGIC
        stream.seek(-min(length, file.stat().st_size), os.SEEK_END)
        tail = stream.read()
    ends_well = len(tail) == length and tail.endswith(MAGIC) and FRAME.unpack(tail[: FRAME.size]) == (Opcode.FOOTER, FOOTER_LENGTH)
    return begins_well and not ends_well


def lock(stream: BufferedIOBase) -> None:
    """Marks a file as being written until it is closed, however its process ends. BlockingIOError when another one did so."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # a network drive without locks takes recordings all the same
        log.debug("a file cannot be locked: %s", error)


@dataclass(frozen=True)
class _End:
    """A file that has its end now."""

    content: McapContent
    num_cut_bytes: int
    was_whole: bool


def _mend(file: Path, only_ours: bool) -> _End:
    was_whole = not is_cut_off(file)
    try:
        with file.open("rb") if was_whole else file.open("r+b") as stream:
            if not was_whole:
                lock(stream)
            content = scan(stream)
            if was_whole:
                return _End(content, 0, was_whole)
            if only_ours and not content.library.startswith(OUR_LIBRARY):
                raise ValueError(f"it has no end, and its recorder ({content.library or 'unknown'}) may still be at work: else `h2w repair` mends it")
            if only_ours and not content.num_messages.total():
                raise ValueError("it was cut off before its first whole chunk of messages, so there is nothing to read in it")
            return _End(content, _write_end(stream, content, file.with_name(file.name + TORN_SUFFIX)), was_whole)
    except BlockingIOError as error:
        raise ValueError(f"{file} is being recorded at this moment: stop the recorder first") from error
    except DAMAGE as error:
        raise ValueError(f"{file}: {error}") from error


def _write_end(stream: BufferedIOBase, content: McapContent, torn: Path) -> int:
    """Cuts the file behind its last whole record and writes the rest; returns how many torn bytes were cut away, and put into a file of their own."""
    stream.seek(content.end)
    cut_away = stream.read()
    if cut_away:
        _put_aside(torn, cut_away)
    stream.truncate(content.end)
    stream.seek(content.end)
    stream.write(_missing_index(content))
    data_end = RecordBuilder()
    DataEnd(data_section_crc=0).write(data_end)
    stream.write(data_end.end())
    stream.write(summary(content, stream.tell()))
    stream.flush()
    os.fsync(stream.fileno())
    return len(cut_away)


def _put_aside(torn: Path, data: bytes) -> None:
    """Keeps torn bytes where there is room; a disk that is full gets its bag back all the same."""
    try:
        torn.write_bytes(data)
    except OSError as error:
        torn.unlink(missing_ok=True)
        log.warning("%d bytes of a torn record cannot be kept in %s: %s", len(data), torn, error)


def _missing_index(content: McapContent) -> bytes:
    """Index records that the last chunk lacks; notes them in its entry of the summary."""
    out = RecordBuilder()
    for index in content.missing_index:
        content.chunks[-1].message_index_offsets[index.channel_id] = content.end + out.count
        index.write(out)
    if content.missing_index:
        content.chunks[-1].message_index_length += out.count
    return out.end()


def summary(content: McapContent, start: int) -> bytes:
    """Summary, its offsets, footer and closing magic, as they belong at this offset of the file."""
    out = RecordBuilder()
    groups: Sequence[tuple[Opcode, Sequence[McapRecord]]] = (
        (Opcode.SCHEMA, list(content.schemas.values())),
        (Opcode.CHANNEL, list(content.channels.values())),
        (Opcode.CHUNK_INDEX, content.chunks),
        (Opcode.METADATA_INDEX, content.metadata),
        (Opcode.STATISTICS, [content.statistics]),
    )
    offsets = []
    for opcode, records in groups:
        began = out.count
        for record in records:
            record.write(out)
        if records:
            offsets.append(SummaryOffset(group_opcode=opcode, group_start=start + began, group_length=out.count - began))
    offset_start = start + out.count
    for offset in offsets:
        offset.write(out)
    Footer(summary_start=start, summary_offset_start=offset_start, summary_crc=0).write(out)
    return out.end() + MAGIC


def _write_whole(path: Path, text: str) -> None:
    """The file gets its name when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()

"""A bag whose recorder was killed opens again with everything that reached the disk whole."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from h2w_ros.cli import main
from h2w_ros.episodes.bag import bag_file
from h2w_ros.episodes.bag_repair import is_cut_off, mcap_files, repair_bag
from h2w_ros.episodes.bag_writer import message
from h2w_ros.episodes.mcap_scan import scan
from h2w_ros.episodes.typestore import ros_typestore

TOPICS = {"/words": "std_msgs/msg/String", "/more_words": "std_msgs/msg/String", "/number": "std_msgs/msg/Int64", "/silent": "std_msgs/msg/Bool"}
NUM_MESSAGES = 60
MESSAGES_PER_CHUNK = 7

Row = tuple[str, int, bytes]


def content_of(number: int) -> Row:
    topic = list(TOPICS)[number % 3]
    data = 7 * number if topic == "/number" else "word " * number
    content = message(TOPICS[topic], data=data)
    return topic, 1_000 + number, bytes(ros_typestore().serialize_cdr(content, TOPICS[topic]))


def write(folder: Path, is_compressed: bool = False) -> list[Row]:
    """A bag in small chunks, as our recorder writes them."""
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    if is_compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    rows = [content_of(number) for number in range(NUM_MESSAGES)]
    with writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=ros_typestore()) for topic, kind in TOPICS.items()}
        for number, (topic, time_ns, data) in enumerate(rows, 1):
            writer.write(connections[topic], time_ns, data)
            if number % MESSAGES_PER_CHUNK == 0:
                writer.storage.close_chunk()
    return rows


def read(path: Path) -> list[Row]:
    with AnyReader([path]) as reader:
        return [(connection.topic, time_ns, bytes(data)) for connection, time_ns, data in reader.messages()]


def read_strictly(file: Path) -> list[Row]:
    """By the format's own library, through summary, chunk index and message index."""
    with file.open("rb") as stream:
        return [(channel.topic, found.log_time, found.data) for _, channel, found in make_reader(stream, validate_crcs=True).iter_messages()]


@pytest.fixture(scope="module", params=[False, True], ids=["raw", "zstd"])
def whole(request, tmp_path_factory) -> tuple[Path, list[Row]]:
    folder = tmp_path_factory.mktemp("whole") / "bag"
    return folder, write(folder, request.param)


def cut(whole: Path, to: Path, size: int) -> Path:
    """The bag as a kill leaves it: part of the file, no metadata."""
    to.mkdir()
    file = to / "bag.mcap"
    file.write_bytes((whole / "bag.mcap").read_bytes()[:size])
    return file


def test_a_bag_cut_anywhere_keeps_every_whole_chunk(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    folder, rows = whole
    size = (folder / "bag.mcap").stat().st_size
    counts = []
    for number, at in enumerate(sorted(np.random.default_rng(0).integers(60, size, 25))):
        file = cut(folder, tmp_path / str(number), int(at))
        with file.open("rb") as stream:
            before = scan(stream).num_messages.total()
        done = repair_bag(file.parent)
        assert done.num_messages == before
        assert read(bag_file(file.parent)) == read_strictly(file) == rows[: done.num_messages]
        assert not done.was_whole
        assert done.num_messages % MESSAGES_PER_CHUNK == 0 or done.num_messages == NUM_MESSAGES
        counts.append(done.num_messages)
    assert counts == sorted(counts)
    assert {0, NUM_MESSAGES} <= set(counts)
    assert len(set(counts)) > 5


def test_what_is_rebuilt_says_what_the_writer_would_have_said(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    folder, rows = whole
    with (folder / "bag.mcap").open("rb") as stream:
        end = scan(stream).end
    file = cut(folder, tmp_path / "cut", end)
    repair_bag(file.parent)
    original, rebuilt = (yaml.safe_load((place / "metadata.yaml").read_text()) for place in (folder, file.parent))
    assert rebuilt == original
    assert read(file.parent) == rows
    with file.open("rb") as ours, (folder / "bag.mcap").open("rb") as theirs:
        assert make_reader(ours).get_summary().chunk_indexes == make_reader(theirs).get_summary().chunk_indexes


def test_a_whole_bag_is_left_as_it_is_and_a_repaired_one_is_whole(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    folder, _ = whole
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert repair_bag(copy).was_whole
    assert (copy / "bag.mcap").read_bytes() == (folder / "bag.mcap").read_bytes()
    file = cut(folder, tmp_path / "cut", 2000)
    repair_bag(file.parent)
    before = file.read_bytes()
    again = repair_bag(file.parent)
    assert (again.was_whole, again.num_cut_bytes, file.read_bytes()) == (True, 0, before)


def test_a_repair_that_was_itself_cut_off_can_be_repeated(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    folder, rows = whole
    size = (folder / "bag.mcap").stat().st_size
    for number, lost in enumerate(range(1, 60, 5)):
        file = cut(folder, tmp_path / str(number), size - lost)
        assert is_cut_off(file)
        assert repair_bag(file).num_messages == NUM_MESSAGES
        assert read_strictly(file) == rows


def test_opening_a_bag_repairs_it(whole: tuple[Path, list[Row]], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, rows = whole
    file = cut(folder, tmp_path / "cut", 2000)
    assert read(bag_file(file)) == rows[: len(read(file))]
    assert len(read(file)) >= MESSAGES_PER_CHUNK
    assert "was cut off and is repaired" in caplog.text


def test_what_a_repair_cuts_away_is_put_aside(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    file = cut(whole[0], tmp_path / "cut", 2000)
    with file.open("rb") as stream:
        end = scan(stream).end
    torn = file.read_bytes()[end:]
    assert repair_bag(file).num_cut_bytes == len(torn) > 0
    assert file.with_name("bag.mcap.torn").read_bytes() == torn
    assert mcap_files(file.parent) == [file]


def test_a_bag_without_a_whole_chunk_is_said_to_hold_nothing_and_left_as_it_is(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    file = cut(whole[0], tmp_path / "cut", 120)
    with pytest.raises(ValueError, match="before its first whole chunk"):
        bag_file(file)
    assert file.stat().st_size == 120


def test_a_bag_that_is_being_recorded_is_not_touched(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    file = cut(whole[0], tmp_path / "cut", 2000)
    before = file.read_bytes()
    with file.open("r+b") as recorder:
        fcntl.flock(recorder, fcntl.LOCK_EX)
        for opening in (repair_bag, bag_file):
            with pytest.raises(ValueError, match="is being recorded at this moment"):
                opening(file)
    assert file.read_bytes() == before
    assert not repair_bag(file).was_whole


def test_the_unfinished_bag_of_another_recorder_is_repaired_only_when_asked(whole: tuple[Path, list[Row]], tmp_path: Path) -> None:
    file = cut(whole[0], tmp_path / "cut", 2000)
    file.write_bytes(file.read_bytes().replace(b"rosbags-", b"libmcap-"))
    with pytest.raises(ValueError, match=r"its recorder \(libmcap-.*may still be at work"):
        bag_file(file)
    assert main(["repair", str(file)]) == 0
    assert len(read(bag_file(file))) >= MESSAGES_PER_CHUNK


def test_a_damaged_chunk_costs_its_own_messages_only(tmp_path: Path) -> None:
    rows = write(tmp_path / "bag", is_compressed=True)
    file = tmp_path / "bag" / "bag.mcap"
    with file.open("rb") as stream:
        content = scan(stream)
    data = bytearray(file.read_bytes()[: content.end])
    middle = content.chunks[4].chunk_start_offset + content.chunks[4].chunk_length - 20
    data[middle : middle + 8] = b"\xff" * 8
    file.write_bytes(data)
    done = repair_bag(tmp_path / "bag")
    left = rows[: 4 * MESSAGES_PER_CHUNK] + rows[5 * MESSAGES_PER_CHUNK :]
    assert (done.num_damaged_chunks, read(tmp_path / "bag")) == (1, left)


def test_the_command_says_what_it_did(whole: tuple[Path, list[Row]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = cut(whole[0], tmp_path / "cut", 2000)
    assert main(["repair", str(file.parent)]) == 0
    assert "messages; repaired" in capsys.readouterr().out
    assert main(["repair", str(file.parent)]) == 0
    assert "it was whole" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content"), [("a.txt", b"words"), ("a.mcap", b"words, not records"), ("a.db3", b"SQLite")])
def test_what_is_no_mcap_bag_is_said_and_left_alone(tmp_path: Path, capsys, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["repair", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == content
    assert mcap_files(tmp_path / "nothing") == []

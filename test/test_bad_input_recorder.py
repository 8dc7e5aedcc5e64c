"""A recorder that is killed, or whose disk takes no more: what was written can be read, and the status says why it ended."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from process_fixture import main_of, process
from rclpy.serialization import serialize_message
from robot_fixture import problem_of
from ros_fixture import Ros, wait_until
from rosbags.highlevel import AnyReader
from std_msgs.msg import String

from h2w_ros.episodes.bag import bag_file
from h2w_ros.nodes import topics
from h2w_ros.nodes.bag_file import BagFile
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.recorder import Recorder

NOBODY = 65534


def recorder(ros: Ros, path: Path) -> Recorder:
    return ros.add(Recorder(context=ros.context, parameter_overrides=overrides(path=str(path), topics=("words",))))


def words_in(path: Path) -> list[str]:
    with AnyReader([bag_file(path)]) as reader:
        return [reader.deserialize(raw, connection.msgtype).data for connection, _, raw in reader.messages()]


@contextmanager
def as_nobody() -> Iterator[None]:
    """This thread may touch only what everybody may; root is no user that tests of permissions can use."""
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


def test_after_kill_9_at_most_the_last_second_is_lost(ros: Ros, tmp_path: Path) -> None:
    words = ros.publisher(String, "words")
    code, named = main_of("recorder"), "topics:=[words]"
    with (
        process(ros, code, [f"path:={tmp_path / 'busy'}", named]) as busy,
        process(ros, code, [f"path:={tmp_path / 'quiet'}", named]) as quiet,
    ):
        assert wait_until(lambda: words.get_subscription_count() == 2)
        sent_s: list[float] = []
        began_s = time.monotonic()
        while time.monotonic() - began_s < 2.5:
            words.publish(String(data=f"{len(sent_s)} " + 50 * "word "))
            sent_s.append(time.monotonic())
            time.sleep(0.01)
        busy.kill()
        killed_s = time.monotonic()
        time.sleep(1.0)
        quiet.kill()
        for running in (busy, quiet):
            running.wait()
    found = [int(text.split()[0]) for text in words_in(tmp_path / "busy")]
    assert found == list(range(len(found)))
    assert len(found) >= sum(moment_s < killed_s - 1.0 for moment_s in sent_s)
    assert len(words_in(tmp_path / "quiet")) == len(sent_s), "a chunk must not wait for the next message"
    assert (tmp_path / "busy" / "metadata.yaml").is_file()


def fill(ros: Ros, words: object, problem: object) -> int:
    """Sends until the recorder's status is an error; returns how many."""
    for number in range(400):
        words.publish(String(data=f"{number} " + 5_000 * "x"))
        time.sleep(0.02)
        if problem():
            return number + 1
    raise AssertionError("the recorder did not notice that its disk is full")


def assert_readable(path: Path, num_sent: int) -> None:
    found = [int(text.split()[0]) for text in words_in(path)]
    assert found == list(range(len(found)))
    assert 10 < len(found) < num_sent


def test_a_file_that_may_not_grow_ends_the_recording_with_an_error_and_is_readable(ros: Ros, tmp_path: Path) -> None:
    diagnostics, words = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.publisher(String, "words")
    with process(ros, main_of("recorder"), [f"path:={tmp_path / 'bag'}", "topics:=[words]"], stderr=subprocess.PIPE) as running:
        assert wait_until(words.get_subscription_count)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
        num_sent = fill(ros, words, lambda: "File too large" in problem_of(diagnostics, "recorder"))
        assert_readable(tmp_path / "bag", num_sent)
        assert wait_until(lambda: words.get_subscription_count() == 0)
        running.terminate()
        assert "recording stopped" in running.communicate()[1]
        assert running.returncode == 0
    assert_readable(tmp_path / "bag", num_sent)


def test_a_full_disk_ends_the_recording_with_an_error_and_the_bag_is_readable(ros: Ros, tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        diagnostics, words = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.publisher(String, "words")
        node = recorder(ros, tmp_path / "bag")
        assert wait_until(words.get_subscription_count)
        num_sent = fill(ros, words, lambda: "No space left" in problem_of(diagnostics, "recorder"))
        assert_readable(tmp_path / "bag", num_sent)
        node.finish()
        assert_readable(tmp_path / "bag", num_sent)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_may_not_be_written_refuses_the_start_with_its_name(ros: Ros, tmp_path: Path) -> None:
    node = Recorder(context=ros.context, parameter_overrides=overrides(path=str(tmp_path / "bag")))
    with as_nobody(), pytest.raises(ValueError, match=r"recorder could not start: .*Permission denied: .*bag"):
        node.start()
    node.start()
    node.finish()
    node.destroy_node()


def test_a_permission_that_is_taken_away_while_recording_costs_no_message(ros: Ros, tmp_path: Path) -> None:
    words = ros.publisher(String, "words")
    node = recorder(ros, tmp_path / "bag")
    errors: list[str] = []
    node.get_logger().error = errors.append
    assert wait_until(words.get_subscription_count)
    for number in range(20):
        words.publish(String(data=str(number)))
    assert wait_until(lambda: node._health().values["messages"] == 20)
    with as_nobody():
        node.finish()
    assert "Permission denied" in errors[0]
    assert "h2w repair" in errors[0]
    assert words_in(tmp_path / "bag") == [str(number) for number in range(20)]


def test_a_bag_that_is_closed_while_another_thread_writes_is_whole(tmp_path: Path) -> None:
    bag, is_over = BagFile(tmp_path / "bag"), threading.Event()
    connection = bag.open_topic("words", "std_msgs/msg/String")

    def write() -> int:
        while not is_over.is_set():
            bag.write(connection, time.time_ns(), serialize_message(String(data="hello")))
            bag._close_chunk()
        return bag.num_messages

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert wait_until(lambda: bag.num_messages > 50)
        bag.close()
        is_over.set()
        num_messages = writing.result()
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.message_count == num_messages

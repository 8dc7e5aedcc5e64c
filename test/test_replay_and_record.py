"""What is replayed is what was recorded, and what is recorded can be opened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from nav_msgs.msg import Odometry
from ros_fixture import PATIENT, START_NS, EchoSession, Ros, conditions, wait_until
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import String

from h2w_ros.episodes.bag_writer import BagFormat, write_bag
from h2w_ros.episodes.recording import open_recording
from h2w_ros.nodes import topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.recorder import Recorder
from h2w_ros.nodes.replay import Replay
from h2w_ros.ros_messages import image_from_msg, stamp_to_ns

SENT = conditions(24)


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "short.mcap"
    write_bag(path, SENT, bag_format=BagFormat(jpeg_quality=None))
    return path


def replay(ros: Ros, path: Path, **parameters: object) -> Replay:
    return ros.add(Replay(context=ros.context, parameter_overrides=overrides(path=str(path), **parameters)))


def recorder(ros: Ros, path: Path, names: tuple[str, ...]) -> Recorder:
    return ros.add(Recorder(context=ros.context, parameter_overrides=overrides(path=str(path), topics=names)))


def test_a_bag_comes_out_as_it_went_in_at_any_rate_with_a_clock(ros: Ros, bag: Path) -> None:
    images, odometry, clock = ros.collect(ImageMsg, topics.IMAGE), ros.collect(Odometry, topics.ODOMETRY), ros.collect(Clock, topics.CLOCK)
    began_s = time.monotonic()
    node = replay(ros, bag, rate=4.0)
    assert wait_until(lambda: node.is_done)
    assert time.monotonic() - began_s > 23 / 16 / 4
    assert wait_until(lambda: len(images) == len(odometry) == 24)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in SENT]
    assert np.array_equal(image_from_msg(images[7]), SENT[7].image)
    assert wait_until(lambda: stamp_to_ns(clock[-1].clock) == SENT[-1].stamp_ns)
    times_ns = [stamp_to_ns(msg.clock) for msg in clock]
    assert times_ns == sorted(times_ns)


def test_a_replay_can_loop(ros: Ros, bag: Path) -> None:
    odometry = ros.collect(Odometry, topics.ODOMETRY)
    node = replay(ros, bag, rate=20.0, loop=True)
    assert wait_until(lambda: len(odometry) > 60)
    assert not node.is_done
    stamps_ns = [stamp_to_ns(msg.header.stamp) for msg in odometry]
    assert stamps_ns[24] == stamps_ns[0] == START_NS


def test_a_missing_recording_refuses_to_start(ros: Ros, tmp_path: Path) -> None:
    node = Replay(context=ros.context, parameter_overrides=overrides(path=str(tmp_path / "nothing")))
    with pytest.raises(ValueError, match="replay could not start"):
        node.start()
    node.destroy_node()


def test_a_bag_without_what_a_replay_needs_is_refused_with_the_topics_that_it_has(ros: Ros, tmp_path: Path) -> None:
    path = tmp_path / "odometry_only"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/wheels/odometry", "nav_msgs/msg/Odometry", typestore=get_typestore(Stores.ROS2_JAZZY))
    node = Replay(context=ros.context, parameter_overrides=overrides(path=str(path)))
    with pytest.raises(ValueError, match=r"it lacks image .*it lacks hands .*The bag holds /wheels/odometry \(nav_msgs/msg/Odometry\)"):
        node.start()
    node.destroy_node()


def test_a_recording_of_a_replay_is_the_same_recording(ros: Ros, bag: Path, tmp_path: Path) -> None:
    names = (topics.IMAGE, topics.CAMERA_INFO, topics.ODOMETRY, topics.HANDS)
    node = recorder(ros, tmp_path / "again", names)
    player = replay(ros, bag, rate=4.0, wait_for_listeners_s=10.0)
    assert wait_until(lambda: player.is_done)
    time.sleep(0.3)
    node.finish()
    again = list(open_recording(tmp_path / "again").conditions())
    assert [c.stamp_ns for c in again] == [c.stamp_ns for c in SENT]
    for ours, original in zip(again, SENT, strict=True):
        assert np.array_equal(ours.image, original.image)
        assert ours.T_world_camera == pytest.approx(original.T_world_camera)
        assert ours.hands[0].joint_angles_rad == pytest.approx(original.hands[0].joint_angles_rad)


def test_topics_that_cannot_be_recorded_are_named_and_the_rest_is_recorded(ros: Ros, tmp_path: Path) -> None:
    node = recorder(ros, tmp_path / "bag", ("words", "missing"))
    words = ros.publisher(String, "words")
    assert wait_until(words.get_subscription_count)
    words.publish(String(data="hello"))
    assert wait_until(lambda: node._health().values["messages"] == 1)
    assert node._health().values["not_seen"] == "/missing"
    node.finish()
    with AnyReader([tmp_path / "bag"]) as reader:
        assert [reader.deserialize(raw, c.msgtype).data for c, _, raw in reader.messages()] == ["hello"]


def test_a_recording_is_never_overwritten(ros: Ros, tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    node = Recorder(context=ros.context, parameter_overrides=overrides(path=str(tmp_path / "bag")))
    with pytest.raises(ValueError, match="recorder could not start"):
        node.start()
    node.destroy_node()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_whole_bag(ros: Ros, tmp_path: Path, number: signal.Signals) -> None:
    arguments = ["--ros-args", "-p", f"path:={tmp_path / 'bag'}", "-p", "topics:=[words]"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from h2w_ros.nodes.recorder import main; raise SystemExit(main())", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(ros.domain)},
    )
    try:
        words = ros.publisher(String, "words")
        assert wait_until(words.get_subscription_count, 30.0)
        for number_sent in range(50):
            words.publish(String(data=str(number_sent)))
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(15.0) == 0
    finally:
        process.kill()
        process.wait()
    with AnyReader([tmp_path / "bag"]) as reader:
        assert [reader.deserialize(raw, c.msgtype).data for c, _, raw in reader.messages()] == [str(k) for k in range(50)]


def test_a_replayed_bag_is_answered_frame_by_frame(ros: Ros, bag: Path) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    for node in compose(lambda config: EchoSession(), context=ros.context, parameter_overrides=overrides(**PATIENT, inbox_length=50)):
        ros.add(node)
    player = replay(ros, bag, rate=1.0, wait_for_listeners_s=10.0)
    assert wait_until(lambda: player.is_done)
    assert wait_until(lambda: len(images) == 24)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in SENT]

"""Messages that are larger or faster than a node can take: queues stay short, what is too much is dropped and counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import HistoryPolicy
from robot_fixture import OPTICAL, Robot, conditioner, generator, values_of
from ros_fixture import PERIOD_NS, START_NS, EchoFrame, EchoSession, Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import String

from h2w_ros.condition import Condition
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import bytes_field, header
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.recorder import Recorder
from h2w_ros.nodes.tracker_bridge import TrackerBridge

LONGEST = 200


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def large_picture(number: int) -> ImageMsg:
    """12 MB."""
    msg = ImageMsg(header=header(START_NS + number * PERIOD_NS, OPTICAL), height=2000, width=2000, encoding="rgb8", step=6000)
    msg.data = bytes_field(np.zeros(12_000_000, np.uint8))
    return msg


def test_every_queue_of_every_node_has_an_end(ros: Ros, tmp_path) -> None:
    words = ros.publisher(String, "words")
    recorder = Recorder(context=ros.context, parameter_overrides=overrides(path=str(tmp_path / "bag"), topics=("words",)))
    nodes = [Conditioner(context=ros.context), Generator(lambda config: EchoSession(), context=ros.context), TrackerBridge(context=ros.context)]
    for node in (recorder, *nodes):
        ros.add(node)
    assert wait_until(words.get_subscription_count)
    # rclpy's own, such as /parameter_events, are deeper.
    mine = [end for node in (recorder, *nodes) for end in (*node.subscriptions, *node.publishers) if "/parameter_events" not in end.topic_name]
    ours = [end for end in mine if end.topic_name != "/rosout"]
    assert len(ours) > 15
    assert {end.qos_profile.history for end in ours} == {HistoryPolicy.KEEP_LAST}
    assert max(end.qos_profile.depth for end in ours) <= LONGEST


def test_pictures_that_no_pose_releases_are_kept_in_a_short_queue(ros: Ros) -> None:
    node = conditioner(ros)
    receive = node._inputs[topics.IMAGE].callback
    for number in range(20):
        receive(large_picture(number))
    before_mb = resident_mb()
    for number in range(20, 120):
        receive(large_picture(number))
    assert resident_mb() - before_mb < 40.0, "a hundred more pictures of 12 MB"
    assert node._timeline.dropped["image_buffer_full"] == 104


def test_a_flood_of_poses_neither_grows_a_queue_nor_keeps_pictures_from_coming(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = conditioner(ros)
    robot = Robot(ros)
    for moment in conditions(400):
        robot.send(moment)
    assert wait_until(lambda: values_of(diagnostics, "conditioner").get("conditions", "0") != "0")
    timeline = node._timeline
    assert max(len(track.samples) for track in (timeline._poses, timeline._hands, timeline._images)) <= timeline.config.buffer_length


class HeldSession(EchoSession):
    """Answers its first condition only once it may."""

    def __init__(self, frames_per_block: int = 1) -> None:
        super().__init__(frames_per_block)
        self.may_answer = Event()

    def push(self, condition: Condition) -> Sequence[EchoFrame]:
        if condition.stamp_ns >= START_NS:
            assert self.may_answer.wait(60.0)
        return super().push(condition)


@pytest.mark.parametrize("frames_per_block", [1, 4])
def test_by_default_as_many_conditions_wait_as_one_block_answers(ros: Ros, frames_per_block: int) -> None:
    session = HeldSession(frames_per_block)
    node = generator(ros, session, inbox_length=0)
    first, *others = (Moment(condition) for condition in conditions(40))
    node.accept(first)
    assert wait_until(lambda: node._worker.num_waiting == 0)
    for moment in others:
        node.accept(moment)
    assert node._worker.num_waiting == frames_per_block
    session.may_answer.set()
    assert wait_until(lambda: node._worker.num_waiting == 0)


def test_a_condition_that_was_begun_before_its_turn_keeps_it(ros: Ros) -> None:
    session = HeldSession()
    session.begins_early = True
    node = generator(ros, session, inbox_length=1)
    moments = conditions(6)
    node.accept(Moment(moments[0]))
    assert wait_until(lambda: node._worker.num_waiting == 0)
    for condition in moments[1:]:
        node.accept(Moment(condition))
    assert node._worker.num_waiting == 2, "the one that was begun, and the newest"
    session.may_answer.set()
    assert wait_until(lambda: len(session.pushed) == 3)
    assert [condition.stamp_ns for condition in session.pushed] == [moments[index].stamp_ns for index in (0, 1, 5)]
    assert session.expected == [moments[1]]
    assert node._worker.dropped["inbox_full"] == 3


def test_conditions_that_come_faster_than_they_are_answered_wait_in_a_short_inbox(ros: Ros) -> None:
    node = generator(ros, EchoSession(delay_s=0.05), inbox_length=4)
    moments = [Moment(condition) for condition in conditions(500)]
    longest, began_s = 0, time.monotonic()
    for moment in moments:
        node.accept(moment)
        longest = max(longest, node._worker.num_waiting)
    assert longest <= 4
    assert time.monotonic() - began_s < 5.0, "nobody waits for the generator"
    assert wait_until(lambda: node._worker.num_waiting == 0)
    assert wait_until(lambda: node._worker.dropped["inbox_full"] + node._worker.num_frames == 500)

"""Topics in; a bag out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.bag_file import BagFile
from h2w_ros.nodes.diagnostics import Diagnostics, Health
from h2w_ros.nodes.params import read, setting
from h2w_ros.nodes.types import message_class

WATCH_PERIOD_S = 0.1
QUEUE_LENGTH = 100

DEFAULT_TOPICS = (
    topics.IMAGE,
    topics.IMAGE_COMPRESSED,
    topics.CAMERA_INFO,
    topics.ODOMETRY,
    topics.HANDS,
    topics.READY_MADE_HANDS,
    topics.READY_MADE_SCENE,
    topics.SCENE_POINTS,
    topics.TF_STATIC,
    topics.HAND_RENDER,
    topics.PREDICTED_IMAGE,
    topics.PREDICTED_INFO,
    topics.PREDICTION,
    topics.DIAGNOSTICS,
)


@dataclass(frozen=True)
class RecorderConfig:
    """What is recorded, and where to."""

    path: str = setting("recording", "folder of the new bag; it must not exist yet")
    topics: tuple[str, ...] = setting(DEFAULT_TOPICS, "names of the topics to record; those that appear later are found")


class Recorder(lifecycle.ManagedNode):
    """Writes topics to a rosbag2 folder as they appear, byte for byte; the bag is whole when the node finishes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("recorder", (RecorderConfig,), **kwargs)
        self._bag: BagFile | None = None
        self._inputs: dict[str, Any] = {}
        self._diagnostics = Diagnostics(self, self._health)
        self._timer = self.create_timer(WATCH_PERIOD_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def set_up(self) -> None:
        """Opens the bag."""
        self._config = read(self, RecorderConfig)
        self._wanted = {self.resolve_topic_name(name) for name in self._config.topics}
        self._bag = BagFile(Path(self._config.path))

    def tear_down(self) -> None:
        """Closes the bag."""
        self._leave_all()
        if self._bag is not None:
            had_problem = bool(self._bag.problem)
            self._bag.close()
            self.get_logger().info(f"{self._bag.num_messages} messages in {self._bag.path}")
            if self._bag.problem and not had_problem:
                self.get_logger().error(self._bag.problem)
            self._bag = None

    def _leave_all(self) -> None:
        for subscription in self._inputs.values():
            self.destroy_subscription(subscription)
        self._inputs.clear()

    def _watch(self) -> None:
        """Ten times a second: hands old messages to the disk, finds new topics, ends when the disk takes no more."""
        if (bag := self._bag) is None:
            return
        bag.close_chunk_when_due()
        if bag.is_open and self.is_active:
            self._discover()
        elif bag.problem and self._inputs:
            self._leave_all()
            self.get_logger().error(bag.problem)

    def _discover(self) -> None:
        for topic, kinds in self.get_topic_names_and_types():
            if topic in self._wanted and topic not in self._inputs:
                self._record(topic, kinds[0])

    def _record(self, topic: str, kind: str) -> None:
        offers = self.get_publishers_info_by_topic(topic)
        if not offers or (bag := self._bag) is None:
            return
        try:
            connection = bag.open_topic(topic, kind, bag_qos(offers))
            kind_class = message_class(kind)
        except ValueError as error:
            self._wanted.discard(topic)
            self.get_logger().error(f"{topic} is not recorded: {error}")
            return
        write = partial(self._write, connection)
        self._inputs[topic] = self.create_subscription(kind_class, topic, write, matching_qos(offers), raw=True)

    def _write(self, connection: Any, data: bytes) -> None:
        if self.is_active and (bag := self._bag) is not None:
            bag.write(connection, self.get_clock().now().nanoseconds, data)

    def _health(self) -> Health:
        missing = sorted(self._wanted - set(self._inputs))
        gone = sorted(topic for topic in self._inputs if not self.count_publishers(topic))
        bag = self._bag
        values = {"messages": bag.num_messages if bag else 0, "topics": len(self._inputs), "not_seen": ", ".join(missing)}
        if bag is not None and bag.problem:
            return Health(bag.problem, is_error=True, values=values)
        if not self._inputs:
            return Health("none of the topics is there yet", values=values)
        return Health(f"nobody publishes any more: {', '.join(gone)}" if gone else "", values=values)


def matching_qos(offers: list[TopicEndpointInfo]) -> QoSProfile:
    """The strongest profile that every present publisher still satisfies."""
    profiles = [offer.qos_profile for offer in offers]
    is_reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    is_latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    return QoSProfile(
        depth=QUEUE_LENGTH,
        reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE,
    )


def bag_qos(offers: list[TopicEndpointInfo]) -> Qos:
    """The same, as a bag notes it for its replay."""
    profile = matching_qos(offers)
    is_reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    is_latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    forever = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        QUEUE_LENGTH,
        QosReliability.RELIABLE if is_reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )


def main(args: list[str] | None = None) -> int:
    """Executable `recorder`."""
    return lifecycle.main(lambda: [Recorder()], args)

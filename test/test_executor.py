"""The executor that looks after the middleware's events once a second."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.event_handler import EventHandler, PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_fixture import Ros, wait_until
from std_msgs.msg import String

from h2w_ros.nodes import executor as module
from h2w_ros.nodes.executor import FrugalExecutor

SHYLY, SURELY = (QoSProfile(depth=1, reliability=policy) for policy in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE))


@pytest.fixture
def node(ros: Ros) -> Iterator[Node]:
    node = Node("talker", context=ros.context)
    yield node
    node.destroy_node()


@pytest.fixture
def executor(ros: Ros, node: Node) -> Iterator[FrugalExecutor]:
    executor = FrugalExecutor(context=ros.context)
    executor.add_node(node)
    yield executor
    executor.shutdown()


def events_in_the_next_wait(executor: FrugalExecutor, timeout_s: float | None = 0.0) -> int:
    """How many events the next cycle looks at."""
    looked_at: list[Any] = []
    judge = executor.can_execute
    executor.can_execute = lambda entity: judge(entity) and not looked_at.append(entity)  # type: ignore[method-assign]
    executor.spin_once(timeout_sec=timeout_s)
    executor.can_execute = judge  # type: ignore[method-assign]
    return sum(isinstance(entity, EventHandler) for entity in looked_at)


def test_a_subscriber_that_can_hear_nothing_is_noticed_by_a_busy_node(ros: Ros, executor: FrugalExecutor, node: Node) -> None:
    noticed: list[Any] = []
    node.create_publisher(String, "words", SHYLY, event_callbacks=PublisherEventCallbacks(incompatible_qos=noticed.append))
    ros.node.create_subscription(String, "words", lambda _: None, SURELY)
    node.create_timer(0.0001, lambda: None)  # there is always something else to do
    assert wait_until(lambda: executor.spin_once(timeout_sec=0.01) or bool(noticed))


def test_events_are_looked_at_once_in_a_period_however_often_it_wakes(executor: FrugalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_PERIOD_S", math.inf)
    looks = [events_in_the_next_wait(executor) for _ in range(5)]
    assert looks[0] > 0
    assert not any(looks[1:])


@pytest.mark.parametrize("timeout_s", [None, -1.0, 60.0])
def test_who_may_wait_longer_waits_for_events_too(executor: FrugalExecutor, node: Node, timeout_s: float | None) -> None:
    node.create_timer(0.01, lambda: None)
    assert all(events_in_the_next_wait(executor, timeout_s) for _ in range(3))


def test_messages_and_timers_are_waited_for_in_every_cycle(ros: Ros, executor: FrugalExecutor, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_PERIOD_S", math.inf)
    heard: list[str] = []
    ticks: list[None] = []
    node.create_subscription(String, "words", lambda msg: heard.append(msg.data), SURELY)
    node.create_timer(0.01, lambda: ticks.append(None))
    talker = ros.publisher(String, "words", SURELY)
    assert wait_until(lambda: executor.spin_once(timeout_sec=0.01) or talker.get_subscription_count() > 0)
    for number in range(3):
        talker.publish(String(data=str(number)))
        assert wait_until(lambda: executor.spin_once(timeout_sec=0.01) or bool(heard and heard[-1] == str(number)))  # noqa: B023  used at once
    assert wait_until(lambda: executor.spin_once(timeout_sec=0.01) or len(ticks) > 3)

"""Two robots on one machine, simulated time, other qualities of service: what an integrator changes without changing code."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import ReliabilityPolicy
from robot_fixture import Robot, conditioner, values_of
from ros_fixture import PATIENT, START_NS, EchoSession, Ros, conditions, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.condition import Condition
from h2w_ros.nodes import topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import stamp_from_ns
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import stamp_to_ns

NAMES = ("alice", "bob")


def stack(ros: Ros, name: str) -> EchoSession:
    """Conditioner and generator of one robot."""
    session = EchoSession()
    patient = {key.replace("qos_overrides./", f"qos_overrides./{name}/"): value for key, value in PATIENT.items()}
    for node in compose(lambda config: session, context=ros.context, namespace=name, parameter_overrides=overrides(**patient, inbox_length=50)):
        ros.add(node)
    return session


def test_two_robots_on_one_machine_do_not_hear_each_other(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    images = {name: ros.collect(ImageMsg, f"{name}/{topics.PREDICTED_IMAGE}") for name in NAMES}
    sessions = {name: stack(ros, name) for name in NAMES}
    robots = {name: Robot(ros, namespace=f"{name}/") for name in NAMES}
    sent: dict[str, list[Condition]] = {"alice": conditions(6), "bob": conditions(9, START_NS + 5_000_000)}
    for name, robot in robots.items():
        robot.play(sent[name])
    for name in NAMES:
        assert wait_until(lambda name=name: len(images[name]) == len(sent[name]))
        assert [stamp_to_ns(msg.header.stamp) for msg in images[name]] == [condition.stamp_ns for condition in sent[name]]
        assert [condition.stamp_ns for condition in sessions[name].pushed] == [condition.stamp_ns for condition in sent[name]]
        assert wait_until(lambda name=name: values_of(diagnostics, f"{name}/conditioner").get("conditions") == str(len(sent[name])))


def test_under_simulated_time_status_follows_the_clock_and_silence_is_said_without_one(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros, use_sim_time=True)
    assert wait_until(lambda: bool(diagnostics))
    assert stamp_to_ns(diagnostics[0].header.stamp) == 0
    clock = ros.publisher(Clock, topics.CLOCK)
    assert wait_until(clock.get_subscription_count)
    clock.publish(Clock(clock=stamp_from_ns(START_NS)))
    assert wait_until(lambda: stamp_to_ns(diagnostics[-1].header.stamp) == START_NS)


def test_quality_of_service_can_be_changed_by_parameters(ros: Ros) -> None:
    def qualities(topic: str, **changes: Any) -> set[ReliabilityPolicy]:
        node = ros.add(Generator(lambda config: EchoSession(), context=ros.context, parameter_overrides=overrides(**changes)))
        found = node.get_publishers_info_by_topic(topic) + node.get_subscriptions_info_by_topic(topic)
        ros.remove(node)
        return {info.qos_profile.reliability for info in found}

    assert qualities("/predicted/image_raw") == {ReliabilityPolicy.RELIABLE}
    assert qualities("/predicted/image_raw", **{"qos_overrides./predicted/image_raw.publisher.reliability": "best_effort"}) == {
        ReliabilityPolicy.BEST_EFFORT
    }
    assert qualities("/condition", **{"qos_overrides./condition.subscription.reliability": "best_effort"}) == {ReliabilityPolicy.BEST_EFFORT}
    assert qualities("/predicted/image_raw") == {ReliabilityPolicy.RELIABLE}  # one node's choice is not the next one's
    assert qualities("/condition") == {ReliabilityPolicy.RELIABLE}

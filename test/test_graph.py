"""Conditioner and generator together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import Robot, call_reset, conditioner, generator, problem_of
from ros_fixture import PATIENT, EchoSession, Ros, conditions, picture, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.condition import Camera
from h2w_ros.nodes import graph, topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.graph import domains_in_use, private_domain
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import stamp_to_ns


def test_both_nodes_in_one_process_hand_conditions_over_without_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    for node in compose(lambda config: session, context=ros.context, parameter_overrides=overrides(**PATIENT, inbox_length=50)):
        ros.add(node)
    sent = conditions(8)
    Robot(ros).play(sent)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert ros.node.count_subscribers(f"/{topics.CONDITION}") == 0


def test_nodes_apart_answer_the_same_moments_over_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    generator(ros, session)
    conditioner(ros)
    sent = conditions(8)
    Robot(ros).play(sent, period_s=0.04)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert all(np.array_equal(ours.image, original.image) for ours, original in zip(session.pushed, sent, strict=True))


def test_a_camera_that_is_exchanged_in_mid_session_is_an_error_until_the_next_start(ros: Ros) -> None:
    diagnostics, images = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    for node in compose(lambda config: EchoSession(), context=ros.context, parameter_overrides=overrides(**PATIENT, inbox_length=50)):
        ros.add(node)
    robot, sent = Robot(ros), conditions(24)
    robot.play(sent[:6])
    assert wait_until(lambda: len(images) == 6)
    larger = Camera(80, 60, 75.0, 76.0, 41.0, 29.0)
    other = [replace(condition, camera=larger, image=picture(k, larger)) for k, condition in enumerate(sent)]
    robot.play(other[6:12])
    assert wait_until(lambda: "the camera changed: pictures of 64x48 became 80x60" in problem_of(diagnostics, "generator"))
    assert len(images) == 6
    assert call_reset(ros, seed=0, use_camera_image=True).accepted
    robot.play(other[12:18])
    assert wait_until(lambda: images and stamp_to_ns(images[-1].header.stamp) == sent[17].stamp_ns)
    assert wait_until(lambda: problem_of(diagnostics, "generator") == "")


def test_a_private_domain_is_one_that_nobody_is_in(ros: Ros, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ros.domain in domains_in_use()
    monkeypatch.setattr(graph, "NUM_PRIVATE_DOMAINS", ros.domain)
    taken = domains_in_use()
    for _ in range(20):
        assert private_domain() != ros.domain or taken.issuperset(range(1, ros.domain))
    assert domains_in_use(tmp_path / "no such list") == set()

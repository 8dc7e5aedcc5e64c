"""Nodes that are killed with -9: the others say so, and go on when they are back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from process_fixture import ECHO_GENERATOR, main_of, process
from robot_fixture import Robot, message_of
from ros_fixture import Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.nodes import topics


@contextmanager
def playing(robot: Robot) -> Iterator[None]:
    """The robot goes on publishing meanwhile, at the generator's own rate."""
    stop = threading.Event()

    def play() -> None:
        for condition in conditions(3000):
            robot.send(condition)
            if stop.wait(1 / 16):
                return

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_when_one_node_is_killed_the_other_says_so_and_goes_on_when_it_is_back(ros: Ros) -> None:
    diagnostics, images = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(ImageMsg, topics.PREDICTED_IMAGE)

    def says(node: str, text: str) -> bool:
        return wait_until(lambda: text in message_of(diagnostics, node))

    def goes_on() -> bool:
        num_before = len(images)
        return wait_until(lambda: len(images) > num_before + 10)

    conditioner = main_of("conditioner")
    with process(ros, conditioner) as first_conditioner, process(ros, ECHO_GENERATOR) as first_generator, playing(Robot(ros)):
        assert goes_on()
        first_generator.kill()
        killed_s = time.monotonic()
        assert says("conditioner", "nobody hears /condition any more: the generator has ended")
        assert time.monotonic() - killed_s < 9.0
        with process(ros, ECHO_GENERATOR):
            assert goes_on()
            assert says("conditioner", "ok")
            first_conditioner.kill()
            assert says("generator", "on /condition: no predictions")
            with process(ros, conditioner):
                assert goes_on()
                assert says("generator", "ok")

"""What ROS costs can be measured, and stays small: bounds are loose, for machines that run tests are busy."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fixture import Ros
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.nodes import topics
from h2w_ros.nodes.idle import measure_idle
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.overhead import between_processes, picture


def median_ms(call: Callable[[], object], repeats: int = 9) -> float:
    times_s = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - began_s)
    return 1e3 * float(np.median(times_s))


def test_publishing_a_picture_looks_at_no_element(ros: Ros) -> None:
    publisher = ros.publisher(ImageMsg, "pictures", topics.RESULT_OUT)
    element_by_element_ms = median_ms(lambda: setattr(ImageMsg(), "data", picture().ravel()), repeats=3)
    assert median_ms(lambda: publisher.publish(image_to_msg(picture(), 0, ""))) < element_by_element_ms / 10


@pytest.mark.slow
def test_in_one_process_ros_adds_milliseconds() -> None:
    # In a process of its own: the tests' type checks take longer than ROS.
    code = "from h2w_ros.nodes.overhead import in_one_process; print(*in_one_process(60))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    times_ms = [float(word) for word in done.stdout.split()]
    assert len(times_ms) > 40, "most pictures come before what completes their moments"
    assert 0.0 < min(times_ms) < 5.0  # the median is 3 ms on a machine that does nothing else; `h2w bench --ros`


@pytest.mark.slow
def test_between_processes_every_moment_is_answered() -> None:
    times_ms = between_processes(20)
    assert len(times_ms) == 20
    assert np.median(times_ms) < 200.0


@pytest.mark.slow
def test_idle_nodes_leave_the_processor_alone() -> None:
    nodes = ("conditioner", "recorder")
    found = measure_idle(nodes=nodes, settle_s=6.0, idle_s=3.0)
    assert set(found) == set(nodes)
    assert all(0.0 < percent < 50.0 for percent in found.values()), found  # a loop that never waits takes 100; the figure: `h2w bench --ros`

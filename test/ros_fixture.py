"""Real ROS for tests: a context and a domain of their own, an executor that spins in the background."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before rclpy loads the middleware: nothing leaves this machine.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "h2w_test_logs"))

import cv2
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.task import Future

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.geometry import transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.executor import FrugalExecutor
from h2w_ros.nodes.graph import private_domain

CAMERA = Camera(64, 48, 60.0, 61.0, 33.0, 23.0)
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 62_500_000


def reliable(*names: str) -> dict[str, object]:
    """Parameters of a node that is to lose nothing of these topics."""
    policies = (("reliability", "reliable"), ("depth", 50))
    return {f"qos_overrides./{topic}.subscription.{policy}": value for topic in names for policy, value in policies}


# Tests play faster than real time on a busy machine: nothing may be lost on the way, and inputs run far ahead of one another.
PATIENT = {"wait_ms": 1000.0, **reliable(topics.IMAGE, topics.IMAGE_COMPRESSED, topics.CAMERA_INFO, topics.ODOMETRY, topics.HANDS)}


class Ros:
    """One isolated ROS graph."""

    def __init__(self) -> None:
        self.context = Context()
        self.domain = private_domain()
        rclpy.init(context=self.context, domain_id=self.domain)
        self._executor = FrugalExecutor(context=self.context)
        self._nodes: list[Node] = []
        self._collected: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self.node = self.add(Node("tester", context=self.context))
        self._thread.start()

    def add(self, node: Any) -> Any:
        """Spins a node; managed ones are started."""
        if hasattr(node, "start"):
            node.start()
        self._executor.add_node(node)
        self._nodes.append(node)
        outputs = [output for output in node.publishers if output.topic_name in self._collected]
        assert wait_until(lambda: all(output.get_subscription_count() for output in outputs))
        return node

    def remove(self, node: Any) -> None:
        """Ends a node before the graph ends."""
        self._executor.remove_node(node)
        self._nodes.remove(node)
        node.finish()
        node.destroy_node()

    def collect(self, kind: type, topic: str, qos: Any = 100) -> list[Any]:
        """A list that fills with a topic's messages."""
        heard: list[Any] = []
        subscription = self.node.create_subscription(kind, topic, heard.append, qos)
        self._collected.add(subscription.topic_name)
        self._executor.wake()
        return heard

    def publisher(self, kind: type, topic: str, qos: Any = 100) -> Any:
        return self.node.create_publisher(kind, topic, qos)

    def run(self, call: Callable[[], Any]) -> Future:
        """A call between two callbacks, in the thread that spins."""
        return self._executor.create_task(call)

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for node in reversed(self._nodes):
            if hasattr(node, "finish"):
                node.finish()
            node.destroy_node()
        self._executor.shutdown()
        rclpy.shutdown(context=self.context)


@contextmanager
def ros_graph() -> Iterator[Ros]:
    ros = Ros()
    try:
        yield ros
    finally:
        ros.close()


def wait_until(is_met: Callable[[], Any], timeout_s: float = 30.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not is_met():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def picture(number: int, camera: Camera = CAMERA) -> np.ndarray:
    rng = np.random.default_rng(number)
    return rng.integers(0, 255, (camera.height_px, camera.width_px, 3), dtype=np.uint8)


def hand(number: int, side: str = "right") -> HandPose:
    return HandPose(side, transform(np.eye(3), np.array([0.01 * number, 0.0, 0.5])), np.full(45, 0.01 * number), np.zeros(10))


def conditions(num_frames: int, start_ns: int = START_NS) -> list[Condition]:
    """A head that walks along x and looks at its right hand."""
    return [
        Condition(start_ns + k * PERIOD_NS, CAMERA, transform(np.eye(3), np.array([0.002 * k, 0.0, 0.0])), hands=(hand(k),), image=picture(k))
        for k in range(num_frames)
    ]


ECHO_SIZE = 32, 24  # width and height of the stand-in's pictures, whatever the camera's


class EchoFrame:
    """A frame whose picture says which condition it answers."""

    def __init__(self, index: int, condition: Condition) -> None:
        self.index, self.stamp_ns, self.is_reference = index, condition.stamp_ns, index == 0
        self.image = np.full((*ECHO_SIZE[::-1], 3), index % 256, np.uint8)


class EchoSession:
    """Stands where a session stands: one frame a condition, in blocks; remembers what it was told."""

    def __init__(self, frames_per_block: int = 1, delay_s: float = 0.0) -> None:
        self.frames_per_block, self.delay_s = frames_per_block, delay_s
        self.stages_ms = {"echo": 0.5}
        self.pushed: list[Condition] = []
        self.resets: list[tuple[Any, int]] = []
        self.observed: list[Any] = []
        self.expected: list[Condition] = []
        self.begins_early = False

    def reset(self, image: Any, seed: int) -> None:
        self.resets.append((image, seed))
        self._index, self._pending = -1, []

    def push(self, condition: Condition) -> Sequence[EchoFrame]:
        if condition.stamp_ns < START_NS:
            return []  # the worker's warm-up
        time.sleep(self.delay_s)
        self.pushed.append(condition)
        self._index += 1
        self._pending.append(EchoFrame(self._index, condition))
        if self._index and len(self._pending) < self.frames_per_block:
            return []
        ready, self._pending = self._pending, []
        return ready

    def expect(self, condition: Condition) -> bool:
        self.expected.append(condition)
        return self.begins_early

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def observe(self, image: Any) -> None:
        self.observed.append(image)

    def resized(self, picture: Any) -> Any:
        return cv2.resize(picture, ECHO_SIZE)

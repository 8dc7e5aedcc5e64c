"""What ROS costs: the nodes around a generator that answers at once, in one process and between two."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Hands
from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.geometry import transform
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator, GeneratorConfig
from h2w_ros.nodes.graph import context_in, environment_of, private_domain, spinning
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.latency import percentile_ms
from h2w_ros.nodes.live_session import Answer, PredictedFrame
from h2w_ros.nodes.messages import camera_info, hands_to_msg, odometry_to_msg
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.ros_messages import stamp_to_ns

PERIOD_NS = 62_500_000
CAMERA = Camera(672, 480, 570.0, 570.0, 336.0, 240.0)
WORLD_FRAME, OPTICAL_FRAME = "odom", "camera_optical_frame"
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
INPUTS = {topics.CAMERA_INFO: CameraInfo, topics.ODOMETRY: Odometry, topics.HANDS: Hands, topics.IMAGE: ImageMsg}
PARAMETERS = {"image_is_rectified": True, "T_child_optical": IDENTITY, "inbox_length": 50, **topics.reliable_inputs()}
NUM_MOMENTS = 120
PERCENTS = (5.0, 50.0, 95.0)
NUM_WARM_UP = 20
ANSWER_S = 2.0
PAUSE_S = 0.02
READY_S = 60.0


@dataclass(frozen=True)
class EchoFrame:
    """The picture of a condition, as if it had been predicted."""

    index: int
    stamp_ns: int
    image: Image
    is_reference: bool = False


class EchoSession:
    """Answers every condition at once with the last picture that it saw: what is left is what ROS costs."""

    stages_ms: Mapping[str, float] = {}
    frames_per_block = 1

    def __init__(self) -> None:
        self._index, self._seen = -1, picture()

    def reset(self, image: Image | None, seed: int) -> None:
        """Starts anew."""
        del image, seed
        self._index = -1

    def push(self, condition: Condition) -> Sequence[PredictedFrame]:
        """A picture a condition."""
        self._index += 1
        self._seen = self._seen if condition.image is None else condition.image
        return [EchoFrame(self._index, condition.stamp_ns, self._seen)]

    def expect(self, condition: Condition) -> bool:  # noqa: ARG002  what every session is told
        """Nothing to do."""
        return False

    def settle(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def observe(self, image: Image) -> None:
        """Nothing to do."""

    def resized(self, picture: Image) -> Image:
        """The picture as it is."""
        return picture


class Prober(Node):
    """Sends moments one by one, each a picture and then what completes it, and notes how long after it the answer comes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("prober", **kwargs)
        self._outputs = {topic: self.create_publisher(kind, topic, topics.REPLAY_OUT) for topic, kind in INPUTS.items()}
        self._arrived_s: dict[int, float] = {}
        self.create_subscription(ImageMsg, topics.PREDICTED_IMAGE, self._on_answer, QoSProfile(depth=20))

    def is_heard(self) -> bool:
        """Whether the nodes listen to everything, and are listened to."""
        return all(output.get_subscription_count() for output in self._outputs.values()) and self.count_publishers(topics.PREDICTED_IMAGE) > 0

    def probe(self, stamp_ns: int) -> float:
        """From the sending of a moment to the arrival of its answer [ms]; nan when none comes."""
        said = messages(stamp_ns)
        sent_s = time.monotonic()
        for topic, msg in said.items():
            self._outputs[topic].publish(msg)
        deadline_s = sent_s + ANSWER_S
        while stamp_ns not in self._arrived_s and time.monotonic() < deadline_s:
            time.sleep(0.0002)
        return 1e3 * (self._arrived_s.get(stamp_ns, float("nan")) - sent_s)

    def _on_answer(self, msg: ImageMsg) -> None:
        self._arrived_s[stamp_to_ns(msg.header.stamp)] = time.monotonic()


@cache
def picture() -> Image:
    """Noise: nothing on the way can make it smaller."""
    return np.random.default_rng(0).integers(0, 255, (CAMERA.height_px, CAMERA.width_px, 3), dtype=np.uint8)


def messages(stamp_ns: int) -> dict[str, Any]:
    """A whole moment, in the order in which it is sent."""
    hand = HandPose("right", transform(np.eye(3), np.array([0.0, 0.0, 0.5])), np.zeros(45), np.zeros(10))
    return {
        topics.CAMERA_INFO: camera_info(CAMERA, stamp_ns, OPTICAL_FRAME),
        topics.IMAGE: image_to_msg(picture(), stamp_ns, OPTICAL_FRAME),
        topics.ODOMETRY: odometry_to_msg(np.eye(4), stamp_ns, WORLD_FRAME, OPTICAL_FRAME),
        topics.HANDS: hands_to_msg((hand,), stamp_ns, WORLD_FRAME),
    }


def echoing(_: GeneratorConfig) -> EchoSession:
    """Stands where a model is loaded."""
    return EchoSession()


class _TimedConditioner(Conditioner):
    """Notes when a picture comes in."""

    def __init__(self, came_s: dict[int, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._came_s = came_s

    def _on_image(self, msg: ImageMsg) -> None:
        self._came_s[stamp_to_ns(msg.header.stamp)] = time.monotonic()
        super()._on_image(msg)


class _TimedGenerator(Generator):
    """Notes when a picture has gone out."""

    def __init__(self, gone_s: dict[int, float], **kwargs: Any) -> None:
        super().__init__(echoing, listens=False, **kwargs)
        self._gone_s = gone_s

    def _publish(self, answers: list[Answer]) -> None:
        super()._publish(answers)
        self._gone_s.update({answer.frame.stamp_ns: time.monotonic() for answer in answers})


def in_one_process(num_moments: int = NUM_MOMENTS) -> list[float]:
    """From a picture's message in the conditioner to its answer handed to the middleware [ms].

    A moment that was answered before its picture came, which small messages can overtake, tells nothing and is left out.
    """
    make_room_for_pictures()
    came_s: dict[int, float] = {}
    gone_s: dict[int, float] = {}
    with context_in(private_domain()) as context:
        settings = {"context": context, "parameter_overrides": overrides(**PARAMETERS)}
        generator = _TimedGenerator(gone_s, **settings)
        conditioner = _TimedConditioner(came_s, on_moment=generator.accept, **settings)
        prober = Prober(context=context)
        with spinning([generator, conditioner, prober]):
            for node in (generator, conditioner):
                node.start()
            probed = _probe_all(prober, num_moments)
            for node in (conditioner, generator):
                node.finish()
    times_ms = (1e3 * (gone_s[stamp_ns] - came_s[stamp_ns]) for stamp_ns in probed)
    return [time_ms for time_ms in times_ms if time_ms > 0.0]


def between_processes(num_moments: int = NUM_MOMENTS) -> list[float]:
    """From the sending of a picture in one process to the arrival of its answer from another, of every moment [ms]."""
    make_room_for_pictures()
    domain = private_domain()
    given = {name: str(value).lower() for name, value in PARAMETERS.items()} | {"T_child_optical": str(list(IDENTITY))}
    arguments = ["--ros-args", *(word for name, value in given.items() for word in ("-p", f"{name}:={value}"))]
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        stack.enter_context(NodeProcess(__name__, arguments, environment_of(domain), Path(folder) / "echo.log"))
        prober = Prober(context=stack.enter_context(context_in(domain)))
        stack.enter_context(spinning([prober]))
        return list(_probe_all(prober, num_moments).values())


def _probe_all(prober: Prober, num_moments: int) -> dict[int, float]:
    """Moments that were answered, by stamp [ms], one after the other; those of the warm-up apart. TimeoutError when nobody listens."""
    deadline_s = time.monotonic() + READY_S
    while not prober.is_heard():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the nodes did not come up within {READY_S:.0f} s")
        time.sleep(0.05)
    stamps_ns = time.time_ns() + PERIOD_NS * np.arange(NUM_WARM_UP + num_moments)
    times_ms = {}
    for stamp_ns in stamps_ns.tolist():
        times_ms[stamp_ns] = prober.probe(stamp_ns)
        time.sleep(PAUSE_S)
    # The first moments may be lost: what both ends have said to be there is not yet joined.
    return {stamp_ns: times_ms[stamp_ns] for stamp_ns in stamps_ns[NUM_WARM_UP:].tolist() if not np.isnan(times_ms[stamp_ns])}


def measure_overhead(num_moments: int = NUM_MOMENTS) -> dict[str, float]:
    """Percentiles of both ways [ms]; the fifth is what it takes while no other process wants the processor."""
    ways = {"in_one_process": in_one_process(num_moments), "between_processes": between_processes(num_moments)}
    return {f"ros_{way}_ms_p{percent:.0f}": round(percentile_ms(times, percent), 2) for way, times in ways.items() for percent in PERCENTS}


def main(args: list[str] | None = None) -> int:
    """Conditioner and generator around a session that answers at once, until Ctrl-C."""
    return lifecycle.main(lambda: compose(echoing), args)

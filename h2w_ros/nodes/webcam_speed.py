"""How late and how often `hand_tracker` answers: a video is sent to it as a webcam would send it, picture by picture, at a webcam's rate."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, cycle, islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Hands
from h2w_ros.annotate.mediapipe_env import mediapipe_python
from h2w_ros.condition import Image
from h2w_ros.nodes import topics
from h2w_ros.nodes.graph import context_in, environment_of, private_domain, spinning
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.latency import percentile_ms
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.ros_messages import stamp_to_ns
from h2w_ros.video import read_video

FRAME = "webcam"
READY_S, LAST_ANSWER_S = 60.0, 2.0
PERCENTS = (5.0, 50.0, 95.0)


@dataclass(frozen=True)
class WebcamPlan:
    """A video, sent back and forth for so many pictures at this rate; the lens sees `view_deg` across."""

    video: Path
    num_pictures: int = 300
    rate_hz: float = 30.0
    view_deg: float = 65.0

    def __post_init__(self) -> None:
        if self.num_pictures < 2 or not self.rate_hz > 0.0:
            raise ValueError(f"num_pictures must be at least 2 and rate_hz positive, got {self.num_pictures} and {self.rate_hz}")


class Webcam(Node):
    """Sends pictures, and notes when and with how many hands each was answered."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("webcam", **kwargs)
        self._pictures = self.create_publisher(ImageMsg, topics.IMAGE, topics.REPLAY_OUT)
        self.create_subscription(Hands, topics.HANDS, self._on_hands, topics.RESULT_OUT)
        self.answers: dict[int, tuple[float, int]] = {}

    def is_heard(self) -> bool:
        """Whether the tracker listens, and is listened to."""
        return self._pictures.get_subscription_count() > 0 and self.count_publishers(topics.HANDS) > 0

    def send(self, picture: Image, stamp_ns: int) -> float:
        """When the picture was sent [s]."""
        msg = image_to_msg(picture, stamp_ns, FRAME)
        sent_s = time.monotonic()
        self._pictures.publish(msg)
        return sent_s

    def _on_hands(self, msg: Hands) -> None:
        self.answers[stamp_to_ns(msg.header.stamp)] = (time.monotonic(), len(msg.hands))


def measure_webcam(plan: WebcamPlan) -> dict[str, Any]:
    """Answers a second, the latencies of those [ms], and shares of pictures answered and of answers with a hand. TimeoutError when none comes."""
    make_room_for_pictures()
    mediapipe_python()  # its environment is set up before the clock runs
    forth = list(read_video(plan.video))
    pictures = islice(cycle(chain(forth, forth[-2:0:-1])), plan.num_pictures)  # no leap at the end, which no webcam shows
    domain = private_domain()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        arguments = ["--ros-args", "-p", f"view_deg:={plan.view_deg}"]
        tracker = stack.enter_context(NodeProcess("h2w_ros.nodes.hand_tracker", arguments, environment_of(domain), folder / "tracker.log"))
        webcam = Webcam(context=stack.enter_context(context_in(domain)))
        stack.enter_context(spinning([webcam]))
        _warm_up(webcam, tracker, forth[0])
        sent_s = _send_all(webcam, pictures, plan)
        time.sleep(LAST_ANSWER_S)
        tracker.check()
    return report(sent_s, webcam.answers, plan)


def _warm_up(webcam: Webcam, tracker: NodeProcess, picture: Image) -> None:
    """Until the first picture is answered: networks load meanwhile."""
    deadline_s, stamp_ns = time.monotonic() + READY_S, 0
    while not webcam.answers:
        tracker.check()
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"hand_tracker answered no picture within {READY_S:.0f} s")
        stamp_ns += 1
        if webcam.is_heard():
            webcam.send(picture, stamp_ns)
        time.sleep(0.1)


def _send_all(webcam: Webcam, pictures: Any, plan: WebcamPlan) -> dict[int, float]:
    sent_s: dict[int, float] = {}
    begin_ns, begin_s = time.time_ns(), time.monotonic()
    for index, picture in enumerate(pictures):
        time.sleep(max(begin_s + index / plan.rate_hz - time.monotonic(), 0.0))
        stamp_ns = begin_ns + round(index * 1e9 / plan.rate_hz)
        sent_s[stamp_ns] = webcam.send(picture, stamp_ns)
    return sent_s


def report(sent_s: dict[int, float], answers: dict[int, tuple[float, int]], plan: WebcamPlan) -> dict[str, Any]:
    """What the notes say."""
    answered = {stamp_ns: answers[stamp_ns] for stamp_ns in sent_s if stamp_ns in answers}
    if len(answered) < 2:
        raise TimeoutError(f"hand_tracker answered {len(answered)} of {len(sent_s)} pictures")
    latencies_ms = [1e3 * (arrived_s - sent_s[stamp_ns]) for stamp_ns, (arrived_s, _) in answered.items()]
    times_s = sorted(arrived_s for arrived_s, _ in answered.values())
    return {
        "pictures_a_second": plan.rate_hz,
        "answers_a_second": round((len(times_s) - 1) / (times_s[-1] - times_s[0]), 1),
        "answered": round(len(answered) / len(sent_s), 3),
        "with_a_hand": round(sum(num_hands > 0 for _, num_hands in answered.values()) / len(answered), 3),
        "longest_pause_ms": round(1e3 * max(b - a for a, b in pairwise(times_s)), 1),
        **{f"latency_ms_p{percent:.0f}": round(percentile_ms(latencies_ms, percent), 1) for percent in PERCENTS},
    }

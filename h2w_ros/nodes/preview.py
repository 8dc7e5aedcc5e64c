"""The preview page on a robot: its live session in the browser, beside photos to reach into."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from std_srvs.srv import Trigger

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Prediction
from h2w_msgs.srv import ResetSession
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.diagnostics import Diagnostics, Health
from h2w_ros.nodes.messages import condition_from_msg
from h2w_ros.nodes.params import read, setting
from h2w_ros.ros_messages import NS_PER_S, image_from_msg, stamp_to_ns
from h2w_ros.web.generator_process import GeneratorProcess
from h2w_ros.web.live import LiveHub
from h2w_ros.web.scenes import Scene, shipped_scenes
from h2w_ros.web.server import PageConfig, PageServer
from h2w_ros.web.skeleton import Skeleton, skeletons

LOOK_S = 0.25
"""How often it is looked whether somebody watches, and how the session is."""
SILENT_S = 3.0
"""Diagnostics come once a second; a node that is silent for longer is taken to be gone."""
ANSWER_S = 5.0
NUM_KEPT = 64
FACTS = {
    "model": "Model",
    "frames": "Frames",
    "latency_ms.p50": "Latency, median ms",
    "latency_ms.p95": "Latency, p95 ms",
    "groundings": "Groundings",
}


@dataclass(frozen=True)
class PreviewConfig:
    """Where the page is served, and which model answers in its photos."""

    model: str = setting("tiny", "model for photos: a name in the models folder, or a checkpoint's path")
    host: str = setting("127.0.0.1", "address to listen at; on any but this machine's own, visitors need the token")
    port: int = setting(8765, "port of the page; 0 takes any free one", 0, 65535)
    token: str = setting("", "what visitors from elsewhere must know; empty: a fresh one, which is logged")

    def page(self) -> PageConfig:
        """What concerns the page; ValueError when it makes no sense."""
        return PageConfig(self.host, self.port, self.token)

    def __post_init__(self) -> None:
        self.page()


@dataclass
class Report:
    """A node's last diagnostics, and when they came."""

    level: int
    message: str
    values: Mapping[str, str]
    heard_s: float


class Preview(lifecycle.ManagedNode):
    """Serves the page. Conditions and predictions are subscribed to only while somebody watches. `scenes` come before the shipped photos."""

    def __init__(
        self,
        on_address: Callable[[str], None] | None = None,
        scenes: Sequence[Scene] = (),
        make_generator: Callable[[str], GeneratorProcess] = GeneratorProcess,
        **kwargs: Any,
    ) -> None:
        super().__init__("preview", (PreviewConfig,), **kwargs)
        self._scenes, self._make_generator = [*scenes, *shipped_scenes()], make_generator
        self._address = ""
        self._on_address = on_address or (lambda address: self.get_logger().info(f"the page is at {address}"))
        self._hub = LiveHub(controls=self)
        self._generator: GeneratorProcess | None = None
        self._server: PageServer | None = None
        self._pictures: list[Any] = []
        self._hands: OrderedDict[int, list[Skeleton]] = OrderedDict()
        self._reports: dict[str, Report] = {}
        self._watched_since_s = 0.0
        self._reset_client = self.create_client(ResetSession, topics.RESET_SESSION)
        self._ground_client = self.create_client(Trigger, topics.GROUND_SESSION)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, topics.RESULT_OUT)
        self._diagnostics = Diagnostics(self, self._health)
        self._timer = self.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def set_up(self) -> None:
        """Starts the generator of the photos, then the page."""
        config = read(self, PreviewConfig)
        generator = self._make_generator(config.model)
        server = PageServer(config.page(), generator, self._hub, self._scenes)
        with lifecycle.interruptible():
            generator.start()
        self._generator = generator
        try:
            self._address = server.start()
        except OSError:
            generator.stop()
            raise
        self._server = server
        self._on_address(self._address)

    def tear_down(self) -> None:
        """Closes every page."""
        self._stop_listening()
        if self._server is not None:
            self._server.stop()
        if self._generator is not None:
            self._generator.stop()
        self._server = self._generator = None

    # What visitors ask for; called on their threads.

    def reset(self, seed: int) -> str:
        """Begins the live session anew, from the next picture of the camera."""
        answer = self._asked(self._reset_client, ResetSession.Request(seed=seed, use_camera_image=True))
        if isinstance(answer, str):
            return answer
        return "a new session begins with the next picture" if answer.accepted else f"not begun: {answer.message}"

    def ground(self) -> str:
        """Writes what the camera sees into the live session."""
        answer = self._asked(self._ground_client, Trigger.Request())
        if isinstance(answer, str):
            return answer
        return f"grounded {answer.message}" if answer.success else f"not grounded: {answer.message}"

    def _asked(self, client: Any, request: Any) -> Any:
        """The answer of the generator, or why there is none."""
        if not client.service_is_ready():
            return f"no generator answers at {self.resolve_service_name(client.srv_name)}"
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        return future.result() if answered.wait(ANSWER_S) else f"the generator did not answer within {ANSWER_S:g} s"

    # What the robot says; called on the node's thread.

    def _look(self) -> None:
        is_wanted = self.is_active and self._hub.is_watched
        if is_wanted and not self._pictures:
            self._listen()
        elif not is_wanted and self._pictures:
            self._stop_listening()
        if is_wanted:
            self._hub.tell(self._status())

    def _listen(self) -> None:
        self._watched_since_s = time.monotonic()
        self._pictures = [
            self.create_subscription(ConditionMsg, topics.CONDITION, self._on_condition, topics.SENSOR_IN),
            self.create_subscription(Prediction, topics.PREDICTION, self._on_prediction, topics.SENSOR_IN),
        ]

    def _stop_listening(self) -> None:
        for subscription in self._pictures:
            self.destroy_subscription(subscription)
        self._pictures = []
        self._hands.clear()

    def _on_condition(self, msg: ConditionMsg) -> None:
        try:
            condition = condition_from_msg(msg).condition
        except ValueError as error:
            self.warn("condition", f"a condition is not shown: {error}")
            return
        drawn = skeletons(condition.hands, condition.camera, condition.T_world_camera)
        self._hands[condition.stamp_ns] = drawn
        while len(self._hands) > NUM_KEPT:
            self._hands.popitem(last=False)
        if condition.image is not None:
            self._hub.show("camera", condition.image, {"hands": drawn})

    def _on_prediction(self, msg: Prediction) -> None:
        try:
            picture = image_from_msg(msg.image)
        except ValueError as error:
            self.warn("prediction", f"a prediction is not shown: {error}")
            return
        latency_ms = 1e3 * (msg.latency.sec + msg.latency.nanosec / NS_PER_S)
        facts: dict[str, object] = {"index": int(msg.index), "hands": self._hands.get(stamp_to_ns(msg.header.stamp), [])}
        if latency_ms:
            facts["latency_ms"] = round(latency_ms, 1)
        self._hub.show("prediction", picture, facts)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = {item.key: item.value for item in status.values}
            self._reports[status.name] = Report(level_of(status), status.message, values, time.monotonic())

    def _status(self) -> dict[str, object]:
        """What the page says in words and numbers."""
        generator, conditioner = (self._report(name) for name in ("generator", "conditioner"))
        if generator is None:
            is_patient = time.monotonic() - self._watched_since_s < SILENT_S
            problem = "looking for a generator" if is_patient else "no generator is heard: start h2w run, or the one that has ended"
            return {"problem": problem, "is_error": not is_patient, "facts": {}}
        said = [
            f"{name}: {report.message}" for name, report in (("generator", generator), ("conditioner", conditioner)) if report and report.level > 0
        ]
        facts = {title: shortened(generator.values[key]) for key, title in FACTS.items() if key in generator.values}
        dropped = sum(int(finite(value) or 0) for key, value in generator.values.items() if key.startswith("dropped."))
        return {
            "problem": "; ".join(said),
            "is_error": generator.level >= level_of(DiagnosticStatus(level=DiagnosticStatus.ERROR)),
            "facts": facts | {"Dropped": str(dropped)},
            "disagreement": finite(generator.values.get("disagreement", "nan")),
        }

    def _health(self) -> Health:
        generator = self._generator
        if generator is None:
            return Health("not configured")
        return Health(
            generator.problem, values={"model": generator.model, "generator_starts": generator.num_starts, "is_watched": self._hub.is_watched}
        )

    def _report(self, name: str) -> Report | None:
        """The diagnostics of a node in our namespace; None when it is silent."""
        namespace = self.get_namespace().rstrip("/")
        found = self._reports.get(f"{namespace}/{name}")
        return found if found is not None and time.monotonic() - found.heard_s < SILENT_S else None


def level_of(status: DiagnosticStatus) -> int:
    """0 ok, 1 warning, 2 error, 3 stale; rclpy gives a byte."""
    return int.from_bytes(status.level, "little") if isinstance(status.level, bytes) else int(status.level)


def finite(text: str) -> float | None:
    """The number, None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def shortened(text: str) -> str:
    """A number without digits that nobody reads."""
    try:
        return f"{float(text):.0f}" if "." in text else text
    except ValueError:
        return text


def main(args: list[str] | None = None, on_address: Callable[[str], None] | None = None, scenes: Sequence[Scene] = ()) -> int:
    """Executable `preview`; `on_address` is told where the page is, else the log."""
    return lifecycle.main(lambda: [Preview(on_address, scenes)], args)

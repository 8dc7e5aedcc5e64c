"""A recording played into the real nodes, each in its process; what they answer, and when."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.condition import Image
from h2w_ros.nodes import topics
from h2w_ros.nodes.graph import context_in, environment_of, private_domain, spinning
from h2w_ros.nodes.latency import Event, SentInputs, latencies_ms, percentile_ms
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.playback import LATCHED_TOPICS, Recorded
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.nodes.replay import Replay
from h2w_ros.ros_messages import NS_PER_S, image_from_msg, stamp_to_ns

RECORDED_TOPICS = (topics.PREDICTED_IMAGE, topics.PREDICTED_INFO, topics.PREDICTION, topics.DIAGNOSTICS)
# What completes a moment; pictures are not waited for.
COMPLETING = ("/odometry", "/hands", "/ready_made_hands")
READY_S = 120.0
QUIET_S = 1.5
LAST_FRAMES_S = 120.0
POLL_S = 0.05


@dataclass(frozen=True)
class RehearsalConfig:
    """What is played, which model answers, and where bag and logs go."""

    recording: Path
    out: Path
    model: str = "tiny"
    rate: float = 1.0
    ready_made_hands: bool = False
    table_height_m: float | None = None


@dataclass
class Rehearsal:
    """What came back: pictures by stamp, latencies without the reference's, counts from the nodes' diagnostics."""

    frames: dict[int, Image] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    playing_s: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)
    stages_ms: dict[str, float] = field(default_factory=dict)

    def latency_ms(self, percent: float) -> float:
        """A percentile of input to pixel."""
        return percentile_ms(self.latencies_ms, percent)


class Listener(Node):
    """Notes when predicted pictures arrive, and the latest diagnostics."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("rehearsal", **kwargs)
        self.arrivals: list[tuple[Event, ImageMsg]] = []
        self.values: dict[str, dict[str, str]] = {}
        deep = QoSProfile(depth=1000)
        self.create_subscription(ImageMsg, topics.PREDICTED_IMAGE, self._on_image, deep)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, deep)

    def _on_image(self, msg: ImageMsg) -> None:
        self.arrivals.append((Event(stamp_to_ns(msg.header.stamp), time.monotonic()), msg))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.values[status.name] = {item.key: item.value for item in status.values}

    def counted(self, prefix: str) -> dict[str, str]:
        """Values of all nodes whose names begin so, without the prefix."""
        return {key.removeprefix(prefix): value for values in self.values.values() for key, value in values.items() if key.startswith(prefix)}

    def is_heard_by(self, topic: str, node: str) -> bool:
        """Whether this node subscribes to the topic."""
        return any(info.node_name == node for info in self.get_subscriptions_info_by_topic(topic))


def rehearse(config: RehearsalConfig, on_frames: Callable[[int], None] = lambda _: None) -> Rehearsal:
    """Plays the whole recording and waits for the last frame. `on_frames` is told how many have come.

    Conditioner and generator share a process, as in `h2w run`; the recorder has its own; recording and listening happen
    here, so latencies hold everything from the publishing of an input to the arrival of the picture in another process.
    """
    make_room_for_pictures()
    domain = private_domain()
    environment = environment_of(domain)
    sent = SentInputs()
    with ExitStack() as stack:
        processes = [stack.enter_context(process) for process in _processes(config, environment)]
        context = stack.enter_context(context_in(domain))
        listener = Listener(context=context)
        parameters = overrides(path=str(config.recording), rate=config.rate, autostart=False, publish_clock=False)
        player = Replay(lambda message: _note(sent, message), context=context, parameter_overrides=parameters)
        stack.enter_context(spinning([listener, player]))
        player.trigger_configure()
        _wait_until(lambda: _everyone_listens(listener), processes, READY_S, "the nodes are up")
        player.trigger_activate()
        _follow(player, listener, processes, on_frames)
        player.finish()
    return _summary(sent, listener)


def _processes(config: RehearsalConfig, environment: dict[str, str]) -> Iterator[NodeProcess]:
    told = {"model": config.model, "ready_made_hands": str(config.ready_made_hands).lower(), **topics.reliable_inputs()}
    if config.table_height_m is not None:
        told["table_height_m"] = f"[{config.table_height_m}]"
    run = ["--ros-args", *(word for name, value in told.items() for word in ("-p", f"{name}:={value}"))]
    names = ",".join(RECORDED_TOPICS)
    record = ["--ros-args", "-p", f"path:={config.out / 'bag'}", "-p", f"topics:=[{names}]"]
    yield NodeProcess("h2w_ros.nodes.compose", run, environment, config.out / "logs" / "run.log")
    yield NodeProcess("h2w_ros.nodes.recorder", record, environment, config.out / "logs" / "recorder.log")


def _everyone_listens(listener: Listener) -> bool:
    return listener.is_heard_by("/odometry", "conditioner") and listener.is_heard_by(f"/{topics.PREDICTED_IMAGE}", "recorder")


def _note(sent: SentInputs, message: Recorded) -> None:
    if message.topic not in LATCHED_TOPICS and message.topic.removesuffix("/compressed") in COMPLETING:
        sent.add(message.topic, Event(header_stamp_ns(message.data), time.monotonic()))


def header_stamp_ns(data: bytes) -> int:
    """The stamp of a serialized message that begins with a header: CDR's four bytes, then seconds and nanoseconds."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * NS_PER_S + int(nanoseconds)


def _follow(player: Replay, listener: Listener, processes: list[NodeProcess], on_frames: Callable[[int], None]) -> None:
    """Until the recording is over and nothing has come for a while; the nodes' last counts arrive within that time."""
    over_s: float | None = None
    while True:
        time.sleep(POLL_S)
        for process in processes:
            process.check()
        on_frames(len(listener.arrivals))
        now_s = time.monotonic()
        over_s = over_s or (now_s if player.is_done else None)
        last_s = listener.arrivals[-1][0].time_s if listener.arrivals else 0.0
        if over_s is not None and now_s - max(over_s, last_s) > QUIET_S and (_is_idle(listener) or now_s - over_s > LAST_FRAMES_S):
            return


def _is_idle(listener: Listener) -> bool:
    return listener.values.get("/generator", {}).get("waiting", "0") == "0"


def _wait_until(is_met: Callable[[], bool], processes: list[NodeProcess], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_met():
        for process in processes:
            process.check()
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {timeout_s:.0f} s in vain until {what}; see {processes[0].log}")
        time.sleep(POLL_S)


def _summary(sent: SentInputs, listener: Listener) -> Rehearsal:
    events = [event for event, _ in listener.arrivals]
    result = Rehearsal({event.stamp_ns: image_from_msg(msg) for event, msg in listener.arrivals})
    result.latencies_ms = latencies_ms(sent, events[1:])
    result.playing_s = events[-1].time_s - events[0].time_s if len(events) > 1 else 0.0
    result.dropped = Counter({reason: int(count) for reason, count in listener.counted("dropped.").items()})
    result.stages_ms = {stage: float(time_ms) for stage, time_ms in listener.counted("stage_ms.").items()}
    return result

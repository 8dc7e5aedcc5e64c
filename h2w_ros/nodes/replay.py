"""A recording in; topics at any rate out, with /clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock

from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.images import stamp_from_ns
from h2w_ros.nodes.params import read, setting
from h2w_ros.nodes.playback import LATCHED_TOPICS, Playback, Recorded, open_playback
from h2w_ros.nodes.types import message_class

POLL_S = 0.05
SETTLE_S = 0.5
ACKNOWLEDGE_S = 4.0
ACKNOWLEDGE_STEP_NS = 1_000_000


@dataclass(frozen=True)
class ReplayConfig:
    """What is played, and how."""

    path: str = setting("", "an episode folder, a bag, or a Hand2World example folder")
    rate: float = setting(1.0, "speed; 2 is twice as fast as it was recorded", 0.01, 100.0)
    loop: bool = setting(False, "begin again at the end; stamps then jump back")
    as_recorded: bool = setting(False, "all topics of a bag under their own names, instead of our inputs under ours")
    publish_clock: bool = setting(True, "publish the recording's time on /clock")
    wait_for_listeners_s: float = setting(5.0, "wait at most so long until somebody subscribes [s]", 0.0, 3600.0)

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a recording: an episode folder, a bag, or a Hand2World example folder")


class Replay(lifecycle.ManagedNode):
    """Plays from a thread of its own; `is_done` when the last message has been delivered. `on_sent` is told of every message."""

    def __init__(self, on_sent: Callable[[Recorded], None] | None = None, **kwargs: Any) -> None:
        super().__init__("replay", (ReplayConfig,), **kwargs)
        self._on_sent = on_sent
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._outputs: dict[str, Publisher] = {}
        self.num_sent = 0
        self.is_done = False

    def set_up(self) -> None:
        """Opens the recording and announces its topics."""
        self._config = read(self, ReplayConfig)
        self._playback = open_playback(Path(self._config.path), self._config.as_recorded)
        for topic, kind in self._playback.topics.items():
            qos = topics.LATCHED if topic in LATCHED_TOPICS else topics.REPLAY_OUT
            is_ours = not self._config.as_recorded and topic not in LATCHED_TOPICS
            # Without its slash the name follows the node's namespace, as our other nodes' names do.
            name = topic.lstrip("/") if is_ours else topic
            self._outputs[topic] = self.create_publisher(message_class(kind), name, qos, qos_overriding_options=topics.overridable())
        self._clock_out = self.create_publisher(Clock, topics.CLOCK, topics.RESULT_OUT) if self._config.publish_clock else None

    def tear_down(self) -> None:
        """Stops playing, closes the topics."""
        self._halt()
        for publisher in filter(None, (*self._outputs.values(), self._clock_out)):
            self.destroy_publisher(publisher)
        self._outputs.clear()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begins to play."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._play, args=(self._playback,), name="replay", daemon=True)
        self._thread.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops; activating again begins from the start."""
        self._halt()
        return super().on_deactivate(state)

    def _halt(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _play(self, playback: Playback) -> None:
        try:
            self._wait_for_listeners()
            self._say(f"playing {self._config.path} at {self._config.rate:g} x real time: {', '.join(sorted(self._outputs))}")
            self._play_once(playback)
            while self._config.loop and not self._stop.is_set():
                self._say(f"{self.num_sent} messages played; from the beginning again")
                self._play_once(playback)
            self._deliver()
            self._say(f"{self.num_sent} messages played")
        except ValueError as error:
            self.get_logger().error(str(error))
        finally:
            self.is_done = not self._stop.is_set()

    def _say(self, text: str) -> None:
        if not self._stop.is_set():
            self.get_logger().info(text)

    def _play_once(self, playback: Playback) -> None:
        began: tuple[float, int] | None = None
        for message in playback.messages():
            # The clock starts with the first message: opening the recording must not make the next ones late.
            began = began or (time.monotonic(), message.time_ns)
            began_s, first_ns = began
            due_s = began_s + (message.time_ns - first_ns) * 1e-9 / self._config.rate
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                return
            self._send(message)

    def _send(self, message: Recorded) -> None:
        if self._clock_out is not None:
            self._clock_out.publish(Clock(clock=stamp_from_ns(message.time_ns)))
        if self._on_sent is not None:
            self._on_sent(message)
        self._outputs[message.topic].publish(message.data)
        self.num_sent += 1

    def _wait_for_listeners(self) -> None:
        deadline_s = time.monotonic() + self._config.wait_for_listeners_s
        # Who hears what is latched may have come before those who hear pictures and poses.
        played = [publisher for topic, publisher in self._outputs.items() if topic not in LATCHED_TOPICS]
        while not any(publisher.get_subscription_count() for publisher in played):
            if self._stop.wait(POLL_S):
                return
            if time.monotonic() > deadline_s:
                self.get_logger().warning(f"nobody listens to {', '.join(sorted(self._outputs))}: playing into the void")
                return
        # A listener's topics are discovered one after the other; the first picture must not come between them.
        self._stop.wait(SETTLE_S)

    def _deliver(self) -> None:
        """Waits until reliable listeners have everything."""
        deadline_s = time.monotonic() + ACKNOWLEDGE_S
        waiting = list(self._outputs.values())
        # rclpy keeps Python's lock while it waits for acknowledgements: a long wait would stop every other thread.
        while waiting and time.monotonic() < deadline_s and not self._stop.wait(POLL_S):
            waiting = [publisher for publisher in waiting if not publisher.wait_for_all_acked(Duration(nanoseconds=ACKNOWLEDGE_STEP_NS))]


def main(args: list[str] | None = None) -> int:
    """Executable `replay`."""
    return lifecycle.main(lambda: [Replay()], args)

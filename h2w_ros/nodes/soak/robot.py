"""The robot of a soak run: says what it lives, at its pace, through whatever disturbs its messages."""

from __future__ import annotations

import threading
import time
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import HandSkeleton
from h2w_ros.nodes import topics
from h2w_ros.nodes.soak.disturbances import Disturbance, undisturbed
from h2w_ros.nodes.soak.life import BEAT_NS, SKELETONS, is_picture, messages
from h2w_ros.ros_messages import NS_PER_S

KINDS = {topics.IMAGE: ImageMsg, topics.CAMERA_INFO: CameraInfo, topics.ODOMETRY: Odometry, SKELETONS: HandSkeleton}
# Stamps after two jumps must not meet again: every jump is a little longer than the last.
JUMP_NS, JUMP_STEP_NS = 100 * NS_PER_S, 1_000_003
LATE_S = 1.0


class Epoch:
    """A time between two jumps of the robot's clock: when each of its beats was, on the monotonic clock [s]."""

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.beats_s: list[float] = []

    def stamp_ns(self, beat: int) -> int:
        """What the robot's clock says at a beat."""
        return self.began_ns + beat * BEAT_NS

    def lived_s(self, stamp_ns: int) -> float | None:
        """When the beat of this stamp was, or the next one; None where there was none."""
        beat = -((self.began_ns - stamp_ns) // BEAT_NS)
        return self.beats_s[beat] if 0 <= beat < len(self.beats_s) else None


class Robot(Node):
    """Publishes from a thread of its own. `density` 4 says everything four times as often."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("soak_robot", **kwargs)
        self.density = 1
        self.disturb: Disturbance = undisturbed
        self.num_moments = self.num_sent = 0
        self._outputs = {topic: self.create_publisher(kind, topic, topics.REPLAY_OUT) for topic, kind in KINDS.items()}
        self._epochs = [Epoch(time.time_ns())]
        self._jump = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="robot", daemon=True)

    def begin(self) -> None:
        """From now on it lives."""
        self._thread.start()

    def end(self) -> None:
        """Says no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def jump(self) -> None:
        """At the next beat its clock jumps, back and forth in turn; stamps stay different from all that were before."""
        self._jump = True

    def lived_s(self, stamp_ns: int) -> float | None:
        """When the moment of this stamp was, on the monotonic clock [s]; None for a moment that never was."""
        times_s = (epoch.lived_s(stamp_ns) for epoch in reversed(self._epochs))
        return next((time_s for time_s in times_s if time_s is not None), None)

    def _live(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            if self._jump:
                self._jump = False
                self._begin_epoch()
            epoch, density = self._epochs[-1], self.density
            beat = len(epoch.beats_s)
            epoch.beats_s.append(time.monotonic())
            for part in range(density):
                self._say(beat, epoch.stamp_ns(beat) + part * BEAT_NS // density)
                # What was missed while the machine was busy is not made up for: a robot does not live faster afterwards.
                due_s = max(due_s, time.monotonic() - LATE_S) + BEAT_NS / NS_PER_S / density
                self._stop.wait(max(0.0, due_s - time.monotonic()))

    def _begin_epoch(self) -> None:
        number, last = len(self._epochs), self._epochs[-1]
        sign = -1 if number % 2 else 1
        self._epochs.append(Epoch(last.stamp_ns(len(last.beats_s)) + sign * (JUMP_NS + number * JUMP_STEP_NS)))

    def _say(self, beat: int, stamp_ns: int) -> None:
        self.num_moments += is_picture(beat)
        for one in self.disturb(messages(beat, stamp_ns)):
            self._outputs[one.topic].publish(one.msg)
            self.num_sent += 1

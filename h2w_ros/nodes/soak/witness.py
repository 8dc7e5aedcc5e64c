"""Hears everything that the graph answers in a soak run, and judges each answer as it comes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile

from h2w_msgs.msg import Prediction
from h2w_ros.nodes import topics
from h2w_ros.nodes.soak.report import Violation
from h2w_ros.ros_messages import image_from_msg, stamp_to_ns

# Answers of two seconds may wait for this process; losing one here would look like a fault of the graph.
DEPTH = 200
DROPPED = "dropped."


@dataclass(frozen=True)
class Heard:
    """An answer: which moment it answers, who drew it, when it came, and how long after its moment."""

    stamp_ns: int
    session_id: str
    index: int
    heard_s: float
    latency_s: float


class Witness(Node):
    """Notes every answer, and what is wrong with it. `lived_s` says when the moment of a stamp was [s], None if it never was."""

    def __init__(self, lived_s: Callable[[int], float | None], max_latency_s: float, **kwargs: Any) -> None:
        super().__init__("soak_witness", **kwargs)
        self._lived_s, self._max_latency_s = lived_s, max_latency_s
        self.answers: list[Heard] = []
        self.violations: list[Violation] = []
        self.messages: dict[str, str] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._past: Counter[str] = Counter()
        self._latest: dict[str, Heard] = {}
        self.create_subscription(Prediction, topics.PREDICTION, self._on_prediction, QoSProfile(depth=DEPTH))
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, QoSProfile(depth=DEPTH))

    def dropped(self) -> dict[str, int]:
        """What the nodes counted, by node and reason, over all their lives."""
        return dict(sorted((self._past + Counter(self._present())).items()))

    def latencies_ms(self, *percents: float) -> list[float]:
        """Percentiles from a moment to the arrival of its answer [ms]; nan before the first."""
        times = [1e3 * one.latency_s for one in self.answers]
        return [float(np.percentile(times, percent)) if times else float("nan") for percent in percents]

    def _present(self) -> dict[str, int]:
        return {f"{node}: {reason}": count for node, counts in self._counts.items() for reason, count in counts.items()}

    def _on_prediction(self, msg: Prediction) -> None:
        now_s = time.monotonic()
        stamp_ns = stamp_to_ns(msg.header.stamp)
        lived_s = self._lived_s(stamp_ns)
        strangers = [stamp for stamp in map(stamp_to_ns, msg.input_stamps) if self._lived_s(stamp) is None]
        if lived_s is None or strangers:
            self.violations.append(Violation("answers", f"an answer of stamp {stamp_ns} to moments that never were: {strangers}"))
            return
        heard = Heard(stamp_ns, msg.session_id, msg.index, now_s, now_s - lived_s)
        self._judge(heard, msg)
        self.answers.append(heard)
        self._latest[msg.session_id] = heard

    def _judge(self, heard: Heard, msg: Prediction) -> None:
        before = self._latest.get(heard.session_id)
        place = f"session {heard.session_id}, frame {heard.index}"
        if before is not None and heard.index != before.index + 1:
            self.violations.append(Violation("answers", f"{place}: follows frame {before.index}"))
        if before is not None and heard.stamp_ns <= before.stamp_ns:
            self.violations.append(Violation("answers", f"{place}: its stamp is not after that of the frame before"))
        if heard.latency_s > self._max_latency_s:
            self.violations.append(Violation("latency", f"{place}: came {heard.latency_s:.2f} s after its moment"))
        try:
            image_from_msg(msg.image)
        except ValueError as error:
            self.violations.append(Violation("answers", f"{place}: {error}"))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.messages[status.name] = status.message
            values = {item.key: item.value for item in status.values}
            self._count(status.name, {key.removeprefix(DROPPED): int(value) for key, value in values.items() if key.startswith(DROPPED)})

    def _count(self, node: str, counts: dict[str, int]) -> None:
        """Counts that became smaller belong to a new life of the node."""
        before = self._counts.get(node, {})
        if any(counts.get(reason, 0) < count for reason, count in before.items()):
            self._past.update({f"{node}: {reason}": count for reason, count in before.items()})
        self._counts[node] = counts

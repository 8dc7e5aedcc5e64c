"""/diagnostics: one status a node, once a second, with counts and latencies a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from h2w_ros.nodes.lifecycle import ManagedNode
from h2w_ros.nodes.topics import DIAGNOSTICS, RESULT_OUT

PERIOD_S = 1.0


@dataclass(frozen=True)
class Health:
    """How a node is: `problem` empty means well; `values` are shown as they are."""

    problem: str = ""
    is_error: bool = False
    values: Mapping[str, object] = field(default_factory=dict)


def status(name: str, hardware_id: str, health: Health) -> DiagnosticStatus:
    """The health as a message; numbers with three digits after the point."""
    level = (DiagnosticStatus.ERROR if health.is_error else DiagnosticStatus.WARN) if health.problem else DiagnosticStatus.OK
    values = [KeyValue(key=key, value=f"{value:.3f}" if isinstance(value, float) else str(value)) for key, value in health.values.items()]
    return DiagnosticStatus(level=level, name=name, message=health.problem or "ok", hardware_id=hardware_id, values=values)


def health_with_losses(node: ManagedNode, problems: Mapping[str, str], values: Mapping[str, object], dropped: Mapping[str, int]) -> Health:
    """Warns of every problem (subject to text) and tells all of them; the values are followed by what was dropped, by reason."""
    for subject, text in problems.items():
        node.warn(subject, text, fades=True)
    counts = {f"dropped.{reason}": count for reason, count in sorted(dropped.items())}
    return Health("; ".join(problems.values()), values={**values, **counts})


class Diagnostics:
    """Asks a node for its health once a second and publishes it."""

    def __init__(self, node: ManagedNode, health: Callable[[], Health]) -> None:
        self._node, self._health = node, health
        self._publisher = node.create_publisher(DiagnosticArray, DIAGNOSTICS, RESULT_OUT)
        # A steady clock: under simulated time without a /clock, silence must still be reported.
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Says the present health of an active node."""
        if not self._node.is_active:
            return
        name = self._node.get_fully_qualified_name()
        msg = DiagnosticArray(status=[status(name, "h2w_ros", self._health())])
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(msg)

"""What runs callbacks, in nodes and in what tries them: rclpy's executor, less what it does in vain before every message."""

from __future__ import annotations

import time
from typing import Any

from rclpy.event_handler import EventHandler
from rclpy.executors import SingleThreadedExecutor

EVENT_PERIOD_S = 1.0


class FrugalExecutor(SingleThreadedExecutor):
    """Looks after the middleware's events (another's quality of service does not match, and the like) once a second.

    Every publisher and subscription has two of them, and rclpy puts all of them into the set that it waits for, anew for each
    message: a fifth of what a conditioner's message costs. They keep until somebody looks. Who may wait longer than a second for
    something else to happen waits for them, too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._next_look_s = 0.0
        self._is_due, self._has_looked = True, False

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """As rclpy's."""
        now_s = time.monotonic()
        if self._has_looked:
            self._next_look_s, self._has_looked = now_s + EVENT_PERIOD_S, False
        waits_long = timeout_sec is None or not 0.0 <= timeout_sec <= EVENT_PERIOD_S
        self._is_due = waits_long or now_s >= self._next_look_s
        super().spin_once(timeout_sec)

    def can_execute(self, entity: Any) -> bool:
        """As rclpy's; False for an event while it is not time to look."""
        if not isinstance(entity, EventHandler):
            return bool(super().can_execute(entity))
        self._has_looked |= self._is_due
        return self._is_due and bool(super().can_execute(entity))

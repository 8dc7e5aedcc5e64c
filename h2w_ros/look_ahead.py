"""Draws a condition before its turn has come, on a thread of its own, while the network is busy in another process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from h2w_ros.condition import Condition, Image
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.drawn import DrawnCondition


@dataclass(frozen=True, eq=False)
class _Ahead:
    """A condition that was drawn early, from what the drawer knew at one moment; and the drawer after it."""

    condition: Condition
    num_changes: int
    drawer: ConditionDrawer
    drawn: DrawnCondition


class LookAhead:
    """A drawer whose next condition may be drawn early. What it draws is the same with and without that: work that turns out to
    begin from something else than what has become is thrown away.

    `expect` may be called from any thread, all else from the one that drives the session.
    """

    def __init__(self, drawer: ConditionDrawer) -> None:
        self._drawer = drawer
        self._num_changes = 0
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._wanted: Condition | None = None
        self._begun: deque[tuple[Condition, Future[_Ahead | None]]] = deque(maxlen=2)  # one that is being taken, and the next

    @property
    def drawer(self) -> ConditionDrawer:
        """As it is after all that was drawn in turn."""
        return self._drawer

    def expect(self, condition: Condition, pass_on: Callable[[DrawnCondition], None]) -> None:
        """This condition will probably be the next; `pass_on` gets what was drawn of it, on the thread that has drawn it."""
        self._wanted = condition
        self._begun.append((condition, self._thread.submit(self._draw_ahead, condition, pass_on)))

    def draw(self, condition: Condition) -> DrawnCondition:
        """The stream's next condition."""
        ahead = self._taken(condition)
        with self._lock:
            self._num_changes += 1
            if ahead is not None:
                self._drawer = ahead.drawer
                return ahead.drawn
            return self._drawer.draw(condition)

    def take_picture(self, picture: Image, condition: Condition) -> None:
        """As `ConditionDrawer.take_picture`."""
        with self._lock:
            self._num_changes += 1
            self._drawer.take_picture(picture, condition)

    def _taken(self, condition: Condition) -> _Ahead | None:
        """What was drawn of this condition, if it was, from what the drawer knows now."""
        future = next((future for begun, future in tuple(self._begun) if begun is condition), None)
        ahead = None if future is None else future.result()
        return ahead if ahead is not None and ahead.num_changes == self._num_changes else None

    def _draw_ahead(self, condition: Condition, pass_on: Callable[[DrawnCondition], None]) -> _Ahead | None:
        if self._wanted is not condition:
            return None
        with self._lock:
            num_changes, drawer = self._num_changes, self._drawer.branch()
        ahead = _Ahead(condition, num_changes, drawer, drawer.draw(condition))
        if num_changes == self._num_changes:
            pass_on(ahead.drawn)
        return ahead

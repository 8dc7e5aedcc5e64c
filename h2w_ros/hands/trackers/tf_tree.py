"""Frames that move: as much of tf as it takes to bring a headset's hands into the world at their own moment."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np

from h2w_ros.geometry import Transform, interpolate, invert

# Moving frames are kept for so many messages, and hold for so long after the last one.
LENGTH = 400
HOLD_NS = 100_000_000


class _Edge:
    """T_parent_child over time; a fixed one has no stamps."""

    def __init__(self) -> None:
        self._stamps_ns: deque[int] = deque(maxlen=LENGTH)
        self._transforms: deque[Transform] = deque(maxlen=LENGTH)
        self._fixed: Transform | None = None

    def fix(self, T_parent_child: Transform) -> None:
        self._fixed = T_parent_child

    def add(self, stamp_ns: int, T_parent_child: Transform) -> None:
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            if stamp_ns == self._stamps_ns[-1]:
                return
            self._stamps_ns.clear()  # a recording began anew
            self._transforms.clear()
        self._stamps_ns.append(stamp_ns)
        self._transforms.append(T_parent_child)

    def at(self, stamp_ns: int) -> Transform | None:
        if self._fixed is not None:
            return self._fixed
        place = bisect_left(self._stamps_ns, stamp_ns)
        if place < len(self._stamps_ns) and self._stamps_ns[place] == stamp_ns:
            return self._transforms[place]
        if place == len(self._stamps_ns):
            is_near = place > 0 and stamp_ns - self._stamps_ns[-1] <= HOLD_NS
            return self._transforms[-1] if is_near else None
        if place == 0:
            return None
        begin_ns, end_ns = self._stamps_ns[place - 1], self._stamps_ns[place]
        return interpolate(self._transforms[place - 1], self._transforms[place], (stamp_ns - begin_ns) / (end_ns - begin_ns))


class TfTree:
    """The frames of /tf and /tf_static and how they hang together at a moment."""

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], _Edge] = {}
        self._neighbours: dict[str, set[str]] = {}

    def add_static(self, parent: str, child: str, T_parent_child: Transform) -> None:
        """A transform that holds for ever; a newer one replaces it."""
        self._edge(parent, child).fix(T_parent_child)

    def add(self, parent: str, child: str, stamp_ns: int, T_parent_child: Transform) -> None:
        """A transform at one moment; stamps that jump back begin anew."""
        self._edge(parent, child).add(stamp_ns, T_parent_child)

    def find(self, target: str, source: str, stamp_ns: int) -> Transform | None:
        """T_target_source at this moment, along the shortest chain; None where a link is missing or out of date."""
        queue: deque[tuple[str, Transform]] = deque([(target, np.eye(4))])
        seen = {target}
        while queue:
            frame, T_target_frame = queue.popleft()
            if frame == source:
                return T_target_frame
            for neighbour in sorted(self._neighbours.get(frame, set()) - seen):
                T_frame_neighbour = self._link(frame, neighbour, stamp_ns)
                if T_frame_neighbour is not None:
                    seen.add(neighbour)
                    queue.append((neighbour, T_target_frame @ T_frame_neighbour))
        return None

    def _edge(self, parent: str, child: str) -> _Edge:
        self._neighbours.setdefault(parent, set()).add(child)
        self._neighbours.setdefault(child, set()).add(parent)
        return self._edges.setdefault((parent, child), _Edge())

    def _link(self, frame: str, neighbour: str, stamp_ns: int) -> Transform | None:
        if (frame, neighbour) in self._edges:
            return self._edges[frame, neighbour].at(stamp_ns)
        T_neighbour_frame = self._edges[neighbour, frame].at(stamp_ns)
        return None if T_neighbour_frame is None else invert(T_neighbour_frame)

"""Static transforms, composed along any chain: enough of tf for a camera that is bolted to what odometry moves."""

from __future__ import annotations

from collections import deque

import numpy as np

from h2w_ros.geometry import Transform, invert


class StaticFrames:
    """The frames of /tf_static and how they hang together."""

    def __init__(self) -> None:
        self._neighbours: dict[str, dict[str, Transform]] = {}

    def add(self, parent: str, child: str, T_parent_child: Transform) -> None:
        """A fixed transform; a newer one of the same pair replaces the older."""
        self._neighbours.setdefault(parent, {})[child] = T_parent_child
        self._neighbours.setdefault(child, {})[parent] = invert(T_parent_child)

    def find(self, target: str, source: str) -> Transform | None:
        """T_target_source along the shortest chain; None when there is none (yet)."""
        queue: deque[tuple[str, Transform]] = deque([(target, np.eye(4))])
        seen = {target}
        while queue:
            frame, T_target_frame = queue.popleft()
            if frame == source:
                return T_target_frame
            for neighbour, T_frame_neighbour in self._neighbours.get(frame, {}).items():
                if neighbour not in seen:
                    seen.add(neighbour)
                    queue.append((neighbour, T_target_frame @ T_frame_neighbour))
        return None

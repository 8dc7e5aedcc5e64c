"""Finds hands in pictures that come by pipe. Runs in MediaPipe's own environment, so it imports nothing of this package.

In: per picture one line `width height` and its RGB bytes. Out: per picture one JSON line, a list of hands, each with `label`
('Left' as MediaPipe says it, which thinks of a mirrored picture), `score`, `points` (21 of x, y as shares of the picture) and
`world` (21 of x, y, z [m]), in MediaPipe's order of joints.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np


def main() -> int:
    """Answers until the pipe ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries that print must not do so between answers
    settings = json.loads(sys.argv[1])
    from mediapipe.python.solutions.hands import Hands

    with Hands(**settings) as network:
        while (picture := _next_picture(sys.stdin.buffer)) is not None:
            answers.write(json.dumps(_found(network.process(picture))) + "\n")
            answers.flush()
    return 0


def _next_picture(stream: BinaryIO) -> np.ndarray | None:
    header = stream.readline().split()
    if not header:
        return None
    width, height = int(header[0]), int(header[1])
    data = stream.read(width * height * 3)
    if len(data) < width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _found(result: Any) -> list[dict[str, Any]]:
    if not result.multi_hand_landmarks:
        return []
    hands = zip(result.multi_handedness, result.multi_hand_landmarks, result.multi_hand_world_landmarks, strict=True)
    return [
        {
            "label": sides.classification[0].label,
            "score": sides.classification[0].score,
            "points": [[point.x, point.y] for point in points.landmark],
            "world": [[point.x, point.y, point.z] for point in world.landmark],
        }
        for sides, points, world in hands
    ]


if __name__ == "__main__":
    sys.exit(main())

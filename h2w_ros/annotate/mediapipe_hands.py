"""Hands by MediaPipe, which runs as its own process in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.mediapipe_env import mediapipe_python
from h2w_ros.annotate.sighting import HandSighting, Sightings, distance
from h2w_ros.condition import Camera, Image, Side
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order

WORKER = Path(__file__).with_name("mediapipe_worker.py")
# MediaPipe names the sides of a mirrored picture, which a camera's is not.
SIDES: Mapping[str, Side] = {"Left": "right", "Right": "left"}
# Two sightings nearer than this, in sizes of the hand, are one hand seen twice.
SAME_HAND = 0.25
LOG_LINES = 8


@dataclass(frozen=True)
class MediaPipeConfig:
    """MediaPipe's own settings. `static_image_mode` looks for palms anew in every picture: slower, and it finds hands that following lost."""

    max_num_hands: int = 4
    model_complexity: int = 1
    static_image_mode: bool = False
    min_detection_confidence: float = 0.3
    min_tracking_confidence: float = 0.3

    def __post_init__(self) -> None:
        if self.max_num_hands < 1:
            raise ValueError(f"max_num_hands must be at least 1, got {self.max_num_hands}")
        for name in ("min_detection_confidence", "min_tracking_confidence"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")


class MediaPipeProcess:
    """One running MediaPipe; pictures of one video must come in their order. A context manager: leaving it ends the process."""

    def __init__(self, config: MediaPipeConfig | None = None, python: Path | None = None) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        command = [str(python or mediapipe_python()), "-I", str(WORKER), json.dumps(asdict(config or MediaPipeConfig()))]
        # Libraries report every graph that they build; the last lines matter only when the process dies.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=_quiet_environment())

    def find(self, picture: Image) -> Sightings:
        """The hands in a picture; OSError with the process's last words when it has died."""
        height, width = picture.shape[:2]
        try:
            inward, outward = _pipe(self._process.stdin), _pipe(self._process.stdout)
            inward.write(f"{width} {height}\n".encode())
            inward.write(np.ascontiguousarray(picture).data)
            inward.flush()
            answer = outward.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise OSError(f"MediaPipe's process has ended: {self._last_words()}")
        return sightings_of(json.loads(answer), width, height)

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> MediaPipeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _last_words(self) -> str:
        self._process.wait(timeout=10.0)
        self._log.seek(0)
        return " / ".join(self._log.read().strip().splitlines()[-LOG_LINES:]) or "it said nothing"


@dataclass(frozen=True)
class MediaPipeHands:
    """The detector: every clip gets a process of its own, for MediaPipe follows hands from picture to picture."""

    config: MediaPipeConfig = MediaPipeConfig()
    name: str = "mediapipe"

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The hands of every frame."""
        del camera  # MediaPipe assumes none
        with MediaPipeProcess(self.config) as process:
            for picture in clip.pictures():
                yield process.find(picture)


def sightings_of(found: Sequence[Mapping[str, Any]], width_px: int, height_px: int) -> Sightings:
    """MediaPipe's answer as sightings, surest first, each hand once."""
    seen: list[HandSighting] = []
    for hand in sorted(found, key=lambda hand: -hand["score"]):
        sighting = _sighting(hand, width_px, height_px)
        if all(distance(sighting, other) > SAME_HAND for other in seen):
            seen.append(sighting)
    return tuple(seen)


def _sighting(hand: Mapping[str, Any], width_px: int, height_px: int) -> HandSighting:
    order = CONVENTIONS["points21"]
    score = min(float(hand["score"]), 1.0)
    return HandSighting(
        side=SIDES[hand["label"]],
        points_px=in_our_order(order, np.array(hand["points"]) * (width_px, height_px)),
        points_hand_m=in_our_order(order, np.array(hand["world"])),
        confidence=score,
        side_confidence=score,
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("MediaPipe's process has no pipe")
    return pipe


def _quiet_environment() -> dict[str, str]:
    return {**os.environ, "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2"}

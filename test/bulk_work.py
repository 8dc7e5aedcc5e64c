"""Work for the bulk runner's tests; in a module, because worker processes import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2w_ros.bulk.job import RejectedError, Work


def write_the_payload(payload: Any, place: Path) -> Mapping[str, Any]:
    place.mkdir()
    (place / "text").write_text(str(payload))
    if payload == "bad":
        raise ValueError("this payload is bad")
    if payload == "broken":
        raise RuntimeError("a fault of the program")
    if payload == "worse":
        raise RejectedError("worse than it may be", {"score": 0.25})
    if payload == "full":
        raise OSError(28, "No space left on device")
    if isinstance(payload, str) and payload.startswith("kill once ") and not (marker := Path(payload[10:])).exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"length": len(str(payload))}


def make_writer() -> Work:
    return write_the_payload


def cannot_prepare() -> Work:
    raise FileNotFoundError("the model is not there")

"""What became of a video, as it stands in the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["annotated", "rejected", "failed"]


@dataclass(frozen=True)
class Outcome:
    """`key` tells from which video and with which settings; `scores` as in `quality.Scores`; `path_svg` draws the camera's path."""

    name: str
    video: str
    status: Status
    key: str
    reasons: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    camera: Mapping[str, Any] = field(default_factory=dict)
    path_svg: str = ""


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Keeps an outcome beside the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(outcome), indent=1) + "\n")


def read_outcome(path: Path) -> Outcome | None:
    """The outcome of an earlier run; None when there is none, or it is not readable: the video is then annotated again."""
    try:
        fields = json.loads(path.read_text())
        return Outcome(**{**fields, "reasons": tuple(fields["reasons"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""What a page may say: every message checked before anything is done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from h2w_ros.web.puppet import LIMITS, Wish, nearest_wish

MAX_NAME = 64
LARGEST = 1e15


@dataclass(frozen=True)
class Mode:
    """Which half of the page is looked at: `photo` or `live`."""

    mode: str


@dataclass(frozen=True)
class Choose:
    """Begin in this scene."""

    scene: str
    seed: int


@dataclass(frozen=True)
class Reset:
    """Begin anew."""

    seed: int


@dataclass(frozen=True)
class Hand:
    """Where the hand should be; `sent_ms` comes back with the picture that answers."""

    wish: Wish
    sent_ms: float


@dataclass(frozen=True)
class Pause:
    """Stop, or go on."""

    paused: bool


@dataclass(frozen=True)
class Ground:
    """Write what the camera sees into the live session now."""


@dataclass(frozen=True)
class Video:
    """Which codec the browser decodes."""

    codec: str


@dataclass(frozen=True)
class Shown:
    """A picture of a stream has arrived and been shown."""

    stream: str
    number: int


Word = Mode | Choose | Reset | Hand | Pause | Ground | Video | Shown


@dataclass(frozen=True)
class _Kind:
    """A word and what its texts may be."""

    word: type
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


KINDS: dict[str, _Kind] = {
    "mode": _Kind(Mode, {"mode": ("photo", "live")}),
    "scene": _Kind(Choose),
    "reset": _Kind(Reset),
    "pause": _Kind(Pause),
    "ground": _Kind(Ground),
    "video": _Kind(Video, {"codec": ("jpeg", "h264")}),
    "shown": _Kind(Shown, {"stream": ("prediction", "camera")}),
}


def parse(text: str) -> Word:
    """The word of a message; ValueError with the rule that it breaks."""
    try:
        message = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"a message must be JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("a message must be an object with a type")
    if message["type"] == "hand":
        return _hand(message)
    if message["type"] not in KINDS:
        raise ValueError(f"type must be one of {', '.join(['hand', *KINDS])}, got {message['type'][:MAX_NAME]!r}")
    kind = KINDS[message["type"]]
    types = get_type_hints(kind.word)
    values = {part.name: _checked(message.get(part.name), types[part.name], part.name) for part in fields(kind.word)}
    for name, allowed in kind.texts.items():
        if values[name] not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {values[name]!r}")
    word: Word = kind.word(**values)
    return word


def _hand(message: Mapping[str, Any]) -> Hand:
    numbers = {name: _number(message.get(name), name) for name in (*LIMITS, "sent_ms")}
    return Hand(nearest_wish(**{name: numbers[name] for name in LIMITS}), numbers["sent_ms"])


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < LARGEST:
        raise ValueError(f"{name} must be a finite number, got {str(value)[:MAX_NAME]!r}")
    return float(value)


def _checked(value: object, kind: type, name: str) -> object:
    """A value of exactly this type; whole numbers are seeds and counts."""
    if type(value) is not kind or (kind is str and len(str(value)) > MAX_NAME):
        raise ValueError(f"{name} must be a {kind.__name__} of at most {MAX_NAME} characters, got {str(value)[:MAX_NAME]!r}")
    if kind is int and not 0 <= int(str(value)) < 2**31:
        raise ValueError(f"{name} must be in 0..{2**31 - 1}, got {value}")
    return value

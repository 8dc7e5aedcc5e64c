"""Message types by their names: rclpy's classes, and the definitions that a bag carries."""

from __future__ import annotations

import importlib
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from h2w_ros.episodes.typestore import parts, ros_typestore


def message_class(kind: str) -> Any:
    """rclpy's class of a type such as sensor_msgs/msg/Image; ValueError when it is not installed."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        remedy = f"source the workspace that has {package}, or install ros-jazzy-{package.replace('_', '-')}"
        raise ValueError(f"message type {kind} is not installed here: {remedy} ({error})") from error


def typestore_with(kind: str) -> Typestore:
    """Message definitions that include this type and everything it is made of, from the installed .msg files."""
    store = ros_typestore()
    if kind not in store.fielddefs:
        store.register(_definitions(kind, store))
    return store


def _definitions(kind: str, store: Typestore) -> dict[str, Any]:
    """The type and every type in it that the store does not know yet."""
    found: dict[str, Any] = {}
    todo = [kind]
    while todo:
        name = todo.pop()
        types = get_types_from_msg(definition_file(name).read_text(encoding="utf-8"), name)
        found.update(types)
        todo += [part for part in parts(types[name]) if part not in found and part not in store.fielddefs]
    return found


@lru_cache(maxsize=256)
def definition_file(kind: str) -> Path:
    """The installed .msg file of a type; ValueError when there is none."""
    package, _, name = kind.split("/")
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    candidates = [Path(prefix) / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"the definition of {kind} is needed to record it; looked in {', '.join(map(str, candidates))}")

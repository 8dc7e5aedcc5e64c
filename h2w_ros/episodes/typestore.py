"""ROS message types without ROS: Jazzy's from rosbags, ours from their definition files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from h2w_ros.paths import CHECKOUT

OUR_PACKAGE = "h2w_msgs"
OUR_MESSAGES = ("HandPose", "Hands")


@lru_cache(maxsize=1)
def ros_typestore() -> Typestore:
    """Jazzy's message types and our hands."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = definitions_dir()
    types = {}
    for name in OUR_MESSAGES:
        types.update(get_types_from_msg((folder / f"{name}.msg").read_text(), f"{OUR_PACKAGE}/msg/{name}"))
    store.register(types)
    return store


def parts(definition: Any) -> list[str]:
    """Names of the message types among a definition's fields."""
    return [kind for _, field in definition[1] for kind in _kinds(field)]


def all_parts(kinds: Iterable[str], store: Typestore) -> set[str]:
    """These message types and all that they are made of."""
    found: set[str] = set()
    todo = list(kinds)
    while todo:
        kind = todo.pop()
        if kind not in found and kind in store.fielddefs:
            found.add(kind)
            todo += parts(store.fielddefs[kind])
    return found


def lacking(kind: str, ours: Typestore, theirs: Typestore) -> list[str]:
    """Fields that a message type has in our definition and not, or made of other messages, in theirs."""
    needed, there = ({(name, *_kinds(field)) for name, field in store.fielddefs.get(kind, ((), ()))[1]} for store in (ours, theirs))
    return sorted(name for name, *_ in needed - there)


def _kinds(field: Any) -> list[str]:
    """A field is (node, argument): the name of a message, a base type, or an array or sequence of a field."""
    _, argument = field
    if isinstance(argument, str):
        return [argument]
    return _kinds(argument[0]) if isinstance(argument[0], tuple) else []


def definitions_dir() -> Path:
    """The folder of our .msg files: the checkout's, else that of an installed h2w_msgs."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    candidates = [CHECKOUT / OUR_PACKAGE / "msg", *(Path(prefix) / "share" / OUR_PACKAGE / "msg" for prefix in prefixes)]
    for candidate in candidates:
        if all((candidate / f"{name}.msg").is_file() for name in OUR_MESSAGES):
            return candidate
    raise FileNotFoundError(f"The message definitions of {OUR_PACKAGE} are needed to write bags; looked in {', '.join(map(str, candidates))}")

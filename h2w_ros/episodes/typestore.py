"""ROS message types without ROS: Jazzy's from rosbags, ours from their definition files."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

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


def definitions_dir() -> Path:
    """The folder of our .msg files: the checkout's, else that of an installed h2w_msgs."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    candidates = [CHECKOUT / OUR_PACKAGE / "msg", *(Path(prefix) / "share" / OUR_PACKAGE / "msg" for prefix in prefixes)]
    for candidate in candidates:
        if all((candidate / f"{name}.msg").is_file() for name in OUR_MESSAGES):
            return candidate
    raise FileNotFoundError(f"The message definitions of {OUR_PACKAGE} are needed to write bags; looked in {', '.join(map(str, candidates))}")

"""Whether the bags of a soak run hold what was answered while they were recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader

from h2w_ros.episodes.bag_repair import repair_bag
from h2w_ros.nodes import topics
from h2w_ros.nodes.soak.witness import Heard
from h2w_ros.nodes.types import typestore_with
from h2w_ros.ros_messages import image_from_msg

Answer = tuple[str, int]
# Two seconds at 16 Hz.
NUM_UNTIL_FOUND = 32


def answers_in(bag: Path) -> list[Answer]:
    """Session and index of every answer in the bag, in its order; ValueError when one is not whole."""
    repair_bag(bag)
    found: list[Answer] = []
    with AnyReader([bag], default_typestore=typestore_with("h2w_msgs/msg/Prediction")) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == f"/{topics.PREDICTION}"]
        for connection, _, raw in reader.messages(connections=wanted):
            msg: Any = reader.deserialize(raw, connection.msgtype)
            image_from_msg(msg.image)
            found.append((msg.session_id, msg.index))
    return found


def gaps(found: Sequence[Answer], heard: Iterable[Heard], until_s: float) -> list[Answer]:
    """Answers that were heard before this moment [s] and are not in the bag, though it was listening.

    A recorder and a new generator need a moment to find each other: what came before the first recorded answer, of the
    bag and of every session, is no gap.
    """
    known = [one for one in heard if one.heard_s < until_s]
    first_s = next((one.heard_s for one in known if found and (one.session_id, one.index) == found[0]), math.inf)
    since: dict[str, int] = {}
    for session, index in found:
        since[session] = min(index, since.get(session, index))
    late = Counter(one.session_id for one in known if one.heard_s > first_s)
    overslept = {session: NUM_UNTIL_FOUND for session, count in late.items() if session not in since and count > NUM_UNTIL_FOUND}
    present, begins = set(found), overslept | since
    listened = [one for one in known if one.heard_s > first_s and one.index > begins.get(one.session_id, math.inf)]
    return [(one.session_id, one.index) for one in listened if (one.session_id, one.index) not in present]

"""The inputs of a session that failed, as a bag that can be looked at and played into a generator again."""

from __future__ import annotations

import json
from pathlib import Path

from rclpy.logging import get_logging_directory
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import String

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_ros.episodes.bag_topics import RECORDING_INFO
from h2w_ros.nodes import topics
from h2w_ros.nodes.bag_file import BagFile
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.live_session import Failure
from h2w_ros.nodes.messages import condition_to_msg

REFERENCE_IMAGE = "/reference_image"
MAX_KEPT = 20  # a model that always fails must not fill the disk


def failures_dir(chosen: str) -> Path:
    """Where failed sessions are kept: the chosen folder, else one beside ROS's logs."""
    return Path(chosen) if chosen else Path(get_logging_directory()) / "h2w_failures"


def keep_inputs(folder: Path, failure: Failure) -> str:
    """Writes the bag; returns where it is, or why it could not be kept."""
    if folder.is_dir() and len(list(folder.iterdir())) >= MAX_KEPT:
        return f"its inputs are not kept, {folder} holds {MAX_KEPT} failures already"
    path = folder / f"session_{failure.start.session_id}_block_{failure.block}"
    try:
        bag = BagFile(path)
    except OSError as error:
        return f"its inputs could not be kept: {error}"
    _write(bag, failure)
    bag.close()
    return f"its inputs could not be kept: {bag.problem}" if bag.problem else f"its last {len(failure.moments)} inputs are kept in {path}"


def _write(bag: BagFile, failure: Failure) -> None:
    time_ns = failure.moments[0].condition.stamp_ns if failure.moments else 0
    facts = {"session_id": failure.start.session_id, "seed": failure.start.seed, "block": failure.block, "reason": failure.reason}
    bag.write(bag.open_topic(RECORDING_INFO, "std_msgs/msg/String"), time_ns, serialize_message(String(data=json.dumps(facts))))
    if failure.start.image is not None:
        picture: ImageMsg = image_to_msg(failure.start.image, time_ns, "")
        bag.write(bag.open_topic(REFERENCE_IMAGE, "sensor_msgs/msg/Image"), time_ns, serialize_message(picture))
    conditions = bag.open_topic(f"/{topics.CONDITION}", "h2w_msgs/msg/Condition")
    for moment in failure.moments:
        msg: ConditionMsg = condition_to_msg(moment)
        bag.write(conditions, moment.condition.stamp_ns, serialize_message(msg))

"""Predicted pictures as foxglove_msgs/CompressedVideo: a third of the JPEGs' bytes, for Foxglove and for thin lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from h2w_ros.condition import Image
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import bytes_field, stamp_from_ns
from h2w_ros.nodes.lifecycle import ManagedNode
from h2w_ros.nodes.params import setting
from h2w_ros.nodes.types import message_class
from h2w_ros.video_stream import AccessUnit, H264Stream

COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"


@dataclass(frozen=True)
class VideoConfig:
    """How the video topic is compressed."""

    video_crf: int = setting(18, "quality of predicted/video: x264's crf, 1 (best) to 51", 1, 51, live=True)
    video_keyframe_interval: int = setting(
        16, "frames of predicted/video from one keyframe to the next: whoever missed one sees nothing new until then", 1, 1024, live=True
    )


class VideoOut:
    """One H.264 stream (Annex B, no B-frames, an access unit a message), encoded only while somebody listens; who joins gets a keyframe at once.

    Without foxglove_msgs there is no such topic, and the log says so.
    """

    def __init__(self, node: ManagedNode, topic: str) -> None:
        self._stream: H264Stream | None = None
        self._num_listeners = 0
        self._publisher: Any = None
        try:
            self._kind = message_class(COMPRESSED_VIDEO)
        except ValueError as error:
            node.get_logger().info(f"{node.resolve_topic_name(topic)} is not offered: {error}")
            return
        self._publisher = node.create_lifecycle_publisher(self._kind, topic, topics.RESULT_OUT, qos_overriding_options=topics.overridable())

    def publish(self, picture: Image, stamp_ns: int, frame_id: str, config: VideoConfig) -> None:
        """The next picture; nothing where nobody listens."""
        num_listeners = 0 if self._publisher is None else self._publisher.get_subscription_count()
        has_newcomers, self._num_listeners = num_listeners > self._num_listeners, num_listeners
        if not num_listeners:
            self._stream = None
            return
        unit = self._encoded(picture, config, has_newcomers)
        msg = self._kind(timestamp=stamp_from_ns(stamp_ns), frame_id=frame_id, format="h264")
        msg.data = bytes_field(np.frombuffer(unit.data, np.uint8))
        self._publisher.publish(msg)

    def _encoded(self, picture: Image, config: VideoConfig, is_key: bool) -> AccessUnit:
        stream = self._stream
        if stream is None or (stream.crf, stream.keyframe_interval) != (config.video_crf, config.video_keyframe_interval):
            stream = self._stream = H264Stream(config.video_crf, config.video_keyframe_interval)
        return stream.encode(picture, is_key)

"""The predicted video as foxglove_msgs/CompressedVideo: what Foxglove asks of a stream, and that it shows what was predicted."""

from __future__ import annotations

import re
from typing import Any

import av
import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("foxglove_msgs.msg", reason="foxglove_msgs is not installed")

from foxglove_msgs.msg import CompressedVideo
from rclpy.parameter import Parameter
from robot_fixture import generator
from ros_fixture import PERIOD_NS, START_NS, EchoFrame, EchoSession, Ros, conditions, picture, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_ros.condition import Condition, Image
from h2w_ros.nodes import topics, video_out
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.messages import Moment
from h2w_ros.ros_messages import image_from_msg, stamp_to_ns
from h2w_ros.video_stream import H264Stream

SLICE, KEY_SLICE, PARAMETERS_OF_SEQUENCE, PARAMETERS_OF_PICTURE = 1, 5, 7, 8
ALIKE = 3.0


def moving(index: int) -> Image:
    """A smooth picture that slides; 4:2:0 keeps it."""
    return np.roll(cv2.resize(picture(0)[:3, :4], (128, 96), interpolation=cv2.INTER_CUBIC), 5 * index, axis=1)


class Film(EchoSession):
    """Predicts a film."""

    def push(self, condition: Condition) -> list[EchoFrame]:
        frames = super().push(condition)
        for frame in frames:
            frame.image = moving(frame.index)
        return list(frames)

    def resized(self, picture: Image) -> Image:
        return cv2.resize(picture, (128, 96))


def units_of(data: bytes) -> list[int]:
    """Kinds of the NAL units of an Annex B stream."""
    return [data[start.end()] & 31 for start in re.finditer(b"\x00\x00\x01", data)]


def is_key(msg: Any) -> bool:
    return KEY_SLICE in units_of(bytes(msg.data))


def decoded(msgs: list[Any]) -> list[Image]:
    """What a decoder shows that begins with the first message; a picture a message, none of them late."""
    decoder, shown = av.CodecContext.create("h264", "r"), []
    decoder.thread_count, decoder.flags = 1, av.codec.context.Flags.low_delay
    for msg in msgs:
        pictures = decoder.decode(av.Packet(bytes(msg.data)))
        assert len(pictures) == 1
        shown.append(pictures[0].to_ndarray(format="rgb24"))
    return shown


def predict(node: Generator, num_frames: int, first: int = 0) -> None:
    for moment in conditions(num_frames, START_NS + first * PERIOD_NS):
        node.accept(Moment(moment))


def test_every_message_is_one_picture_that_decodes_at_once_to_what_was_predicted(ros: Ros) -> None:
    videos, images = ros.collect(CompressedVideo, topics.PREDICTED_VIDEO), ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    node = generator(ros, Film(), video_crf=10, video_keyframe_interval=8)
    predict(node, 20)
    assert wait_until(lambda: len(videos) == len(images) == 20)
    assert {msg.format for msg in videos} == {"h264"}
    assert [(stamp_to_ns(msg.timestamp), msg.frame_id) for msg in videos] == [(stamp_to_ns(msg.header.stamp), msg.header.frame_id) for msg in images]
    for number, msg in enumerate(videos):
        units = units_of(bytes(msg.data))
        assert sum(unit in (SLICE, KEY_SLICE) for unit in units) == 1
        assert (KEY_SLICE in units) == (number % 8 == 0)
        assert ({PARAMETERS_OF_SEQUENCE, PARAMETERS_OF_PICTURE} <= set(units)) == (KEY_SLICE in units)
    shown, truth = np.stack(decoded(videos)), np.stack([image_from_msg(msg) for msg in images])
    assert np.abs(shown.astype(float) - truth).mean(axis=(1, 2, 3)).max() < ALIKE
    assert np.abs(shown[1:].astype(float) - truth[:-1]).mean() > 3 * ALIKE


def test_who_joins_later_begins_with_a_keyframe(ros: Ros) -> None:
    first = ros.collect(CompressedVideo, topics.PREDICTED_VIDEO)
    node = generator(ros, Film(), video_crf=10, video_keyframe_interval=1000)
    predict(node, 5)
    assert wait_until(lambda: len(first) == 5)
    second = ros.collect(CompressedVideo, topics.PREDICTED_VIDEO)
    assert wait_until(lambda: node.count_subscribers(f"/{topics.PREDICTED_VIDEO}") == 2)
    predict(node, 5, first=5)
    assert wait_until(lambda: len(first) == 10 and len(second) == 5)
    assert [is_key(msg) for msg in first] == [number in (0, 5) for number in range(10)]
    assert np.abs(decoded(second)[-1].astype(float) - moving(9)).mean() < ALIKE


def test_nothing_is_encoded_while_nobody_listens(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    encoded: list[Image] = []
    monkeypatch.setattr(H264Stream, "encode", lambda _, picture, is_key: encoded.append(picture))
    node = generator(ros, Film())
    predict(node, 5)
    assert wait_until(lambda: len(images) == 5)
    assert not encoded


def test_quality_changes_while_it_runs(ros: Ros) -> None:
    videos = ros.collect(CompressedVideo, topics.PREDICTED_VIDEO)
    node = generator(ros, Film())
    predict(node, 1)
    assert wait_until(lambda: len(videos) == 1)
    assert node.set_parameters([Parameter("video_crf", value=45)])[0].successful
    predict(node, 1, first=1)
    assert wait_until(lambda: len(videos) == 2)
    assert is_key(videos[1])
    assert len(videos[1].data) < len(videos[0].data) / 2


def test_without_the_message_package_the_node_works_and_says_what_is_missing(
    ros: Ros, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video_out, "COMPRESSED_VIDEO", "foxglove_messages_of_nobody/msg/CompressedVideo")
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    node = generator(ros, Film())
    predict(node, 3)
    assert wait_until(lambda: len(images) == 3)
    assert f"/{topics.PREDICTED_VIDEO}" not in dict(ros.node.get_topic_names_and_types())
    assert (
        "/predicted/video is not offered: message type foxglove_messages_of_nobody/msg/CompressedVideo is not installed here"
        in capfd.readouterr().err
    )

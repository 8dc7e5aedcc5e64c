"""Bags: what goes in as conditions comes out as conditions, at any mixture of rates, and what is missing is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from test_episodes import PERIOD_NS, hand_sets, moments, plain_conditions

from h2w_ros import cli
from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.episodes import bag_writer as ros
from h2w_ros.episodes.bag import Bag
from h2w_ros.episodes.bag_alignment import BagOptions
from h2w_ros.episodes.bag_writer import BagFormat, TopicSink, growing_bag, write_bag
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.typestore import ros_typestore
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.paths import models_dir

CAMERA = Camera(64, 48, 50.0, 50.0, 32.0, 24.0)
RAW = BagFormat(jpeg_quality=None)
MS = 1_000_000


def scene(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (CAMERA.height_px, CAMERA.width_px, 3), dtype=np.uint8)


def pose_at(stamp_ns: int) -> np.ndarray:
    return transform(rotation_from_axis_angle(np.array([0.0, stamp_ns * 1e-9, 0.0])), np.array([stamp_ns * 1e-9, 0.0, 0.0]))


def hand_at(stamp_ns: int) -> HandPose:
    return HandPose("right", pose_at(stamp_ns), np.zeros(45), np.zeros(10))


def write_messages(path: Path, messages: Iterable[tuple[str, int, Any]]) -> None:
    """Topic, recording time, message."""
    with growing_bag(path) as writer:
        sink = TopicSink(writer)
        for topic, recorded_ns, message in messages:
            sink.send(topic, recorded_ns, message)


def robot_messages(image_delay_ms: int = 0, seconds: float = 1.0) -> list[tuple[str, int, Any]]:
    """Pictures at 30 Hz, odometry at 100 Hz, hands at 60 Hz, in the order in which they were recorded."""
    stamps = {rate: [1_000_000_000 + round(k * 1e9 / rate) for k in range(round(rate * seconds) + 1)] for rate in (30, 60, 100)}
    messages = [("/head/image_raw", stamp + image_delay_ms * MS, ros.image_msg(scene(), stamp)) for stamp in stamps[30]]
    messages += [("/head/camera_info", stamp, ros.camera_info_msg(CAMERA, stamp)) for stamp in stamps[30]]
    messages += [("/odom", stamp, ros.odometry_msg(pose_at(stamp), stamp)) for stamp in stamps[100]]
    messages += [("/tracker/hands", stamp, ros.hands_msg((hand_at(stamp),), stamp)) for stamp in stamps[60]]
    return sorted(messages, key=lambda entry: entry[1])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hands=hand_sets, moment=moments)
def test_every_number_survives_the_bag(tmp_path_factory: pytest.TempPathFactory, hands: tuple, moment: tuple) -> None:
    path = tmp_path_factory.mktemp("bags") / "bag.mcap"
    camera, T_world_camera = moment
    picture = np.zeros((camera.height_px, camera.width_px, 3), dtype=np.uint8)
    conditions = [Condition(k * PERIOD_NS, camera, T_world_camera, hands, image=picture) for k in (1, 2, 3)]
    write_bag(path, conditions)
    found = list(open_recording(path).conditions())
    assert [condition.stamp_ns for condition in found] == [condition.stamp_ns for condition in conditions]
    for condition in found:
        np.testing.assert_allclose(condition.camera.K, camera.K, atol=1e-12)
        np.testing.assert_allclose(condition.T_world_camera, T_world_camera, atol=1e-7)
        assert {hand.side for hand in condition.hands} == {hand.side for hand in hands}
        for hand in hands:
            other = condition.hand(hand.side)
            np.testing.assert_allclose(other.T_world_wrist, hand.T_world_wrist, atol=1e-7)
            np.testing.assert_allclose(other.betas, hand.betas, atol=1e-12)
            assert abs(other.confidence - hand.confidence) < 1e-6


def test_raw_pictures_and_ready_made_hands_come_back_bit_by_bit(tmp_path: Path) -> None:
    conditions = plain_conditions(5)
    write_bag(tmp_path / "bag.mcap", conditions, bag_format=RAW)
    for found, written in zip(open_recording(tmp_path / "bag.mcap").conditions(), conditions, strict=True):
        assert np.array_equal(found.image, written.image)
        assert np.array_equal(found.hand_render, written.hand_render)


def test_a_ready_made_scene_comes_back_with_its_holes(tmp_path: Path) -> None:
    first, second, third = plain_conditions(3)
    scene = np.random.default_rng(0).integers(0, 256, first.image.shape, dtype=np.uint8)
    known = np.ones(scene.shape[:2], bool)
    known[0, 0] = False
    written = [replace(first, static_render=scene), replace(second, static_render=scene, static_known=known), third]
    write_bag(tmp_path / "bag.mcap", written, bag_format=RAW)
    whole, with_holes, without = open_recording(tmp_path / "bag.mcap").conditions()
    assert np.array_equal(whole.static_render, scene)
    assert whole.static_known is None
    assert np.array_equal(with_holes.static_known, known)
    assert np.array_equal(with_holes.static_render[known], scene[known])
    assert without.static_render is None


def test_a_bag_without_the_untouched_scene_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    moments = [replace(moment, static_render=moment.image) for moment in plain_conditions(3)]
    write_bag(tmp_path / "with.mcap", moments, description={"seed": 3, "static_render": "untouched scene"})
    assert cli.main(["bag", str(tmp_path / "with.mcap"), "--without-scene", "--out", str(tmp_path / "without.mcap")]) == 0
    known = [[moment.static_render is not None for moment in open_recording(tmp_path / f"{name}.mcap").conditions()] for name in ("with", "without")]
    assert known == [[True] * 3, [False] * 3]
    assert open_recording(tmp_path / "without.mcap").description == {"seed": 3}


def test_provenance_is_kept(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag.mcap", plain_conditions(1), domain="simulated tabletop", description={"seed": 3})
    recording = open_recording(tmp_path / "bag.mcap")
    assert (recording.domain, recording.description) == ("simulated tabletop", {"seed": 3})


def test_a_recording_that_begins_at_zero_loses_nothing(tmp_path: Path) -> None:
    conditions = [replace(condition, stamp_ns=k * PERIOD_NS) for k, condition in enumerate(plain_conditions(4))]
    write_bag(tmp_path / "bag.mcap", conditions)
    stamps = np.array([condition.stamp_ns for condition in open_recording(tmp_path / "bag.mcap").conditions()])
    assert (stamps - stamps[0]).tolist() == [0, PERIOD_NS, 2 * PERIOD_NS, 3 * PERIOD_NS]


def test_files_folders_and_sqlite_give_the_same(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag.mcap", plain_conditions(5), domain="real")
    write_bag(tmp_path / "folder", plain_conditions(5), domain="real")
    with Reader(tmp_path / "folder") as reader, Writer(tmp_path / "sqlite", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=ros_typestore()) for c in reader.connections}
        for connection, stamp_ns, raw in reader.messages():
            writer.write(connections[connection.topic], stamp_ns, raw)
    recordings = [open_recording(tmp_path / name) for name in ("bag.mcap", "folder", "sqlite")]
    assert [recording.num_frames for recording in recordings] == [5, 5, 5]
    assert {recording.domain for recording in recordings} == {"real"}
    assert all(np.array_equal(recordings[0].scene_image, other.scene_image) for other in recordings[1:])


def test_a_frame_range_equals_the_slice_of_the_whole(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag.mcap", plain_conditions(8))
    bag = open_recording(tmp_path / "bag.mcap")
    assert [c.stamp_ns for c in bag.conditions(2, 5)] == [c.stamp_ns for c in bag.conditions()][2:5]
    with pytest.raises(ValueError, match=r"holds frames 0\.\.7"):
        bag.conditions(2, 9)


@pytest.mark.parametrize("image_delay_ms", [0, 200])
def test_any_mixture_of_rates_becomes_one_clock(tmp_path: Path, image_delay_ms: int) -> None:
    write_messages(tmp_path / "bag", robot_messages(image_delay_ms))
    bag = open_recording(tmp_path / "bag")
    conditions = list(bag.conditions())
    assert len(conditions) == 17
    assert dict(bag.dropped) == {}
    for k, condition in enumerate(conditions):
        assert condition.stamp_ns == 1_000_000_000 + k * PERIOD_NS
        np.testing.assert_allclose(condition.T_world_camera, pose_at(condition.stamp_ns), atol=1e-6)
        np.testing.assert_allclose(condition.hand("right").T_world_wrist, pose_at(condition.stamp_ns), atol=1e-6)
        assert condition.image is not None


def test_missing_topics_are_named_beside_those_that_are_there(tmp_path: Path) -> None:
    write_messages(tmp_path / "bag", [entry for entry in robot_messages() if entry[0] in ("/head/image_raw", "/head/camera_info")])
    with pytest.raises(ValueError, match=r"lacks odometry \(nav_msgs/msg/Odometry\); it lacks hands .*The bag holds /head/camera_info \(sensor_msgs"):
        open_recording(tmp_path / "bag")


def test_two_cameras_are_a_question_that_the_user_answers(tmp_path: Path) -> None:
    extra = [("/wrist/image_raw", stamp, message) for topic, stamp, message in robot_messages() if topic == "/head/image_raw"]
    write_messages(tmp_path / "bag", robot_messages() + extra)
    with pytest.raises(ValueError, match="image could be any of /head/image_raw, /wrist/image_raw"):
        open_recording(tmp_path / "bag")
    bag = open_recording(tmp_path / "bag", BagOptions(topics={"image": "/head/image_raw"}))
    assert bag.topics.image == "/head/image_raw"
    with pytest.raises(ValueError, match="hands should be /nowhere"):
        open_recording(tmp_path / "bag", BagOptions(topics={"image": "/head/image_raw", "hands": "/nowhere"}))


def test_pictures_that_our_own_nodes_published_are_no_camera(tmp_path: Path) -> None:
    stamp = 1_000_000_000
    extra = [(topic, stamp, ros.image_msg(scene(), stamp)) for topic in ("/hand_render", "/robot/predicted/image_raw")]
    write_messages(tmp_path / "bag", robot_messages() + extra)
    assert open_recording(tmp_path / "bag").topics.image == "/head/image_raw"


def of_base(messages: list[tuple[str, int, Any]]) -> list[tuple[str, int, Any]]:
    """The same robot, whose odometry speaks of its base."""
    for topic, _, message in messages:
        if topic == "/odom":
            message.child_frame_id = "base"
    return messages


def mount_message(T_parent_child: np.ndarray) -> Any:
    pose = ros.pose_msg(T_parent_child)
    translation = ros.message("geometry_msgs/msg/Vector3", x=pose.position.x, y=pose.position.y, z=pose.position.z)
    motion = ros.message("geometry_msgs/msg/Transform", translation=translation, rotation=pose.orientation)
    edge = ros.message("geometry_msgs/msg/TransformStamped", header=ros.header_msg(1, "base"), child_frame_id=ros.CAMERA_FRAME, transform=motion)
    return ros.message("tf2_msgs/msg/TFMessage", transforms=[edge])


@pytest.mark.parametrize("picture", ["/predicted/image_raw", "/predicted/compressed"])
def test_what_was_predicted_is_read_as_an_episode_with_its_own_camera(tmp_path: Path, picture: str) -> None:
    camera, shown = Camera(16, 12, 20.0, 21.0, 8.5, 5.5), np.full((12, 16, 3), 90, np.uint8)
    messages = [(topic.replace("/head", ""), stamp, message) for topic, stamp, message in robot_messages()]
    stamps = [stamp for topic, stamp, _ in messages if topic == "/image_raw"]
    answers = [ros.image_msg(shown, stamp) if picture.endswith("raw") else ros.compressed_msg(shown, stamp, 90) for stamp in stamps]
    messages += [(picture, stamp, answer) for stamp, answer in zip(stamps, answers, strict=True)]
    messages += [("/predicted/camera_info", stamp, ros.camera_info_msg(camera, stamp)) for stamp in stamps]
    write_messages(tmp_path / "bag", sorted(messages, key=lambda entry: entry[1]))
    predicted = list(open_recording(tmp_path / "bag", BagOptions(topics={"image": picture})).conditions())
    assert len(predicted) == 17
    assert {moment.camera for moment in predicted} == {camera}
    assert all(np.abs(moment.image.astype(int) - shown).max() <= 3 for moment in predicted)
    assert {moment.camera for moment in open_recording(tmp_path / "bag").conditions()} == {CAMERA}
    write_messages(tmp_path / "older", [entry for entry in messages if entry[0] != "/predicted/camera_info"])
    with pytest.raises(ValueError, match="it lacks camera_info"):
        open_recording(tmp_path / "older", BagOptions(topics={"image": picture}))


def test_the_camera_is_found_through_tf_static_or_by_the_users_word(tmp_path: Path) -> None:
    T_base_optical = transform(rotation_from_axis_angle(np.array([-1.2, 0.3, 0.1])), np.array([0.1, 0.0, 1.4]))
    write_messages(tmp_path / "with", [*of_base(robot_messages()), ("/tf_static", 1_000_000_000, mount_message(T_base_optical))])
    write_messages(tmp_path / "without", of_base(robot_messages()))
    for path, options in ((tmp_path / "with", None), (tmp_path / "without", BagOptions(T_child_optical=T_base_optical))):
        first = next(open_recording(path, options).conditions())
        np.testing.assert_allclose(first.T_world_camera, pose_at(first.stamp_ns) @ T_base_optical, atol=1e-9)
    with pytest.raises(ValueError, match="must connect odometry's child frame 'base' to the camera's 'camera_optical_frame'"):
        next(open_recording(tmp_path / "without").conditions())


def test_an_uncalibrated_camera_is_said(tmp_path: Path) -> None:
    messages = robot_messages()
    for topic, _, message in messages:
        if topic == "/head/camera_info":
            message.k = np.zeros(9)
    write_messages(tmp_path / "bag", messages)
    with pytest.raises(ValueError, match="uncalibrated"):
        list(open_recording(tmp_path / "bag").conditions())


def test_hands_in_another_frame_are_refused(tmp_path: Path) -> None:
    messages = robot_messages()
    for topic, _, message in messages:
        if topic == "/tracker/hands":
            message.header.frame_id = "headset"
    write_messages(tmp_path / "bag", messages)
    with pytest.raises(ValueError, match="hands must be in odometry's world frame 'odom', they are in 'headset'"):
        list(open_recording(tmp_path / "bag").conditions())


def test_pictures_of_a_distorted_lens_are_rectified(tmp_path: Path) -> None:
    messages = robot_messages()
    for topic, _, message in messages:
        if topic == "/head/camera_info":
            message.d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
            message.p = np.zeros(12)
    write_messages(tmp_path / "bag", messages)
    first = next(open_recording(tmp_path / "bag").conditions())
    assert first.camera != CAMERA
    assert not np.array_equal(first.image, scene())


def test_what_is_broken_inside_a_bag_is_dropped_and_counted(tmp_path: Path) -> None:
    messages = robot_messages()
    poses = [message for topic, _, message in messages if topic == "/odom"]
    poses[50].pose.pose.orientation.w = 7.0
    hands = [message for topic, _, message in messages if topic == "/tracker/hands"]
    hands[30].hands[0].side = 9
    write_messages(tmp_path / "bag", messages)
    bag = Bag(tmp_path / "bag")
    assert len(list(bag.conditions())) == 17
    assert bag.dropped == {"pose_invalid": 1, "hand_invalid": 1}


def test_a_clock_that_jumps_ends_the_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = robot_messages()
    loop = [(topic, recorded + 2_000_000_000, message) for topic, recorded, message in robot_messages(seconds=0.5)]
    for _, _, message in loop:
        message.header.stamp.sec += 100
    write_messages(tmp_path / "bag", first + loop)
    bag = Bag(tmp_path / "bag")
    stamps = [condition.stamp_ns for condition in bag.conditions()]
    assert stamps == sorted(stamps)
    assert max(stamps) <= 2_000_000_000
    assert bag.dropped["after_clock_jump"] == 1
    assert "the clock or the camera jumps" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_a_bag_that_was_cut_off_before_its_first_chunk_was_whole_is_refused_by_name(tmp_path: Path, share: float) -> None:
    write_bag(tmp_path / "bag.mcap", plain_conditions(8))
    whole = (tmp_path / "bag.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"cut\.mcap"):
        open_recording(tmp_path / "cut.mcap")


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterable[Condition]:
        yield plain_conditions(1)[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_bag(tmp_path / "bag.mcap", failing())
    assert list(tmp_path.iterdir()) == []


def test_other_peoples_recording_info_is_no_reason_to_fail(tmp_path: Path) -> None:
    info = [("/recording_info", 1_000_000_000, ros.message("std_msgs/msg/String", data="not JSON"))]
    write_messages(tmp_path / "bag", info + robot_messages())
    assert open_recording(tmp_path / "bag").domain == "unknown"


def test_flipped_bytes_anywhere_in_a_bag_are_a_clear_error_or_no_matter(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag.mcap", plain_conditions(3))
    whole, rng = (tmp_path / "bag.mcap").read_bytes(), np.random.default_rng(0)
    refusals = []
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 0xFF
        (tmp_path / "damaged.mcap").write_bytes(damaged)
        try:
            list(open_recording(tmp_path / "damaged.mcap").conditions())
        except ValueError as error:
            refusals.append(str(error))
    assert refusals
    assert all("damaged.mcap" in refusal for refusal in refusals)


def test_the_shipped_recording_is_whole_small_and_of_an_evaluation_seed() -> None:
    path = models_dir() / "demo" / "tabletop.mcap"
    bag = Bag(path)
    conditions = list(bag.conditions())
    assert (len(conditions), bag.domain, dict(bag.dropped)) == (161, "simulated tabletop", {})
    assert all(len(condition.hands) == 2 and condition.image is not None for condition in conditions)
    assert bag.description["seed"] >= 900_000
    assert path.stat().st_size < 4e6

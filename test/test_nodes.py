"""Real messages through the real nodes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from ros_fixture import CAMERA, PATIENT, PERIOD_NS, START_NS, EchoSession, Ros, conditions, hand, picture, ros_graph, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from tf2_msgs.msg import TFMessage

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Hands, Prediction
from h2w_msgs.srv import ResetSession
from h2w_ros.camera import plucker_rays
from h2w_ros.condition import Condition
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.compose import compose
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import image_to_compressed, image_to_msg, stamp_from_ns
from h2w_ros.nodes.messages import Moment, camera_info, condition_from_msg, condition_to_msg, hands_to_msg, odometry_to_msg, pose_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import image_from_compressed, image_from_msg, stamp_to_ns

OPTICAL = "camera_optical_frame"
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def ros():
    with ros_graph() as graph:
        yield graph


class Robot:
    """Publishes what a robot publishes; pictures before numbers, as a recording does."""

    def __init__(self, ros: Ros, is_compressed: bool = False, child_frame: str = OPTICAL) -> None:
        self.is_compressed, self.child_frame = is_compressed, child_frame
        self.image = ros.publisher(*((CompressedImage, topics.IMAGE_COMPRESSED) if is_compressed else (ImageMsg, topics.IMAGE)))
        self.info = ros.publisher(CameraInfo, topics.CAMERA_INFO)
        self.odometry = ros.publisher(Odometry, topics.ODOMETRY)
        self.hands = ros.publisher(Hands, topics.HANDS)
        outputs = (self.image, self.info, self.odometry, self.hands)
        assert wait_until(lambda: all(output.get_subscription_count() for output in outputs))

    def send(self, condition: Condition, hands_frame: str = "odom") -> None:
        stamp_ns = condition.stamp_ns
        self.info.publish(camera_info(condition.camera, stamp_ns, OPTICAL))
        if condition.image is not None:
            to_msg = image_to_compressed if self.is_compressed else image_to_msg
            self.image.publish(to_msg(condition.image, stamp_ns, OPTICAL))
        self.odometry.publish(odometry_to_msg(condition.T_world_camera, stamp_ns, "odom", self.child_frame))
        self.hands.publish(hands_to_msg(condition.hands, stamp_ns, hands_frame))

    def play(self, moments: list[Condition], period_s: float = 0.02) -> None:
        for moment in moments:
            self.send(moment)
            time.sleep(period_s)


def edge(parent: str, child: str, T_parent_child: np.ndarray) -> TransformStamped:
    msg, pose = TransformStamped(child_frame_id=child), pose_to_msg(T_parent_child)
    msg.header.frame_id, msg.transform.rotation = parent, pose.orientation
    for axis in "xyz":
        setattr(msg.transform.translation, axis, getattr(pose.position, axis))
    return msg


def values_of(msgs: list[DiagnosticArray], node: str) -> dict[str, str]:
    """The latest diagnostics of a node."""
    statuses = [status for msg in msgs for status in msg.status if status.name == f"/{node}"]
    return {item.key: item.value for item in statuses[-1].values} if statuses else {}


def conditioner(ros: Ros, **parameters: object) -> Conditioner:
    return ros.add(Conditioner(context=ros.context, parameter_overrides=overrides(**PATIENT, **parameters)))


def generator(ros: Ros, session: EchoSession, **parameters: object) -> Generator:
    parameters = {"inbox_length": 50, **parameters}
    return ros.add(Generator(lambda config: session, context=ros.context, parameter_overrides=overrides(**parameters)))


def test_a_condition_survives_its_message() -> None:
    original = replace(
        conditions(1)[0],
        T_world_camera=transform(rotation_from_axis_angle(np.array([0.1, -0.4, 0.2])), np.array([1.0, 2.0, 3.0])),
        hands=(hand(3, "left"), hand(4)),
        hand_render=picture(9),
    )
    moment = condition_from_msg(condition_to_msg(Moment(original, "odom", OPTICAL, 123)))
    assert (moment.world_frame, moment.camera_frame, moment.received_ns) == ("odom", OPTICAL, 123)
    assert moment.condition.camera == original.camera
    assert moment.condition.T_world_camera == pytest.approx(original.T_world_camera, abs=1e-12)
    assert [h.side for h in moment.condition.hands] == ["left", "right"]
    assert np.array_equal(moment.condition.hands[1].joint_angles_rad, original.hands[1].joint_angles_rad)
    assert np.array_equal(moment.condition.image, original.image)
    assert np.array_equal(moment.condition.hand_render, original.hand_render)
    assert moment.condition.static_render is None


def test_the_conditioner_gives_out_what_the_robot_sent(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    sent = conditions(8)
    Robot(ros).play(sent)
    assert wait_until(lambda: len(heard) == 8)
    for msg, original in zip(heard, sent, strict=True):
        condition = condition_from_msg(msg).condition
        assert condition.stamp_ns == original.stamp_ns
        assert condition.T_world_camera == pytest.approx(original.T_world_camera, abs=1e-9)
        assert np.array_equal(condition.image, original.image)
        assert condition.camera == original.camera
        assert condition.hands[0].joint_angles_rad == pytest.approx(original.hands[0].joint_angles_rad)


def test_compressed_pictures_are_found_and_used(ros: Ros) -> None:
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    smooth = np.tile(np.linspace(0, 255, CAMERA.width_px, dtype=np.uint8)[None, :, None], (CAMERA.height_px, 1, 3))
    Robot(ros, is_compressed=True).play([replace(c, image=smooth) for c in conditions(4)])
    assert wait_until(lambda: len(heard) == 4)
    assert np.abs(image_from_msg(heard[0].image).astype(int) - smooth).mean() < 3


def test_the_camera_mount_comes_from_tf_static(ros: Ros) -> None:
    T_base_optical = transform(rotation_from_axis_angle(np.array([-np.pi / 2, 0.0, 0.0])), np.array([0.1, 0.0, 1.5]))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED).publish(TFMessage(transforms=[edge("base_link", OPTICAL, T_base_optical)]))
    robot = Robot(ros, child_frame="base_link")
    time.sleep(0.2)
    sent = conditions(4)
    robot.play(sent)
    assert wait_until(lambda: len(heard) >= 3)
    first = condition_from_msg(heard[0]).condition
    original = next(c for c in sent if c.stamp_ns == first.stamp_ns)
    assert first.T_world_camera == pytest.approx(original.T_world_camera @ T_base_optical, abs=1e-9)


def test_hands_of_a_frame_fixed_to_the_world_are_taken_there(ros: Ros) -> None:
    T_odom_tracker = transform(rotation_from_axis_angle(np.array([0.0, 0.0, np.pi / 2])), np.array([1.0, 2.0, 0.0]))
    heard = ros.collect(ConditionMsg, topics.CONDITION)
    conditioner(ros)
    robot = Robot(ros)
    ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED).publish(TFMessage(transforms=[edge("odom", "tracker", T_odom_tracker)]))
    time.sleep(0.3)
    for moment in conditions(4):
        robot.send(moment, hands_frame="tracker")
        time.sleep(0.02)
    assert wait_until(lambda: len(heard) == 4)
    expected = T_odom_tracker @ conditions(4)[3].hands[0].T_world_wrist
    assert condition_from_msg(heard[3]).condition.hands[0].T_world_wrist == pytest.approx(expected, abs=1e-9)


def test_rays_and_hand_pictures_are_those_of_the_condition(ros: Ros) -> None:
    rays, renders, heard = (
        ros.collect(ImageMsg, topics.PLUCKER_RAYS),
        ros.collect(ImageMsg, topics.HAND_RENDER),
        ros.collect(ConditionMsg, topics.CONDITION),
    )
    conditioner(ros)
    Robot(ros).play(conditions(4))
    assert wait_until(lambda: len(rays) == len(renders) == len(heard) == 4)
    assert (rays[3].encoding, rays[3].step, rays[3].width) == ("32FC6", 24 * CAMERA.width_px, CAMERA.width_px)
    values = np.frombuffer(rays[3].data, np.float32).reshape(CAMERA.height_px, CAMERA.width_px, 6)
    assert values == pytest.approx(plucker_rays(CAMERA, transform(np.eye(3), np.array([0.006, 0.0, 0.0]))), abs=1e-5)
    assert image_from_msg(renders[3]).max() > 0
    assert renders[3].header == heard[3].header.__class__(stamp=heard[3].header.stamp, frame_id=OPTICAL)


def test_bad_input_is_counted_by_reason_and_the_good_goes_through(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros)
    robot = Robot(ros)
    sent = conditions(12)
    robot.play(sent[:4])
    stamp_ns = sent[4].stamp_ns - 1_000_000
    crooked = odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL)
    crooked.pose.pose.orientation.w = 0.2
    robot.odometry.publish(crooked)
    lost = odometry_to_msg(np.eye(4), stamp_ns, "odom", OPTICAL)
    lost.pose.pose.position.x = float("nan")
    robot.odometry.publish(lost)
    robot.odometry.publish(odometry_to_msg(np.eye(4), 0, "odom", OPTICAL))
    elsewhere = hands_to_msg((hand(1),), stamp_ns, "tracker_base")
    robot.hands.publish(elsewhere)
    bad = hands_to_msg((hand(1), hand(2, "left")), sent[4].stamp_ns - 500_000, "odom")
    bad.hands[0].side = 0
    robot.hands.publish(bad)
    time.sleep(0.05)
    robot.play(sent[4:])
    assert wait_until(lambda: len(heard) == 12)
    assert wait_until(lambda: int(values_of(diagnostics, "conditioner").get("conditions", 0)) == 12)
    counts = {key: value for key, value in values_of(diagnostics, "conditioner").items() if key.startswith("dropped.")}
    assert counts == {"dropped.pose_invalid": "2", "dropped.pose_zero_stamp": "1", "dropped.hands_in_other_frame": "1", "dropped.hand_invalid": "1"}


def test_an_uncalibrated_camera_and_silent_topics_are_named(ros: Ros) -> None:
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = conditioner(ros)
    warnings: list[str] = []
    node.get_logger().warning = warnings.append
    info = ros.publisher(CameraInfo, topics.CAMERA_INFO)
    assert wait_until(info.get_subscription_count)
    info.publish(CameraInfo(width=64, height=48))
    assert wait_until(lambda: any("/camera_info" in text and "uncalibrated" in text for text in warnings))
    assert wait_until(lambda: any("/odometry" in text and "no conditions" in text for text in warnings))
    assert wait_until(lambda: values_of(diagnostics, "conditioner").get("dropped.camera_info_unusable") == "1")


def test_a_recording_that_loops_starts_the_clock_anew(ros: Ros) -> None:
    heard, diagnostics = ros.collect(ConditionMsg, topics.CONDITION), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    conditioner(ros)
    robot = Robot(ros)
    for _ in range(2):
        robot.play(conditions(48), period_s=0.01)
    assert wait_until(lambda: len(heard) > 90 and stamp_to_ns(heard[-1].header.stamp) == START_NS + 47 * PERIOD_NS)
    assert wait_until(lambda: values_of(diagnostics, "conditioner").get("clock_restarts") == "1")


def test_predictions_carry_the_stamps_that_they_answer(ros: Ros) -> None:
    images, compressed = ros.collect(ImageMsg, topics.PREDICTED_IMAGE), ros.collect(CompressedImage, topics.PREDICTED_COMPRESSED)
    predictions = ros.collect(Prediction, topics.PREDICTION)
    generator(ros, EchoSession(frames_per_block=4))
    send = ros.publisher(ConditionMsg, topics.CONDITION)
    assert wait_until(send.get_subscription_count)
    sent = conditions(9)
    for condition in sent:
        send.publish(condition_to_msg(Moment(condition, "odom", OPTICAL, time.time_ns())))
        time.sleep(0.02)
    assert wait_until(lambda: len(images) == len(predictions) == len(compressed) == 9)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert [msg.index for msg in predictions] == list(range(9))
    assert [msg.is_reference for msg in predictions] == [True] + 8 * [False]
    assert {msg.header.frame_id for msg in images} == {OPTICAL}
    assert [stamp_to_ns(stamp) for stamp in predictions[6].input_stamps] == [c.stamp_ns for c in sent[5:9]]
    assert 0 < stamp_to_ns(predictions[6].latency) < 1_000_000_000
    assert len({msg.session_id for msg in predictions}) == 1
    assert abs(int(image_from_compressed(compressed[5]).mean()) - 5) <= 2


def test_a_slow_generator_answers_the_newest_and_counts_the_rest(ros: Ros) -> None:
    predictions, diagnostics = ros.collect(Prediction, topics.PREDICTION, 100), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = generator(ros, EchoSession(delay_s=0.1), inbox_length=2)
    sent = conditions(30)
    for condition in sent:
        node.accept(Moment(condition, received_ns=time.time_ns()))
        time.sleep(0.01)
    assert wait_until(lambda: predictions and stamp_to_ns(predictions[-1].header.stamp) == sent[-1].stamp_ns)
    assert wait_until(lambda: values_of(diagnostics, "generator").get("dropped.inbox_full") == str(30 - len(predictions)))
    assert len(predictions) < 15
    assert float(values_of(diagnostics, "generator")["latency_ms.p95"]) < 600
    assert values_of(diagnostics, "generator")["stage_ms.echo"] == "0.500"


def test_nothing_is_predicted_before_a_picture_of_the_scene_is_there(ros: Ros) -> None:
    predictions = ros.collect(Prediction, topics.PREDICTION)
    session = EchoSession()
    node = generator(ros, session)
    blind = [replace(c, image=None) for c in conditions(4)]
    for moment in (*blind[:2], conditions(3)[2], blind[3]):
        node.accept(Moment(moment))
        time.sleep(0.02)
    assert wait_until(lambda: len(predictions) == 2)
    assert [c.stamp_ns for c in session.pushed] == [START_NS + 2 * PERIOD_NS, START_NS + 3 * PERIOD_NS]


def test_stamps_that_jump_begin_a_new_session(ros: Ros) -> None:
    predictions = ros.collect(Prediction, topics.PREDICTION)
    node = generator(ros, EchoSession(), seed=5)
    for condition in [*conditions(3), *conditions(3), *conditions(3, START_NS + 60_000_000_000)]:
        node.accept(Moment(condition))
        time.sleep(0.02)
    assert wait_until(lambda: len(predictions) == 9)
    assert [msg.index for msg in predictions] == [0, 1, 2] * 3
    assert len({msg.session_id for msg in predictions}) == 3


def call_reset(ros: Ros, **request: object) -> ResetSession.Response:
    client = ros.node.create_client(ResetSession, topics.RESET_SESSION)
    assert client.wait_for_service(5.0)
    future = client.call_async(ResetSession.Request(**request))
    assert wait_until(future.done)
    return future.result()


def test_the_reset_service_begins_a_new_session_from_the_given_picture(ros: Ros) -> None:
    predictions = ros.collect(Prediction, topics.PREDICTION)
    session = EchoSession()
    node = generator(ros, session)
    moments = conditions(4)
    for condition in moments[:2]:
        node.accept(Moment(condition))
    assert wait_until(lambda: len(predictions) == 2)
    answer = call_reset(ros, seed=7, image=image_to_msg(picture(1), 0, ""))
    assert answer.accepted
    assert wait_until(lambda: session.resets[-1][1] == 7)
    assert np.array_equal(session.resets[-1][0], picture(1))
    node.accept(Moment(replace(moments[2], image=None)))
    assert wait_until(lambda: len(predictions) == 3)
    assert (predictions[2].index, predictions[2].session_id) == (0, answer.session_id)


def test_a_reset_that_cannot_be_met_leaves_the_session_alone(ros: Ros) -> None:
    session = EchoSession()
    generator(ros, session)
    refused = call_reset(ros, seed=7, image=ImageMsg(encoding="yuv422", width=4, height=4))
    assert not refused.accepted
    assert "yuv422" in refused.message
    assert {seed for _, seed in session.resets} == {0}


def test_a_condition_that_makes_no_sense_is_dropped_and_counted(ros: Ros) -> None:
    diagnostics, images = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    generator(ros, EchoSession())
    send = ros.publisher(ConditionMsg, topics.CONDITION)
    assert wait_until(send.get_subscription_count)
    send.publish(ConditionMsg())
    send.publish(condition_to_msg(Moment(conditions(1)[0])))
    assert wait_until(lambda: len(images) == 1)
    assert wait_until(lambda: values_of(diagnostics, "generator").get("dropped.condition_invalid") == "1")


def test_a_generator_that_fails_says_so(ros: Ros) -> None:
    class Broken(EchoSession):
        def push(self, condition: Condition) -> list:
            if condition.stamp_ns < START_NS:
                return []
            raise RuntimeError("out of memory")

    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = generator(ros, Broken())
    node.accept(Moment(conditions(1)[0]))
    assert wait_until(lambda: any(s.level == s.ERROR and "out of memory" in s.message for msg in diagnostics for s in msg.status))


def test_a_missing_model_refuses_to_configure(ros: Ros) -> None:
    def missing(config: object) -> EchoSession:
        raise FileNotFoundError("No model at nowhere")

    node = Generator(missing, context=ros.context)
    with pytest.raises(ValueError, match="generator could not start"):
        node.start()
    node.destroy_node()


def test_grounding_shows_the_session_the_pictures_of_its_last_block(ros: Ros) -> None:
    session = EchoSession()
    node = generator(ros, session, ground_every_s=0.25)
    sent = conditions(13)
    for condition in sent:
        node.accept(Moment(condition))
        time.sleep(0.01)
    assert wait_until(lambda: len(session.observed) == 3)
    assert [np.array_equal(seen, sent[k].image) for seen, k in zip(session.observed, (4, 8, 12), strict=True)] == [True] * 3


def test_both_nodes_in_one_process_hand_conditions_over_without_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    for node in compose(lambda config: session, context=ros.context, parameter_overrides=overrides(**PATIENT, inbox_length=50)):
        ros.add(node)
    sent = conditions(8)
    Robot(ros).play(sent)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert ros.node.count_subscribers(f"/{topics.CONDITION}") == 0


def test_nodes_apart_answer_the_same_moments_over_a_topic(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    session = EchoSession()
    generator(ros, session)
    conditioner(ros)
    sent = conditions(8)
    Robot(ros).play(sent, period_s=0.04)
    assert wait_until(lambda: len(images) == 8)
    assert [stamp_to_ns(msg.header.stamp) for msg in images] == [c.stamp_ns for c in sent]
    assert all(np.array_equal(ours.image, original.image) for ours, original in zip(session.pushed, sent, strict=True))


def test_a_lifecycle_manager_can_stop_and_start_the_nodes(ros: Ros) -> None:
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    node = generator(ros, EchoSession())
    node.trigger_deactivate()
    node.accept(Moment(conditions(1)[0]))
    node.trigger_cleanup()
    assert wait_until(lambda: ros.node.count_subscribers(f"/{topics.CONDITION}") == 0)
    node.start()
    node.accept(Moment(conditions(2)[1]))
    assert wait_until(lambda: len(images) == 1)
    assert stamp_to_ns(images[0].header.stamp) == START_NS + PERIOD_NS


def test_stamps_keep_every_nanosecond() -> None:
    stamp_ns = 1_700_000_123_456_789_001
    assert stamp_to_ns(stamp_from_ns(stamp_ns)) == stamp_ns

"""Conditions in, predicted pictures out: real messages through the real node."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from robot_fixture import OPTICAL, call_reset, generator, values_of
from ros_fixture import ECHO_SIZE, PERIOD_NS, START_NS, EchoSession, Ros, conditions, picture, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import String
from std_srvs.srv import Trigger

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Prediction
from h2w_ros.camera import Resize
from h2w_ros.condition import Condition
from h2w_ros.nodes import topics
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.messages import Moment, condition_to_msg
from h2w_ros.rectify import Rectifier
from h2w_ros.ros_messages import image_from_compressed, lens_from_msg, stamp_to_ns


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


@pytest.mark.parametrize("policy", ["squash", "crop"])
def test_predicted_pictures_come_with_the_camera_that_they_were_taken_with(ros: Ros, policy: str) -> None:
    images, infos = ros.collect(ImageMsg, topics.PREDICTED_IMAGE), ros.collect(CameraInfo, topics.PREDICTED_INFO)
    node = generator(ros, EchoSession(), resize_policy=policy)
    (sent,) = conditions(1)
    node.accept(Moment(sent, "odom", OPTICAL, time.time_ns()))
    assert wait_until(lambda: len(images) == len(infos) == 1)
    assert infos[0].header == images[0].header
    assert Rectifier(lens_from_msg(infos[0])).camera == Resize(*ECHO_SIZE, policy).camera(sent.camera)
    assert (infos[0].width, infos[0].height) == ECHO_SIZE


def test_a_slow_generator_answers_the_newest_and_counts_the_rest(ros: Ros) -> None:
    predictions, diagnostics = ros.collect(Prediction, topics.PREDICTION, 100), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    node = generator(ros, EchoSession(delay_s=0.1), inbox_length=2)
    sent = conditions(30)
    for condition in sent:
        node.accept(Moment(condition, received_ns=time.time_ns()))
        time.sleep(0.01)
    assert wait_until(lambda: predictions and stamp_to_ns(predictions[-1].header.stamp) == sent[-1].stamp_ns)
    assert wait_until(lambda: values_of(diagnostics, "generator").get("dropped.inbox_full") == str(30 - len(predictions)))
    assert len(predictions) < 30
    assert float(values_of(diagnostics, "generator")["latency_ms.p95"]) > 100.0
    assert values_of(diagnostics, "generator")["stage_ms.echo"] == "0.500"


@pytest.mark.parametrize(("told", "said"), [("a kitchen", "the recording is a kitchen"), ("the simulated table", ""), (None, "")])
def test_a_recording_that_the_model_does_not_know_is_said_to_be_out_of_domain(ros: Ros, told: str | None, said: str) -> None:
    session, diagnostics = EchoSession(), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    session.config = SimpleNamespace(domain="the simulated table")
    generator(ros, session)
    info = ros.publisher(String, topics.RECORDING_INFO, topics.LATCHED)
    info.publish(String(data="no JSON"))
    info.publish(String(data=json.dumps({"domain": told, "description": {}})))
    assert wait_until(lambda: "out_of_domain" in values_of(diagnostics, "generator"))
    assert wait_until(lambda: said in values_of(diagnostics, "generator")["out_of_domain"])
    assert said or values_of(diagnostics, "generator")["out_of_domain"] == ""


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


def test_grounding_is_done_once_when_it_is_asked_for(ros: Ros) -> None:
    session = EchoSession()
    node = generator(ros, session)
    client = ros.node.create_client(Trigger, topics.GROUND_SESSION)
    assert client.wait_for_service(10.0)
    sent = conditions(6)
    for condition in sent[:3]:
        node.accept(Moment(condition))
    assert wait_until(lambda: len(session.pushed) == 3)
    assert not session.observed
    answer = client.call_async(Trigger.Request())
    assert wait_until(answer.done)
    assert answer.result().success
    for condition in sent[3:]:
        node.accept(Moment(condition))
        time.sleep(0.01)
    assert wait_until(lambda: len(session.pushed) == 6 and session.observed)
    assert len(session.observed) == 1
    assert any(np.array_equal(session.observed[0], condition.image) for condition in sent[2:4])


def test_grounding_follows_when_disagreement_passes_its_limit_and_diagnostics_tell_it(ros: Ros) -> None:
    # Predicted pictures are nearly black: a black camera agrees with them, a white one does not.
    heard = ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    session = EchoSession()
    node = generator(ros, session, ground_above=50.0)
    shades = [0, 0, 0, 255, 0]
    for condition, shade in zip(conditions(5), shades, strict=True):
        node.accept(Moment(replace(condition, image=np.full_like(condition.image, shade))))
        time.sleep(0.02)
    assert wait_until(lambda: len(session.pushed) == 5)
    assert wait_until(lambda: values_of(heard, "generator").get("groundings") == "1")
    assert [image.min() for image in session.observed] == [255]
    assert 0.0 <= float(values_of(heard, "generator")["disagreement"]) < 10.0


def test_grounding_shows_the_session_the_pictures_of_its_last_block(ros: Ros) -> None:
    session = EchoSession()
    node = generator(ros, session, ground_every_s=0.25)
    sent = conditions(13)
    for condition in sent:
        node.accept(Moment(condition))
        time.sleep(0.01)
    assert wait_until(lambda: len(session.observed) == 3)
    assert [np.array_equal(seen, sent[k].image) for seen, k in zip(session.observed, (4, 8, 12), strict=True)] == [True] * 3

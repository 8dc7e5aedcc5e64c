"""The preview page beside a robot: what its viewers are shown and told."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from page_fixture import EchoGenerator, scenes
from process_fixture import ECHO_GENERATOR, process
from robot_fixture import generator
from ros_fixture import CAMERA, START_NS, EchoSession, Ros, conditions, wait_until
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Prediction
from h2w_ros.condition import Image
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.messages import Moment, condition_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.preview import Preview
from h2w_ros.web.outlet import Facts


class Watcher:
    """A page's viewer without a page."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Image, Facts]] = []
        self.status: Mapping[str, object] = {}

    def show(self, stream: str, picture: Image, facts: Facts) -> None:
        self.shown.append((stream, picture, facts))

    def tell(self, status: Mapping[str, object]) -> None:
        self.status = status

    def of(self, stream: str) -> list[tuple[Image, Facts]]:
        return [(picture, facts) for name, picture, facts in list(self.shown) if name == stream]


@pytest.fixture
def preview(ros: Ros) -> Preview:
    return ros.add(Preview(lambda _: None, scenes(), EchoGenerator, context=ros.context, parameter_overrides=overrides(port=0)))


def test_nothing_is_heard_until_somebody_watches_and_then_everything_is_shown(ros: Ros, preview: Preview) -> None:
    watcher, node = Watcher(), generator(ros, EchoSession(), listens=True)
    sender = ros.publisher(ConditionMsg, topics.CONDITION, topics.RESULT_OUT)
    assert wait_until(lambda: sender.get_subscription_count() == 1)
    preview._hub.add(watcher)
    assert wait_until(lambda: sender.get_subscription_count() == 2 and node._predictions.get_subscription_count() == 1)
    sent = conditions(6)
    for condition in sent:
        sender.publish(condition_to_msg(Moment(condition, received_ns=time.time_ns())))
        time.sleep(0.03)
    shown = watcher.of
    assert wait_until(lambda: bool(shown("prediction")) and shown("prediction")[-1][1]["index"] == 5)  # what is late may be left out, the last never
    picture, facts = watcher.of("camera")[0]
    assert any(np.array_equal(picture, condition.image) for condition in sent)
    assert np.shape(facts["hands"]) == (1, 21, 2)
    last = shown("prediction")[-1][1]
    assert 0.0 < float(str(last["latency_ms"])) < 5000.0
    assert wait_until(lambda: shown("camera")[-1][1]["hands"] == last["hands"])
    assert wait_until(lambda: dict(watcher.status.get("facts") or {}).get("Frames") == "6")
    preview._hub.remove(watcher)
    assert wait_until(lambda: sender.get_subscription_count() == 1)


def test_controls_answer_in_words_with_and_without_a_generator(ros: Ros, preview: Preview) -> None:
    assert "no generator answers at /reset_session" in preview.reset(3)
    assert "no generator answers at /ground_session" in preview.ground()
    session = EchoSession()
    generator(ros, session)
    assert wait_until(lambda: preview._reset_client.service_is_ready() and preview._ground_client.service_is_ready())
    assert "begins with the next picture" in preview.reset(3)
    assert wait_until(lambda: session.resets[-1] == (None, 3))
    assert "with the next block" in preview.ground()


@pytest.mark.slow
def test_a_killed_generator_is_told_and_so_is_its_return(ros: Ros, preview: Preview) -> None:
    watcher = Watcher()
    preview._hub.add(watcher)
    assert wait_until(lambda: "no generator is heard" in str(watcher.status.get("problem")))
    with process(ros, ECHO_GENERATOR) as running:
        assert wait_until(lambda: "no generator" not in str(watcher.status.get("problem")) and watcher.status.get("facts"))
        running.send_signal(signal.SIGKILL)
        assert wait_until(lambda: "no generator is heard" in str(watcher.status.get("problem")) and watcher.status["is_error"])
    with process(ros, ECHO_GENERATOR):
        assert wait_until(lambda: "no generator" not in str(watcher.status.get("problem")))


def test_a_condition_that_makes_no_sense_is_not_shown_and_ends_nothing(ros: Ros, preview: Preview) -> None:
    watcher = Watcher()
    preview._hub.add(watcher)
    sender = ros.publisher(ConditionMsg, topics.CONDITION, topics.RESULT_OUT)
    assert wait_until(sender.get_subscription_count)
    broken = condition_to_msg(Moment(conditions(1)[0]))
    broken.camera.fx = 0.0
    sender.publish(broken)
    sender.publish(condition_to_msg(Moment(conditions(1)[0])))
    assert wait_until(lambda: len(watcher.of("camera")) == 1)
    assert watcher.of("camera")[0][0].shape == (CAMERA.height_px, CAMERA.width_px, 3)


def test_predictions_and_diagnostics_that_make_no_sense_end_nothing(ros: Ros, preview: Preview) -> None:
    watcher = Watcher()
    preview._hub.add(watcher)
    predictions, diagnostics = ros.publisher(Prediction, topics.PREDICTION, topics.RESULT_OUT), ros.publisher(DiagnosticArray, topics.DIAGNOSTICS)
    assert wait_until(lambda: predictions.get_subscription_count() and diagnostics.get_subscription_count())
    image = image_to_msg(conditions(1)[0].image, START_NS, "eye")
    predictions.publish(Prediction(image=with_width(image, 4_000_000_000)))
    values = {"disagreement": "a lot", "dropped.inbox_full": "many", "dropped.restart": "3"}
    said = DiagnosticStatus(name="/generator", values=[KeyValue(key=key, value=value) for key, value in values.items()])
    diagnostics.publish(DiagnosticArray(status=[said]))
    predictions.publish(Prediction(image=image))
    assert wait_until(lambda: len(watcher.of("prediction")) == 1)
    assert wait_until(lambda: watcher.status.get("facts") == {"Dropped": "3"})
    assert watcher.status["disagreement"] is None


def with_width(image: ImageMsg, width_px: int) -> ImageMsg:
    wider = copy.deepcopy(image)
    wider.width = width_px
    return wider


def test_a_taken_port_refuses_to_start_with_the_reason(ros: Ros, preview: Preview) -> None:
    port = int(preview._address.rpartition(":")[2].strip("/"))
    second = Preview(lambda _: None, scenes(), EchoGenerator, context=ros.context, parameter_overrides=overrides(port=port))
    with pytest.raises(ValueError, match=str(port)):
        second.start()
    second.destroy_node()

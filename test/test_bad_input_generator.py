"""Models that cannot be used, blocks that come out as NaN, cameras that change: what the generator says, and that it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

import torch
from diagnostic_msgs.msg import DiagnosticArray
from generators import random_transformer
from rclpy.parameter import Parameter
from robot_fixture import call_reset, generator, problem_of, values_of
from ros_fixture import CAMERA, EchoSession, Ros, conditions, picture, wait_until
from rosbags.highlevel import AnyReader
from safetensors.torch import load_file, save_file
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Prediction
from h2w_ros.condition import Camera, Condition
from h2w_ros.generator.checkpoint import save_generator
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.nodes import topics
from h2w_ros.nodes.evidence import MAX_KEPT, keep_inputs
from h2w_ros.nodes.generator import Generator, load_session
from h2w_ros.nodes.images import image_to_msg
from h2w_ros.nodes.live_session import Failure, Start
from h2w_ros.nodes.messages import Moment
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import image_from_msg, stamp_to_ns
from h2w_ros.session import Session

TINY = preset("tiny")
SMALL = dataclasses.replace(
    TINY,
    transformer=dataclasses.replace(TINY.transformer, dim=32, ffn_dim=32, num_heads=2, num_layers=1),
    codec=dataclasses.replace(TINY.codec, width=8, depth=1),
)
WEIGHTS = "transformer.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_generator(tmp_path / "model", SMALL, random_transformer(SMALL.transformer), FoldedCodec(SMALL.codec), torch.float32)
    return tmp_path / "model"


def change(folder: Path, name: str, tensor: torch.Tensor) -> None:
    save_file(load_file(folder / WEIGHTS) | {name: tensor}, folder / WEIGHTS)


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def replace_by_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "transformer.pt").write_bytes(pickle.dumps({"head": 1}))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda folder: (folder / WEIGHTS).unlink(), r"expected transformer\.safetensors"),
    "truncated": (truncate, r"transformer\.safetensors is not a whole safetensors file"),
    "wrong shape": (lambda folder: change(folder, "head.head.bias", torch.zeros(3)), r"tensor head\.head\.bias must have shape \(\d+,\).*got \(3,\)"),
    "NaN": (
        lambda folder: change(folder, "head.head.bias", load_file(folder / WEIGHTS)["head.head.bias"] * torch.nan),
        r"tensor head\.head\.bias holds NaN",
    ),
    "pickle": (replace_by_pickle, r"transformer\.pt is a pickle"),
    "config": (lambda folder: (folder / "config.json").write_text("{"), r"config\.json"),
}


def set_model(node: Generator, path: Path) -> None:
    assert node.set_parameters([Parameter("model", value=str(path))])[0].successful


def test_a_model_that_cannot_be_used_is_refused_with_its_fault_and_the_next_one_starts(ros: Ros, model: Path) -> None:
    node = Generator(context=ros.context)
    whole = {path: path.read_bytes() for path in model.iterdir()}
    set_model(node, model.parent / "nowhere")
    with pytest.raises(ValueError, match=r"No model .*nowhere"):
        node.start()
    set_model(node, model)
    for damage, text in DAMAGES.values():
        damage(model)
        with pytest.raises(ValueError, match=text):
            node.start()
        assert node._worker is None
        assert ros.node.count_subscribers(f"/{topics.CONDITION}") == 0
        for path in model.iterdir():
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
    ros.add(node)
    images = ros.collect(ImageMsg, topics.PREDICTED_IMAGE)
    assert wait_until(lambda: node.count_subscribers(f"/{topics.PREDICTED_IMAGE}"))
    node.accept(Moment(conditions(1)[0]))
    assert wait_until(lambda: len(images) == 1)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "toaster"])
def test_a_device_that_is_not_there_is_refused_by_name(ros: Ros, model: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    node = Generator(context=ros.context, parameter_overrides=overrides(model=str(model), device=device))
    with pytest.raises(ValueError, match=f"device .*{device}"):
        node.start()
    node.destroy_node()


def driven(ros: Ros, model: Path, tmp_path: Path, **parameters: object) -> tuple[list[Session], Callable[[int, int], None], list[Condition]]:
    """A generator node: its session, what pushes moments start .. stop - 1 into it one by one, and these moments."""
    sessions, moments = list[Session](), conditions(8)

    def load(config: object) -> Session:
        sessions.append(load_session(config))
        return sessions[0]

    chosen = overrides(model=str(model), failures_dir=str(tmp_path / "failures"), **parameters)
    node = ros.add(Generator(load, context=ros.context, parameter_overrides=chosen))

    def push(start: int, stop: int) -> None:
        for moment in moments[start:stop]:
            node.accept(Moment(moment, "odom", "eye"))
            assert wait_until(lambda: node._worker.num_waiting == 0)

    return sessions, push, moments


def test_nan_in_a_block_stops_the_session_names_the_block_and_keeps_its_inputs(ros: Ros, model: Path, tmp_path: Path) -> None:
    diagnostics, predictions = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(Prediction, topics.PREDICTION)
    sessions, push, moments = driven(ros, model, tmp_path, own_process=False)

    push(0, 4)
    assert wait_until(lambda: len(predictions) == 4)
    bias = sessions[0]._generator.transformer.head.head.bias
    whole = bias.clone()
    bias.fill_(torch.nan)
    push(4, 7)
    assert wait_until(lambda: "stopped at block 4" in problem_of(diagnostics, "generator"))
    assert wait_until(lambda: values_of(diagnostics, "generator").get("dropped.session_ended") == "2")
    assert len(predictions) == 4, "a picture made of NaN must not go out"
    bias.copy_(whole)
    check_kept_inputs(tmp_path / "failures", moments[:5], predictions[0].session_id)
    answer = call_reset(ros, seed=3, use_camera_image=True)
    push(7, 8)
    assert wait_until(lambda: len(predictions) == 5)
    assert (predictions[4].index, predictions[4].session_id) == (0, answer.session_id)
    assert wait_until(lambda: problem_of(diagnostics, "generator") == "")


def test_a_network_whose_process_dies_ends_the_session_and_the_next_one_has_another(ros: Ros, model: Path, tmp_path: Path) -> None:
    diagnostics, predictions = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(Prediction, topics.PREDICTION)
    sessions, push, _ = driven(ros, model, tmp_path)

    push(0, 2)
    assert wait_until(lambda: len(predictions) == 2)
    os.kill(sessions[0]._generator.pid, signal.SIGKILL)
    push(2, 3)
    assert wait_until(lambda: "has ended, exit code -9" in problem_of(diagnostics, "generator"))
    call_reset(ros, seed=3, use_camera_image=True)
    push(3, 5)
    assert wait_until(lambda: len(predictions) == 4)
    assert [prediction.index for prediction in predictions] == [0, 1, 0, 1]


def check_kept_inputs(folder: Path, expected: list[Condition], session_id: str) -> None:
    [path] = folder.iterdir()
    with AnyReader([path]) as reader:
        found = {connection.topic: [] for connection in reader.connections}
        for connection, _, raw in reader.messages():
            found[connection.topic].append(reader.deserialize(raw, connection.msgtype))
    facts = json.loads(found["/recording_info"][0].data)
    assert (facts["session_id"], facts["block"], facts["seed"]) == (session_id, 4, 0)
    assert "not finite" in facts["reason"]
    kept = found["/condition"]
    assert [stamp_to_ns(msg.header.stamp) for msg in kept] == [condition.stamp_ns for condition in expected]
    assert np.array_equal(image_from_msg(kept[0].image), expected[0].image)
    assert kept[4].hands[0].joint_angles_rad == pytest.approx(expected[4].hands[0].joint_angles_rad)


def test_inputs_that_cannot_be_kept_are_said_and_the_next_session_starts(ros: Ros, tmp_path: Path) -> None:
    class Broken(EchoSession):
        def push(self, condition: Condition) -> list:
            if condition.stamp_ns == conditions(2)[1].stamp_ns:
                raise RuntimeError("out of memory")
            return super().push(condition)

    (tmp_path / "file").write_text("")
    diagnostics, predictions = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(Prediction, topics.PREDICTION)
    node = generator(ros, Broken(), failures_dir=str(tmp_path / "file"))
    for condition in conditions(2):
        node.accept(Moment(condition))
    assert wait_until(lambda: "out of memory; its inputs could not be kept" in problem_of(diagnostics, "generator"))
    assert call_reset(ros, seed=0, image=image_to_msg(picture(1), 0, "")).accepted
    node.accept(Moment(conditions(3)[2]))
    assert wait_until(lambda: len(predictions) == 2)


def test_failures_do_not_fill_the_disk(tmp_path: Path) -> None:
    failure = Failure(Start("session", picture(2), 4), 7, "why", tuple(Moment(condition) for condition in conditions(2)))
    told = [keep_inputs(tmp_path, dataclasses.replace(failure, block=block)) for block in range(MAX_KEPT + 2)]
    assert len(list(tmp_path.iterdir())) == MAX_KEPT
    assert [f"holds {MAX_KEPT} failures already" in text for text in told] == [False] * MAX_KEPT + [True] * 2
    with AnyReader([tmp_path / "session_session_block_0"]) as reader:
        [reference] = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages() if c.topic == "/reference_image"]
    assert np.array_equal(image_from_msg(reference), picture(2))


def zoomed(camera: Camera, factor: float) -> Camera:
    return dataclasses.replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)


def of_camera(condition: Condition, camera: Camera) -> Condition:
    return dataclasses.replace(condition, camera=camera, image=picture(0, camera))


@pytest.mark.parametrize(
    ("camera", "text"), [(dataclasses.replace(CAMERA, width_px=80), "64x48 became 80x48"), (zoomed(CAMERA, 1.5), "fx 60.00 became 90.00")]
)
def test_a_camera_that_becomes_another_one_ends_the_session_and_the_next_start_works(ros: Ros, camera: Camera, text: str) -> None:
    diagnostics, predictions = ros.collect(DiagnosticArray, topics.DIAGNOSTICS), ros.collect(Prediction, topics.PREDICTION)
    node = generator(ros, EchoSession())
    moments = conditions(7)
    for condition in (moments[0], of_camera(moments[1], zoomed(CAMERA, 1.01)), of_camera(moments[2], camera), moments[3]):
        node.accept(Moment(condition))
    assert wait_until(lambda: text in problem_of(diagnostics, "generator"))
    assert values_of(diagnostics, "generator")["dropped.session_ended"] == "2"
    answer = call_reset(ros, seed=0, use_camera_image=True)
    for condition in moments[4:6]:
        node.accept(Moment(of_camera(condition, camera)))
    assert wait_until(lambda: len(predictions) == 4)
    assert [(msg.index, msg.session_id == answer.session_id) for msg in predictions] == [(0, False), (1, False), (0, True), (1, True)]
    node.accept(Moment(moments[6]))
    assert wait_until(lambda: "became" in problem_of(diagnostics, "generator"))
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.start()
    node.accept(Moment(moments[0]))
    assert wait_until(lambda: len(predictions) == 5)

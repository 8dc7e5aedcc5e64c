"""A block that is expected is generated before its turn, and that never changes what a stream answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_tiny import conditions, small_tiny

from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.generator.stream import GeneratorStream

NUM_FRAMES = 8


def silent() -> Generator:
    """Its transformer adds nothing: what it generates leaves no trace in its context."""
    generator = small_tiny()
    for parameter in generator.transformer.head.head.parameters():
        torch.nn.init.zeros_(parameter)
    generator.transformer.pack()
    return generator


@pytest.fixture(scope="module", params=[silent, small_tiny])
def generator(request: pytest.FixtureRequest) -> Generator:
    return request.param()


@pytest.fixture(scope="module")
def drawn() -> list[DrawnCondition]:
    drawer = ConditionDrawer(preset("debug"), "squash", None, None)
    moments = conditions(NUM_FRAMES)
    drawer.take_picture(drawer.resize.picture(moments[0].image), moments[0])
    return [drawer.draw(moment) for moment in moments]


def scene() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def started(generator: Generator, drawn: list[DrawnCondition]) -> GeneratorStream:
    stream = GeneratorStream(generator, 0)
    stream.start(scene(), drawn[0])
    return stream


def answers(stream: GeneratorStream, drawn: list[DrawnCondition], expects: bool) -> list[np.ndarray]:
    """With wrong expectations between the right ones, grounded and branched after them."""
    pictures = []
    for index in range(1, NUM_FRAMES):
        for other in (drawn[index - 1], drawn[index]) if index % 3 else (drawn[index], drawn[0]):
            if expects:
                stream.expect([other])
        pictures.append(stream.step([drawn[index]]))
        if expects:
            stream.expect([drawn[index]])
        if index == 3:
            stream.ground(scene()[None, ::-1])
        if index == 5:
            pictures.append(stream.branch(1, (7,)).step([[drawn[0]]])[0, 0])
    return pictures


def test_expecting_changes_no_answer(generator: Generator, drawn: list[DrawnCondition]) -> None:
    plain = answers(started(generator, drawn), drawn, expects=False)
    np.testing.assert_array_equal(plain, answers(started(generator, drawn), drawn, expects=True))


def test_the_expected_block_needs_no_second_telling(generator: Generator, drawn: list[DrawnCondition]) -> None:
    streams = [started(generator, drawn) for _ in range(2)]
    streams[0].expect([drawn[1]])
    np.testing.assert_array_equal(streams[0].step(), streams[1].step([drawn[1]]))
    with pytest.raises(ValueError, match="no block is expected"):
        streams[0].step()


def test_a_block_stays_expected_while_its_stream_is_grounded_and_branched(generator: Generator, drawn: list[DrawnCondition]) -> None:
    streams = [started(generator, drawn) for _ in range(2)]
    streams[0].expect([drawn[2]])
    for stream in streams:
        stream.step([drawn[1]])
    streams[0].expect([drawn[2]])
    for stream in streams:
        stream.ground(scene()[None, ::-1])
        stream.branch(1, (0,))
    np.testing.assert_array_equal(streams[0].step(), streams[1].step([drawn[2]]))


def test_a_block_is_generated_early_where_it_may_be(generator: Generator, drawn: list[DrawnCondition], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, generated = started(generator, drawn), list[bool]()
    generate = stream._rollout.generate

    def counted(conditions: BlockConditions, may_take_back: bool) -> torch.Tensor:
        generated.append(may_take_back)
        return generate(conditions, may_take_back=may_take_back)

    monkeypatch.setattr(stream._rollout, "generate", counted)
    stream.expect([drawn[1]])
    assert generated == [True]
    stream.expect([drawn[2]], now=False)
    assert generated == [True]
    stream.step()
    assert generated == [True, False]


@torch.inference_mode()
def test_what_was_not_said_to_be_taken_back_cannot_be(generator: Generator, drawn: list[DrawnCondition]) -> None:
    stream = started(generator, drawn)
    stream._rollout.take_back()  # nothing is open
    stream._rollout.generate(stream._conditions([drawn[1]]))
    with pytest.raises(ValueError, match="can't be taken back"):
        stream._rollout.take_back()


def test_decoding_may_run_beside_the_next_block(drawn: list[DrawnCondition]) -> None:
    generator = silent()
    beside, plain = started(generator, drawn), started(generator, drawn)
    for index in range(1, NUM_FRAMES - 1):
        decode = beside.begin([drawn[index]] if index == 1 else None)
        beside.expect([drawn[index + 1]])
        np.testing.assert_array_equal(decode(), plain.step([drawn[index]]))
    assert beside.num_frames == plain.num_frames == NUM_FRAMES - 1
    assert set(beside.stages_ms) >= {"encode", "generate", "decode"}


def test_numbers_that_are_not_finite_are_told_when_the_block_is_due(drawn: list[DrawnCondition]) -> None:
    generator = silent()
    stream = started(generator, drawn)
    assert generator.transformer.refiner is not None
    generator.transformer.refiner.conv_out.bias.data.fill_(torch.nan)
    generator.transformer.pack()
    stream.expect([replace(drawn[1])])
    with pytest.raises(FloatingPointError, match="block 1 came out"):
        stream.step()


def test_what_fails_before_its_turn_leaves_no_trace(generator: Generator, drawn: list[DrawnCondition], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, plain = started(generator, drawn), started(generator, drawn)

    def fails(*_: Any) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(generator.transformer, "refinement", fails)  # after keys and values were written
        stream.expect([drawn[5]])
    np.testing.assert_array_equal(stream.step([drawn[1]]), plain.step([drawn[1]]))
    with monkeypatch.context() as patch:
        patch.setattr(generator.transformer, "refinement", fails)  # after keys and values were written
        stream.expect([drawn[2]])
        with pytest.raises(RuntimeError, match="out of memory"):
            stream.step()

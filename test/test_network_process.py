"""A network in a process of its own: it answers as one in this process does, conditions may be drawn early, and its end is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ros_fixture import wait_until

from h2w_ros.condition import Condition
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.episodes.recording import open_recording
from h2w_ros.generator import network_process
from h2w_ros.generator.checkpoint import load_generator
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.network_process import RemoteGenerator
from h2w_ros.generator.network_server import Call
from h2w_ros.paths import models_dir
from h2w_ros.session import Session

NUM_FRAMES = 8
TABLE_M = 0.0


@pytest.fixture(scope="module")
def conditions() -> list[Condition]:
    return list(open_recording(models_dir() / "demo" / "tabletop.mcap").conditions(0, NUM_FRAMES))


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteGenerator]:
    generator = RemoteGenerator("tiny", num_threads=1)
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def expected(conditions: list[Condition]) -> list[np.ndarray]:
    """What a session in this process answers, grounded in between."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as `remote`: sums over several threads are rounded otherwise
    try:
        return answers(Session(load_generator("tiny"), table_height_m=TABLE_M), conditions)
    finally:
        torch.set_num_threads(threads)


def answers(session: Session, conditions: list[Condition]) -> list[np.ndarray]:
    pictures = []
    for index, condition in enumerate(conditions):
        pictures += [frame.image for frame in session.push(condition)]
        if index == NUM_FRAMES // 2:
            session.observe(condition.image)
        session.settle()
    return pictures


def test_it_answers_as_a_network_in_this_process(remote: RemoteGenerator, conditions: list[Condition], expected: list[np.ndarray]) -> None:
    session = Session(remote, table_height_m=TABLE_M)

    pictures = answers(session, conditions)

    assert session.num_frames == NUM_FRAMES
    np.testing.assert_array_equal(pictures, expected)
    assert session.stages_ms["generate"] > 0.0


class Foreseeing(Session):
    """Is told of every condition before its turn, and now and then of others that never come."""

    def push(self, condition: Condition) -> list:
        frames = super().push(condition)
        index = self.conditions.index(condition)
        following = self.conditions[index + 1 : index + 2]
        for other in (*self.conditions[index + 2 : index + 3], *following) if index % 3 else (*following, *self.conditions[index : index + 1]):
            self.expect(other)
        return frames


def test_conditions_drawn_early_change_nothing(remote: RemoteGenerator, conditions: list[Condition], expected: list[np.ndarray]) -> None:
    session = Foreseeing(remote, table_height_m=TABLE_M)
    session.conditions = conditions

    np.testing.assert_array_equal(answers(session, conditions), expected)


def test_a_condition_that_was_expected_is_not_drawn_again(
    remote: RemoteGenerator, conditions: list[Condition], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, drawn, draw = Session(remote, table_height_m=TABLE_M), list[int](), ConditionDrawer.draw

    def noted(drawer: ConditionDrawer, condition: Condition) -> DrawnCondition:
        drawn.append(conditions.index(condition))
        return draw(drawer, condition)

    session.push(conditions[0])
    monkeypatch.setattr(ConditionDrawer, "draw", noted)
    session.expect(conditions[1])
    session.push(conditions[1])
    session.push(conditions[2])

    assert drawn == [1, 2]


def test_an_expected_block_is_sent_once(remote: RemoteGenerator, conditions: list[Condition], monkeypatch: pytest.MonkeyPatch) -> None:
    session, calls, send = Session(remote, table_height_m=TABLE_M), list[tuple[str, int]](), network_process.send
    session.push(conditions[0])

    def noted(connection: object, call: Call) -> None:
        calls.append((call.method, len(call.arguments)))
        send(connection, call)

    monkeypatch.setattr(network_process, "send", noted)
    session.expect(conditions[1])
    session.push(conditions[1])
    session.expect(conditions[2])
    session.push(conditions[3])

    assert calls[:2] == [("expect", 1), ("step", 0)]
    assert sorted(calls[2:]) == [("expect", 1), ("step", 1)] or calls[2:] == [("step", 1)]  # drawn too late to be told


def test_what_went_wrong_unheard_is_told_by_the_next_call(remote: RemoteGenerator, conditions: list[Condition]) -> None:
    session = Session(remote, table_height_m=TABLE_M)
    session.push(conditions[0])
    session._stream._tell(lambda: Call("dance", is_told=True))

    with pytest.raises(AttributeError):
        session.push(conditions[1])
    assert len(session.push(conditions[1])) == 1


def test_branches_answer_as_those_of_a_network_in_this_process(remote: RemoteGenerator, conditions: list[Condition]) -> None:
    pictures = []
    for generator in (remote, load_generator("tiny")):
        session = Session(generator, table_height_m=TABLE_M)
        for condition in conditions[:3]:
            session.push(condition)
        branches = session.branch(2, seeds=(0, 1))
        blocks = [branches.push([condition, conditions[3]]) for condition in conditions[3:6]]
        pictures.append([block.pictures for block in blocks if block is not None])
        session.push(conditions[3])

    assert len(pictures[0]) == 3
    np.testing.assert_array_equal(*pictures)


def test_errors_are_raised_here_and_the_stream_lives_on(remote: RemoteGenerator, conditions: list[Condition]) -> None:
    session = Session(remote, table_height_m=TABLE_M)
    with pytest.raises(ValueError, match="no reference yet"):
        session._stream.ground(conditions[0].image[None])

    assert len(session.push(conditions[0])) == 1


def test_a_process_that_died_is_told_and_the_next_session_has_another(conditions: list[Condition], expected: list[np.ndarray]) -> None:
    remote = RemoteGenerator("tiny", num_threads=1)
    session = Session(remote, table_height_m=TABLE_M)
    session.push(conditions[0])
    old = remote.pid
    os.kill(old, signal.SIGKILL)

    with pytest.raises(RuntimeError, match=f"process {old} has ended, exit code -9"):
        session.push(conditions[1])
    session.reset()

    assert remote.pid != old
    np.testing.assert_array_equal(session.push(conditions[0])[0].image, expected[0])
    session.close()
    assert not is_alive(remote.pid)


def test_what_keeps_a_model_from_loading_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No model 'nosuch'"):
        RemoteGenerator("nosuch")
    folder = tmp_path / "torn"
    folder.mkdir()
    for file in (models_dir() / "tiny").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 10_000 if file.suffix == ".safetensors" else None])
    torn = RemoteGenerator(folder)

    with pytest.raises(ValueError, match=r"codec|transformer"):
        torn.stream(0)

    assert not is_alive(torn.pid)
    with pytest.raises(ValueError, match="device must be auto or one of"):
        RemoteGenerator("tiny", device="abacus").stream(0)


def test_it_ends_with_the_process_that_started_it() -> None:
    code = (
        "import time; from h2w_ros.generator.network_process import RemoteGenerator; generator = RemoteGenerator('tiny'); "
        "generator.stream(0); print(generator.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()

    assert wait_until(lambda: not is_alive(pid), 10.0)


def is_alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text[text.rindex(")") + 2] != "Z"


def test_a_moment_crosses_processes_as_it_is(conditions: list[Condition]) -> None:
    import pickle

    session = Session(load_generator("tiny"), table_height_m=TABLE_M)
    drawn = session._drawing.draw(replace(conditions[0], hands=()))

    copied = pickle.loads(pickle.dumps(drawn))

    np.testing.assert_array_equal(copied.moment.T_world_grips, drawn.moment.T_world_grips)
    np.testing.assert_array_equal(copied.control, drawn.control)

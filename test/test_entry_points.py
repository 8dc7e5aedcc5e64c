"""Executables explain themselves, and say what they do not understand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

pytest.importorskip("rclpy")

from h2w_ros.nodes import lifecycle

NODES = {entry.name: entry for entry in entry_points(group="console_scripts") if entry.value.startswith("h2w_ros.nodes.")}


@pytest.fixture(autouse=True)
def untouched_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an executable does to its process stays out of the tests'."""
    monkeypatch.setattr(lifecycle, "make_room_for_pictures", lambda: None)
    monkeypatch.setattr(lifecycle.gc, "freeze", lambda: None)
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.parametrize("name", sorted(NODES))
def test_help_names_every_parameter_with_its_default_and_starts_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert NODES[name].load()([name, "--help", "--ros-args", "-p", "warn_every_s:=7.0"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: {name} ")
    assert "  warn_every_s (default 7.0, 0.1 to 3600)\n      the same warning is said at most this often, of silence" in printed
    assert "autostart" in printed
    assert "--ros-args -r" in printed


def test_words_that_are_not_for_ros_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert NODES["generator"].load()(["generator", "--model", "tiny"]) == 2
    assert "arguments for ROS follow --ros-args; got --model tiny" in capsys.readouterr().err

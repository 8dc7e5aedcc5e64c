"""What nodes cost that have nothing to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from h2w_ros.nodes.graph import environment_of, private_domain
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.nodes.soak.usage import usage

NODES = ("conditioner", "generator", "recorder", "tracker_bridge")
# Models load and graphs are discovered meanwhile.
SETTLE_S, IDLE_S = 20.0, 20.0


def measure_idle(model: str = "tiny", nodes: Sequence[str] = NODES, settle_s: float = SETTLE_S, idle_s: float = IDLE_S) -> dict[str, float]:
    """Percent of a core that each node takes, as a process of its own that hears nothing. ChildProcessError when one ends."""
    make_room_for_pictures()
    environment = environment_of(private_domain())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        told = {"generator": [f"model:={model}"], "recorder": [f"path:={folder / 'bag'}"]}
        processes = {
            name: NodeProcess(f"h2w_ros.nodes.{name}", _arguments(told.get(name, [])), environment, folder / f"{name}.log") for name in nodes
        }
        for process in processes.values():
            stack.enter_context(process)
        time.sleep(settle_s)
        before = {name: _processor_s(process) for name, process in processes.items()}
        time.sleep(idle_s)
        return {name: round(100.0 * (_processor_s(process) - before[name]) / idle_s, 2) for name, process in processes.items()}


def _arguments(settings: list[str]) -> list[str]:
    return ["--ros-args", *(word for setting in settings for word in ("-p", setting))]


def _processor_s(process: NodeProcess) -> float:
    process.check()
    now = usage(process.pid)
    assert now is not None  # it runs
    return now.processor_s

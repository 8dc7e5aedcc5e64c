"""The graph of a soak run: every node a process of its own, which can be killed and comes back."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from h2w_ros.nodes import topics
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.nodes.soak.life import WORLD_FRAME
from h2w_ros.nodes.soak.plan import NODES, SoakConfig
from h2w_ros.nodes.soak.report import Violation
from h2w_ros.nodes.soak.usage import Usage, usage

RECORDED = (topics.PREDICTION, topics.DIAGNOSTICS)
# An answer may wait in the generator while recorder or witness are busy; with the usual depth it would be lost there.
ANSWERS_DEPTH = 200


@dataclass
class Life:
    """One process of a node, from start to end, on the monotonic clock [s]."""

    name: str
    process: NodeProcess
    began_s: float
    ended_s: float | None = None
    usages: list[Usage] = field(default_factory=list)
    bag: Path | None = None


class Stack:
    """Starts, kills and restarts the nodes; `lives` holds all that there ever were, `violations` what ended badly."""

    def __init__(self, config: SoakConfig, environment: Mapping[str, str]) -> None:
        self._config, self._environment = config, environment
        self._running: dict[str, Life] = {}
        self._num_bags = 0
        self.lives: list[Life] = []
        self.violations: list[Violation] = []

    def start(self, name: str) -> None:
        """A new process of this node."""
        bag = self._next_bag() if name == "recorder" else None
        arguments = ["--ros-args", *(word for setting in self._settings(name, bag) for word in ("-p", setting))]
        log = self._config.out / "logs" / f"{name}_{sum(life.name == name for life in self.lives)}.log"
        process = NodeProcess(f"h2w_ros.nodes.{name}", arguments, self._environment, log)
        self._running[name] = Life(name, process, time.monotonic(), bag=bag)
        self.lives.append(self._running[name])

    def kill(self, name: str) -> Life:
        """Ends a node as a crash does."""
        life = self._running.pop(name)
        life.process.kill()
        life.ended_s = time.monotonic()
        return life

    def stop(self, name: str) -> Life:
        """Ends a node as a user does."""
        life = self._running.pop(name)
        life.ended_s = time.monotonic()
        code = life.process.stop()
        if code != 0:
            self.violations.append(Violation("processes", f"{name} was asked to end and did so with exit code {code}: see {life.process.log}"))
        return life

    def stop_all(self) -> None:
        """Ends what still runs; the recorder last, so that it hears everything."""
        for name in sorted(self._running, key=lambda name: name == "recorder"):
            self.stop(name)

    def fill_disk(self) -> Life:
        """From now on no file of the recorder may grow."""
        life = self._running["recorder"]
        assert life.bag is not None
        size = sum(path.stat().st_size for path in life.bag.iterdir())
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (size, size))
        return life

    def check(self) -> None:
        """Notes what every process holds; one that ended by itself is a violation, and comes back."""
        for name, life in list(self._running.items()):
            now = usage(life.process.pid)
            if life.process.exit_code is None and now is not None:
                life.usages.append(now)
                continue
            text = f"{name} ended by itself with exit code {life.process.exit_code}: see {life.process.log}"
            self.violations.append(Violation("processes", text))
            life.ended_s = time.monotonic()
            self.start(name)

    def _next_bag(self) -> Path:
        self._num_bags += 1
        return self._config.out / "bags" / f"{self._num_bags:03d}"

    def _settings(self, name: str, bag: Path | None) -> list[str]:
        settings = {
            "tracker_bridge": ["tracker:=skeleton", f"world_frame:={WORLD_FRAME}"],
            "conditioner": ["image_is_rectified:=true", "T_child_optical:=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]"],
            "generator": [
                f"model:={self._config.model}",
                f"failures_dir:={self._config.out / 'failures'}",
                f"qos_overrides./{topics.PREDICTION}.publisher.depth:={ANSWERS_DEPTH}",
            ],
            "recorder": [f"path:={bag}", f"topics:=[{','.join(RECORDED)}]"],
        }
        assert set(settings) == set(NODES)
        return settings[name]

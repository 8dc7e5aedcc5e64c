"""A soak run: the full graph as real processes, a robot that lives, faults one after the other, and what must hold throughout."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict

from h2w_ros import hardware
from h2w_ros.nodes.graph import context_in, environment_of, private_domain, spinning
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.soak.disturbances import disturbance, undisturbed
from h2w_ros.nodes.soak.plan import ACCIDENTS, DISTURBANCES, NODES, SoakConfig, fault_sequence
from h2w_ros.nodes.soak.recordings import answers_in, gaps
from h2w_ros.nodes.soak.report import FaultRecord, SoakReport, Violation
from h2w_ros.nodes.soak.robot import Robot
from h2w_ros.nodes.soak.stack import Life, Stack
from h2w_ros.nodes.soak.usage import growth
from h2w_ros.nodes.soak.witness import Witness

READY_S = 120.0
POLL_S, CHECK_S = 0.05, 1.0
RESPAWN_S = 1.0
NOTICE_S = 20.0
LAST_ANSWERS_S = 2.0
# A recovery that comes too late is still waited for, so long in all as this many limits: late is told from never, and the next fault finds a
# graph that is well.
PATIENCE = 5.0
# What a recorder may lose when it is killed or its disk is full.
LOST_S = 1.0
BURST = 4
PERCENTS = (50.0, 95.0, 99.0, 100.0)


def soak(config: SoakConfig, tell: Callable[[str], None] = lambda _: None) -> SoakReport:
    """Runs it all; `tell` hears a line a fault. TimeoutError when the graph does not come up at all."""
    make_room_for_pictures()
    domain = private_domain() if config.domain is None else config.domain
    with context_in(domain) as context:
        robot = Robot(context=context)
        witness = Witness(robot.lived_s, config.max_latency_s, context=context)
        run = _Run(config, robot, witness, Stack(config, environment_of(domain)), tell)
        with spinning([robot, witness]):
            run.play()
    return run.report()


class _Run:
    def __init__(self, config: SoakConfig, robot: Robot, witness: Witness, stack: Stack, tell: Callable[[str], None]) -> None:
        self._config, self._robot, self._witness, self._stack, self._tell = config, robot, witness, stack, tell
        self._rng = random.Random(config.seed)
        self._began_s = self._checked_s = time.monotonic()
        self._faults: list[FaultRecord] = []
        self._full_s: dict[str, float] = {}
        self._violations: list[Violation] = []

    def play(self) -> None:
        """From the start of the first process to the end of the last."""
        try:
            for name in NODES:
                self._stack.start(name)
            self._robot.begin()
            if not self._wait(lambda: bool(self._witness.answers), READY_S):
                raise TimeoutError(f"waited {READY_S:.0f} s in vain for a first answer; see {self._config.out / 'logs'}")
            self._began_s = time.monotonic()
            self._inject_all()
            self._robot.end()
            self._wait(lambda: False, LAST_ANSWERS_S)
        finally:
            self._robot.end()
            self._stack.stop_all()

    def _inject_all(self) -> None:
        sequence = fault_sequence(self._config.faults, self._config.seed)
        while (elapsed_s := time.monotonic() - self._began_s) < self._config.duration_s:
            self._wait(lambda: False, min(self._config.pause_s, self._config.duration_s - elapsed_s))
            kind = next(sequence, "none")
            is_late = elapsed_s > self._config.duration_s / 2
            if kind in DISTURBANCES or (kind in ACCIDENTS and not is_late):
                self._inject(kind)

    def _inject(self, kind: str) -> None:
        began_s = time.monotonic()
        {"full_disk": self._fill_disk}.get(kind, lambda: self._disturb_or_kill(kind))()
        ended_s = time.monotonic()
        node = kind.removeprefix("kill_").replace("full_disk", "recorder")
        is_well = self._wait(lambda: self._has_recovered(ended_s, node), PATIENCE * self._config.max_recovery_s)
        fault = FaultRecord(kind, began_s - self._began_s, ended_s - began_s, time.monotonic() - ended_s if is_well else None)
        self._faults.append(fault)
        if not fault.recovers_within(self._config.max_recovery_s):
            status = self._witness.messages.get(f"/{node}", "nothing")
            self._violations.append(Violation("recovery", f"{fault}; status of {node}: {status}"))
        self._tell(str(fault))

    def _disturb_or_kill(self, kind: str) -> None:
        if kind in DISTURBANCES:
            self._disturb(kind)
        else:
            self._kill(kind.removeprefix("kill_"))

    def _disturb(self, kind: str) -> None:
        if kind == "clock_jump":
            self._robot.jump()
        self._robot.density = BURST if kind == "burst" else 1
        self._robot.disturb = disturbance(kind, self._rng)
        self._wait(lambda: False, self._config.fault_s)
        self._robot.disturb, self._robot.density = undisturbed, 1

    def _kill(self, name: str) -> None:
        self._stack.kill(name)
        self._wait(lambda: False, RESPAWN_S)
        self._witness.messages.pop(f"/{name}", None)
        self._stack.start(name)

    def _fill_disk(self) -> None:
        self._full_s[str(self._stack.fill_disk().bag)] = time.monotonic()
        if not self._wait(lambda: "recording stopped" in self._witness.messages.get("/recorder", ""), NOTICE_S):
            self._violations.append(Violation("recovery", f"the recorder did not say within {NOTICE_S:g} s that its disk is full"))
        self._stack.stop("recorder")
        self._witness.messages.pop("/recorder", None)
        self._stack.start("recorder")

    def _has_recovered(self, ended_s: float, node: str) -> bool:
        """Whether a moment after the fault was answered, and the node that was hit says that it is well."""
        latest = self._witness.answers[-1]
        return latest.heard_s - latest.latency_s > ended_s and (node not in NODES or self._witness.messages.get(f"/{node}") == "ok")

    def _wait(self, is_met: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it came true in time; every second the processes are looked at meanwhile."""
        deadline_s = time.monotonic() + timeout_s
        while not is_met():
            now_s = time.monotonic()
            if now_s > deadline_s:
                return False
            if now_s - self._checked_s > CHECK_S:
                self._checked_s = now_s
                self._stack.check()
            time.sleep(POLL_S)
        return True

    # What is found once everything has ended.

    def report(self) -> SoakReport:
        """The whole account."""
        config, witness = self._config, self._witness
        limits = {name: float(value) for name, value in asdict(config).items() if name.startswith("max_")}
        report = SoakReport(config.minutes, config.seed, config.model, hardware.describe(), limits, faults=self._faults)
        report.moments, report.messages, report.answers = self._robot.num_moments, self._robot.num_sent, len(witness.answers)
        report.latency_ms = dict(zip(("p50", "p95", "p99", "max"), witness.latencies_ms(*PERCENTS), strict=True))
        report.dropped = witness.dropped()
        report.recorded = sum(self._recorded(life) for life in self._stack.lives if life.bag is not None)
        report.grown = self._grown()
        report.violations = witness.violations + self._stack.violations + self._violations
        return report

    def _recorded(self, life: Life) -> int:
        """Answers in the bag of a recorder's life."""
        assert life.bag is not None
        assert life.ended_s is not None
        until_s = min(life.ended_s, self._full_s.get(str(life.bag), life.ended_s)) - LOST_S
        try:
            found = answers_in(life.bag)
        except (ValueError, OSError) as error:
            self._violations.append(Violation("recordings", f"{life.bag}: {error}"))
            return 0
        missing = gaps(found, self._witness.answers, until_s)
        if missing:
            self._violations.append(Violation("recordings", f"{life.bag} lacks {len(missing)} answers, the first is {missing[0]}"))
        else:
            shutil.rmtree(life.bag)
        return len(found)

    def _grown(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for number, life in enumerate(self._stack.lives):
            grown = growth(life.usages)
            if grown is None:
                continue
            name = f"{life.name} {number}"
            found[name] = asdict(grown)
            limits = (self._config.max_growth_mb, self._config.max_new_files, self._config.max_new_threads)
            if any(value > limit for value, limit in zip((grown.memory_mb, grown.files, grown.threads), limits, strict=True)):
                text = f"{name}: {grown.memory_mb:+.1f} MB, {grown.files:+d} files, {grown.threads:+d} threads in {grown.lived_s:.0f} s"
                self._violations.append(Violation("growth", text))
        return found

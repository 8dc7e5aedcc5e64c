"""The soak run: its parts do what they say, and a short run of the whole graph keeps every rule."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from h2w_ros.cli import main
from h2w_ros.nodes.soak.disturbances import NONSENSE, disturbance
from h2w_ros.nodes.soak.life import BEAT_NS, BEATS_PER_PICTURE, messages
from h2w_ros.nodes.soak.plan import DISTURBANCES, FAULTS, SoakConfig, fault_sequence
from h2w_ros.nodes.soak.recordings import NUM_UNTIL_FOUND, gaps
from h2w_ros.nodes.soak.report import FaultRecord, SoakReport, Violation, markdown
from h2w_ros.nodes.soak.robot import Epoch
from h2w_ros.nodes.soak.usage import Usage, growth, usage
from h2w_ros.nodes.soak.witness import Heard
from h2w_ros.ros_messages import stamp_to_ns

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
START_NS = 1_700_000_000_000_000_000


def test_every_fault_comes_once_in_a_round_and_a_seed_repeats_itself() -> None:
    sequence = list(islice(fault_sequence(FAULTS, 3), 2 * len(FAULTS)))
    assert sorted(sequence[: len(FAULTS)]) == sorted(sequence[len(FAULTS) :]) == sorted(FAULTS)
    assert sequence == list(islice(fault_sequence(FAULTS, 3), 2 * len(FAULTS)))


@pytest.mark.parametrize(("changes", "rule"), [({"faults": ("drop", "flood")}, "faults must be among"), ({"minutes": 0.0}, "minutes must be")])
def test_a_plan_that_makes_no_sense_is_refused(changes: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        SoakConfig(Path("out"), **changes)


def test_a_moment_is_one_that_was_lived_between_two_beats_and_no_other() -> None:
    epoch = Epoch(START_NS)
    epoch.beats_s.extend([10.0, 11.0, 12.0])
    offsets = {0: 10.0, 1: 11.0, BEAT_NS: 11.0, BEAT_NS + 1: 12.0, 2 * BEAT_NS: 12.0, 2 * BEAT_NS + 1: None, -1: 10.0, -BEAT_NS: None}
    assert {offset: epoch.lived_s(START_NS + offset) for offset in offsets} == offsets


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_a_disturbance_changes_what_it_says_and_nothing_else(kind: str) -> None:
    disturb = disturbance(kind, random.Random(0))
    sent = [messages(beat, START_NS + beat * BEAT_NS) for beat in range(40 * BEATS_PER_PICTURE)]
    num_sent = sum(map(len, sent))
    plain = [repr(one.msg) for said in sent for one in said]
    came = [one for said in sent for one in disturb(said)]
    if kind == "drop":
        assert 0.5 * num_sent < len(came) < 0.9 * num_sent
        assert {repr(one.msg) for one in came} < set(plain)
    elif kind == "reorder":
        assert 0.9 * num_sent < len(came) <= num_sent
        stamps = [stamp_to_ns(one.msg.header.stamp) for one in came]
        assert stamps != sorted(stamps)
        assert {repr(one.msg) for one in came} <= set(plain)
    else:
        assert len(came) == num_sent
        share = np.mean([repr(one.msg) != before for one, before in zip(came, plain, strict=True)])
        assert share == 0.0 if kind == "burst" else 0.05 < share < 0.5


def test_there_is_nonsense_for_every_message_of_the_robot() -> None:
    assert {type(one.msg) for one in messages(0, START_NS)} == set(NONSENSE)


def heard(indices: Iterable[int], session: str = "a") -> list[Heard]:
    return [Heard(START_NS, session, index, float(index), 0.1) for index in indices]


def test_a_bag_lacks_what_was_heard_while_it_was_recorded_and_nothing_else() -> None:
    everything = heard(range(100))
    inside = [("a", index) for index in range(10, 90)]
    assert gaps(inside, everything, until_s=89.5) == []
    assert gaps(inside[:40] + inside[42:], everything, until_s=89.5) == [("a", 50), ("a", 51)]
    assert gaps(inside, everything, until_s=91.5) == [("a", 90), ("a", 91)]
    assert gaps([], everything, until_s=89.5) == []


def test_a_session_that_a_bag_has_overslept_is_missing_from_its_third_second() -> None:
    second = [replace(one, heard_s=100.0 + one.heard_s) for one in heard(range(50), "b")]
    missing = gaps([("a", index) for index in range(100)], heard(range(100)) + second, until_s=1000.0)
    assert missing == [("b", index) for index in range(NUM_UNTIL_FOUND + 1, 50)]


def life(seconds: int, mb_a_second: float) -> list[Usage]:
    return [Usage(float(second), 100.0 + mb_a_second * second, 20 + second // 50, 5, 0.25 * second) for second in range(seconds)]


def test_growth_is_what_a_settled_process_takes_from_its_first_quarter_to_its_last() -> None:
    grown = growth(life(461, 0.1))
    assert grown is not None
    assert grown.memory_mb == pytest.approx(30.0, abs=0.5)
    assert (grown.files, grown.threads, grown.lived_s) == (6, 0, 400.0)
    assert grown.cores == pytest.approx(0.25)
    assert growth(life(60, 0.1)) is None, "too short a life to tell"


def test_what_a_process_holds_is_known_until_it_is_gone() -> None:
    import os

    mine = usage(os.getpid())
    assert mine is not None
    assert mine.memory_mb > 10
    assert mine.files > 2
    assert mine.threads >= 1
    assert usage(2**22 + 1) is None

    with subprocess.Popen([sys.executable, "-c", "held = bytearray(100_000_000); print('ready', flush=True); input()"], **PIPES) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ours = usage(os.getpid())
        assert ours is not None
        assert ours.memory_mb > mine.memory_mb + 90, "what a process has started counts, too"
        child.kill()


def test_a_report_names_every_rule_and_counts_what_did_not_hold(tmp_path: Path) -> None:
    limits = {"max_latency_s": 5.0, "max_recovery_s": 30.0, "max_growth_mb": 24.0, "max_new_files": 4.0, "max_new_threads": 2.0}
    report = SoakReport(3.0, 0, "tiny", "a machine", limits, faults=[FaultRecord("drop", 1.0, 4.0, 0.5), FaultRecord("drop", 9.0, 4.0, None)])
    assert report.holds
    report.violations += [Violation("latency", f"frame {number}") for number in range(30)]
    assert not report.holds
    text = markdown(report)
    assert "| no answer comes later than 5 s after its moment | 30 |" in text
    assert "| drop | 2 | 0.5 | 1 |" in text
    assert "and 10 more" in text
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["holds"] is False


@pytest.mark.parametrize(("recovered_s", "is_in_time", "told"), [(0.5, True, "in 0.5 s"), (31.0, False, "in 31.0 s"), (None, False, "NO RECOVERY")])
def test_a_late_recovery_is_told_from_none_and_breaks_the_rule_like_it(recovered_s: float | None, is_in_time: bool, told: str) -> None:
    fault = FaultRecord("kill_generator", 7.0, 1.0, recovered_s)
    assert fault.recovers_within(30.0) is is_in_time
    assert told in str(fault)


def test_a_rule_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="rule must be one of"):
        Violation("luck", "bad")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_soak_breaks_no_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["drop", "clock_jump", "kill_recorder", "full_disk"]
    patient = ["--max-latency", "60", "--max-recovery", "120"]  # how fast the machine is, is not asked here
    code = main(["soak", "--minutes", "0.25", "--out", str(tmp_path), *patient, "--faults", *faults])
    report = json.loads((tmp_path / "report.json").read_text())
    assert code == 0, report["violations"]
    assert report["answers"] > 30
    assert report["recorded"] > 0
    assert report["faults"]
    assert "every rule held" in capsys.readouterr().out

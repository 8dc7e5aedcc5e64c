"""Jobs become results: whole or not at all, with a reason for each that is not, and the same whoever does them."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from bulk_work import cannot_prepare, make_writer, write_the_payload

from h2w_ros.bulk.execute import GROWING
from h2w_ros.bulk.job import Job, Outcome, Work
from h2w_ros.bulk.ledger import FILE, Ledger
from h2w_ros.bulk.ray_cluster import OBJECT_STORE_BYTES
from h2w_ros.bulk.run import Labour, NoSpaceError, run_jobs
from h2w_ros.commands.bulk_options import counted, watched

LABOUR = [
    pytest.param(Labour(), id="in this process"),
    pytest.param(Labour(num_workers=2), id="on processes"),
    pytest.param(
        Labour(num_workers=1, ray="local"),
        id="on Ray",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
            pytest.mark.filterwarnings("ignore"),  # Ray's own, which this package cannot mend
        ],
    ),
]


@pytest.fixture(autouse=True)
def _workers_find_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def jobs_of(payloads: Iterable[str], key: str = "") -> list[Job]:
    return [Job(f"job{index}", payload, key) for index, payload in enumerate(payloads)]


def told(outcomes: Iterable[Outcome]) -> dict[str, tuple[str, str]]:
    return {outcome.name: (outcome.status, outcome.reason) for outcome in outcomes}


@pytest.mark.parametrize("labour", LABOUR)
def test_every_job_is_done_or_has_a_reason_and_a_killed_worker_loses_only_its_own(tmp_path: Path, labour: Labour) -> None:
    kills = labour != Labour()
    payloads = ["one", "bad", "worse", f"kill once {tmp_path / 'marker'}" if kills else "bad", "two"]
    out = tmp_path / "out"
    outcomes = told(run_jobs(make_writer, jobs_of(payloads), out, labour))
    assert outcomes["job0"] == outcomes["job4"] == ("done", "")
    assert outcomes["job1"] == ("failed", "this payload is bad")
    assert outcomes["job2"] == ("rejected", "worse than it may be")
    assert outcomes["job3"][0] == "failed"
    assert "killed" in outcomes["job3"][1] or not kills
    assert {path.name for path in out.glob("job?")} == {"job0", "job4"}
    assert not list((out / GROWING).iterdir())
    assert told(Ledger(out).outcomes.values()) == outcomes

    again = told(run_jobs(make_writer, jobs_of(payloads), out, labour))
    assert again["job0"][0] == again["job4"][0] == "there already"
    assert again["job3"][0] == ("done" if kills else "failed")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_at_an_address_does_the_same_as_this_process(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    payloads = ["one", "bad", "worse", "two"]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False})
    try:
        there = told(run_jobs(make_writer, jobs_of(payloads), tmp_path / "there", Labour(ray=cluster.address)))
    finally:
        cluster.shutdown()
    assert there == told(run_jobs(make_writer, jobs_of(payloads), tmp_path / "here", Labour()))
    texts = [{path.parent.name: path.read_text() for path in (tmp_path / place).glob("job?/text")} for place in ("there", "here")]
    assert texts[0] == texts[1] == {"job0": "one", "job3": "two"}


def test_preparations_that_fail_end_the_run_with_their_reason(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the model is not there"):
        list(run_jobs(cannot_prepare, jobs_of(["one", "two"]), tmp_path, Labour(num_workers=2)))


@pytest.mark.parametrize("labour", LABOUR[:2])
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(tmp_path: Path, labour: Labour) -> None:
    with pytest.raises(NoSpaceError, match="make room and run the same again"):
        list(run_jobs(make_writer, jobs_of(["one", "full", "two"]), tmp_path, labour))
    assert "job1" not in Ledger(tmp_path).outcomes
    outcomes = told(run_jobs(make_writer, jobs_of(["one", "there is room now", "two"]), tmp_path, labour))
    assert {status for status, _ in outcomes.values()} <= {"done", "there already"}
    assert outcomes["job1"] == ("done", "")


def test_results_made_under_another_key_are_made_again(tmp_path: Path) -> None:
    list(run_jobs(make_writer, jobs_of(["old"], key="a"), tmp_path))
    assert told(run_jobs(make_writer, jobs_of(["old"], key="a"), tmp_path))["job0"][0] == "there already"
    assert told(run_jobs(make_writer, jobs_of(["new"], key="b"), tmp_path))["job0"][0] == "done"
    assert (tmp_path / "job0" / "text").read_text() == "new"


def test_a_rejected_job_is_not_tried_again_and_keeps_its_numbers(tmp_path: Path) -> None:
    calls = []

    def make_counting() -> Work:
        return lambda payload, place: calls.append(payload) or write_the_payload(payload, place)

    for _ in range(2):
        (outcome,) = run_jobs(make_counting, jobs_of(["worse"]), tmp_path)
        assert (outcome.status, outcome.result) == ("rejected", {"score": 0.25})
    assert calls == ["worse"]


def test_faults_of_the_program_are_logged_with_their_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert told(run_jobs(make_writer, jobs_of(["broken", "one"]), tmp_path))["job1"] == ("done", "")
    assert "RuntimeError: a fault of the program" in caplog.text


def test_a_ledger_that_was_cut_off_loses_its_last_line_only(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for name in ("a", "b"):
        ledger.add(Outcome(name, "failed", reason="why"))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-10])
    ledger = Ledger(tmp_path)
    assert set(ledger.outcomes) == {"a"}
    ledger.add(Outcome("c", "rejected"))
    assert set(Ledger(tmp_path).outcomes) == {"a", "c"}


def test_a_result_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    list(run_jobs(make_writer, jobs_of(["one"]), tmp_path))
    (tmp_path / "job0").rename(tmp_path / "elsewhere")
    assert told(run_jobs(make_writer, jobs_of(["one"]), tmp_path))["job0"][0] == "done"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", ".."])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a job's name"):
        Job(name, None)


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        list(run_jobs(make_writer, [Job("a", 1), Job("a", 2)], tmp_path))


def test_outcomes_are_counted_in_words() -> None:
    assert counted([Outcome("a", "done"), Outcome("b", "failed"), Outcome("c", "done")]) == "2 done, 1 failed"
    assert counted([]) == "nothing to do"


def test_who_stops_the_work_is_told_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def outcomes() -> Iterator[Outcome]:
        yield Outcome("one", "done")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(outcomes(), 5, "episode", "synthesize")
    assert "stopped after 1 of 5: 1 done; the same command goes on from there" in capsys.readouterr().err

"""The demo's numbers and files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fixture import PERIOD_NS, START_NS, conditions, wait_until
from rosbags.highlevel import AnyReader

from h2w_ros import cli
from h2w_ros.commands.demo import make_report
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.nodes.latency import Event, SentInputs, latencies_ms, percentile_ms
from h2w_ros.nodes.playback import open_playback
from h2w_ros.nodes.processes import NodeProcess
from h2w_ros.nodes.rehearsal import Rehearsal, header_stamp_ns
from h2w_ros.video import video_info


def test_latency_counts_from_the_last_input_that_a_frame_needs() -> None:
    inputs = SentInputs()
    for stamp_ns, time_s in ((100, 1.0), (200, 2.0), (300, 3.0)):
        inputs.add("odometry", Event(stamp_ns, time_s))
    for stamp_ns, time_s in ((90, 0.5), (240, 2.5)):
        inputs.add("hands", Event(stamp_ns, time_s))
    assert inputs.completed_s(90) == 1.0
    assert inputs.completed_s(150) == 2.5
    assert inputs.completed_s(250) is None
    assert latencies_ms(inputs, [Event(150, 2.6), Event(250, 9.0)]) == pytest.approx([100.0])
    assert np.isnan(percentile_ms([], 50.0))


def test_the_stamp_is_read_from_serialized_messages(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag.mcap", conditions(3))
    stamps_ns = [header_stamp_ns(message.data) for message in open_playback(tmp_path / "bag.mcap").messages() if message.topic == "/odometry"]
    assert stamps_ns == [START_NS + k * PERIOD_NS for k in range(3)]


def test_moments_that_no_node_accounts_for_are_reported_as_not_answered() -> None:
    rehearsal = Rehearsal({START_NS + k * PERIOD_NS: np.zeros((2, 2, 3), np.uint8) for k in range(5)}, [10.0, 20.0], 0.25)
    rehearsal.dropped = Counter(inbox_full=2, image_unreadable=4)
    report = make_report(rehearsal, conditions(10), "bag", "tiny", 16.0)
    assert report.dropped == {"inbox_full": 2, "image_unreadable": 4, "not_answered": 3}
    assert (report.frames, report.fps, report.realtime_factor) == (5, 16.0, 1.0)
    assert report.latency_ms_p50 == 15.0


def test_a_node_that_ends_by_itself_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    with NodeProcess("h2w_ros.nodes.nowhere", [], {}, log) as process:
        process._process.wait(20.0)
        with pytest.raises(ChildProcessError, match=r"node nowhere ended with exit code 1(.|\n)*No module named"):
            process.check()


def test_a_killed_parent_leaves_no_node_behind(tmp_path: Path) -> None:
    parent = (
        "import os, sys, time; from pathlib import Path; from h2w_ros.nodes.processes import NodeProcess;"
        "node = NodeProcess('h2w_ros.nodes.recorder', ['--ros-args', '-p', f'path:={sys.argv[1]}/bag'], os.environ, Path(sys.argv[1]) / 'log');"
        "print(node._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        node = int(process.stdout.readline())
        assert wait_until((tmp_path / "bag").exists)
        process.kill()
    assert wait_until(lambda: not Path(f"/proc/{node}/exe").exists() or "State:\tZ" in Path(f"/proc/{node}/status").read_text())
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["replay", "/nowhere"], "No recording at /nowhere"), (["run", "--ros-args", "-p", "rate_hz:=sixteen"], "rate_hz")],
)
def test_mistakes_end_in_words_and_exit_code_2(arguments: list[str], says: str) -> None:
    result = subprocess.run([sys.executable, "-m", "h2w_ros.cli", *arguments], capture_output=True, check=False, text=True, timeout=100)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    """A network of the right form that was never trained."""
    from dataclasses import replace

    import torch

    from h2w_ros.generator.checkpoint import save_generator
    from h2w_ros.generator.folded_codec import FoldedCodec
    from h2w_ros.generator.presets import preset
    from h2w_ros.generator.transformer import Transformer

    tiny = preset("tiny")
    config = replace(
        tiny,
        transformer=replace(tiny.transformer, dim=64, ffn_dim=64, num_heads=2, num_layers=1),
        codec=replace(tiny.codec, width=8),
        height_px=48,
        width_px=64,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_generator(folder, config, Transformer(config.transformer), FoldedCodec(config.codec))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_leaves_videos_a_bag_and_a_report(tmp_path: Path, small_model: Path, capsys) -> None:
    sent = conditions(32)
    write_bag(tmp_path / "short.mcap", sent, domain="simulated tabletop")
    out = tmp_path / "demo"
    assert cli.main(["demo", "--recording", str(tmp_path / "short.mcap"), "--model", str(small_model), "--out", str(out), "--rate", "0.5"]) == 0
    report = json.loads((out / "report.json").read_text())
    answered = report["frames"] + sum(report["dropped"].values())
    assert report["frames"] > 4  # a busy machine drops the others, and says so
    assert answered == 32
    assert 0 < report["latency_ms_p50"] <= report["latency_ms_p95"]
    assert "cores" in report["hardware"]
    assert video_info(out / "predicted.mp4").num_frames == video_info(out / "side_by_side.mp4").num_frames == report["frames"]
    assert video_info(out / "predicted.mp4").width_px == 64
    with AnyReader([out / "bag"]) as reader:
        assert reader.topics["/predicted/image_raw"].msgcount == report["frames"]
        assert reader.topics["/predicted/prediction"].msgcount == report["frames"]
        recorded = [
            (connection.topic, header_stamp_ns(raw)) for connection, _, raw in reader.messages() if connection.topic.startswith("/predicted/")
        ]
    stamps = [{stamp for topic, stamp in recorded if topic == f"/predicted/{name}"} for name in ("image_raw", "prediction")]
    assert stamps[0] == stamps[1] <= {condition.stamp_ns for condition in sent}, "predictions bear the stamps of the moments that they answer"
    assert str(out / "side_by_side.mp4") in capsys.readouterr().out


def test_a_demo_without_its_model_ends_in_one_line(tmp_path: Path, capsys) -> None:
    write_bag(tmp_path / "short.mcap", conditions(4))
    assert cli.main(["demo", "--recording", str(tmp_path / "short.mcap"), "--model", "nowhere", "--out", str(tmp_path / "demo")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("h2w demo: ")
    assert "nowhere" in error

"""What `h2w bench` reports is complete; how fast it is belongs to a machine, not to a test."""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from h2w_ros.commands.bench import nodes_table, reason_against_nodes
from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.evaluation.branch_speed import BranchPlan, aside, measure_branches
from h2w_ros.evaluation.speed import SpeedPlan, measure_speed, speed_table
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.presets import preset
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import transform

PLAN = SpeedPlan(young_block=3, old_block=6, num_samples=2)
NUMBERS = {
    "fps",
    "realtime_factor",
    "pixel_ms_p50",
    "block_ms_p50",
    "block_ms_p95",
    "block_ms_at_3",
    "block_ms_at_6",
    "rss_mb_at_3",
    "rss_mb_at_6",
    "cached_speedup",
}


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    config = preset("debug")
    return Generator(config, Transformer(config.transformer).eval(), FoldedCodec(config.codec).eval())


def conditions(count: int) -> list[Condition]:
    hand = HandPose("left", transform(np.eye(3), np.array([0.0, 0.0, 0.4])), np.zeros(45), np.zeros(10))
    poses = [transform(np.eye(3), np.array([0.01 * i, 0.0, 0.0])) for i in range(count)]
    camera, image = Camera(48, 32, 40.0, 40.0, 24.0, 16.0), np.zeros((32, 48, 3), np.uint8)
    return [Condition(i, camera, pose, (hand,), image=image) for i, pose in enumerate(poses)]


def test_a_measurement_fills_every_number_and_survives_json(generator: Generator) -> None:
    heard = []
    speed = measure_speed(generator, conditions(4), PLAN, heard.append)
    table = json.loads(json.dumps(speed_table(generator.config, PLAN, speed)))
    assert {"model", "hardware", "stages_ms"} | NUMBERS == set(table)
    assert all(table[name] > 0 for name in NUMBERS)
    assert set(table["stages_ms"]) == {"draw", "encode", "generate", "decode", "commit"}
    assert table["model"] == "debug"
    assert sum(heard) == PLAN.num_blocks == 9
    assert len(speed.block_ms_young) == len(speed.block_ms_old) == PLAN.num_samples


def test_by_default_block_2000_is_held_against_block_50() -> None:
    plan = SpeedPlan()
    assert (plan.young_block, plan.old_block) == (50, 2000)


@pytest.mark.parametrize("blocks", [(0, 5), (5, 5), (6, 5)])
def test_a_young_session_must_be_younger_than_the_old(blocks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 < young < old"):
        SpeedPlan(*blocks)


def test_without_nodes_their_numbers_are_null_and_the_reason_is_given() -> None:
    table = nodes_table(Path("recording"), "tiny", 16.0, None, reason_against_nodes(unwanted=True))
    assert table == {"input_to_pixel_ms_p50": None, "input_to_pixel_ms_p95": None, "nodes": "left out: --no-nodes"}


def test_nodes_are_left_out_by_the_name_of_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from h2w_ros.commands import bench

    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "rclpy" else find_spec("json"))
    assert reason_against_nodes(unwanted=False) == "left out: rclpy cannot be imported here"


def test_the_command_writes_what_it_prints(generator: Generator, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from h2w_ros.commands import bench
    from h2w_ros.episodes import recording
    from h2w_ros.evaluation import speed
    from h2w_ros.generator import checkpoint

    streamed = SimpleNamespace(description={}, conditions=lambda: conditions(4))

    monkeypatch.setattr(checkpoint, "load_generator", lambda _, device: generator)
    monkeypatch.setattr(recording, "open_recording", lambda _: streamed)
    monkeypatch.setattr(speed, "condition_times_ms", lambda: {"hand_render": 1.0, "plucker_rays": 1.0})
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    out = tmp_path / "bench.json"
    assert bench.run(parser.parse_args(["--no-nodes", "--old-block", "51", "--samples", "1", "--json", str(out)])) == 0
    report = json.loads(out.read_text())
    assert report == json.loads(capsys.readouterr().out)
    assert {"block_ms_at_50", "rss_mb_at_50", "input_to_pixel_ms_p50", "input_to_pixel_ms_p95"} <= set(report)


def test_branches_are_timed_block_by_block_beside_single_sessions(generator: Generator) -> None:
    plan, heard = BranchPlan(num_candidates=3, num_past=2, num_blocks=4), []
    report = measure_branches(generator, conditions(7), plan, heard.append)
    assert (len(report.batch_ms), len(report.singles_ms), sum(heard)) == (4, 4, 4)
    table = report.table(plan)
    assert table["candidates"] == 3
    assert table["batch_over_singles"] == pytest.approx(table["block_ms_batch"] / table["block_ms_singles"], rel=0.01)
    assert table["batch_over_singles_with_past"] > 0
    with pytest.raises(ValueError, match="need 7 conditions, got 6"):
        measure_branches(generator, conditions(6), plan)


def test_candidates_of_the_measurement_differ_by_their_hands() -> None:
    here, there = (aside(conditions(1)[0], number).hands[0].T_world_wrist[0, 3] for number in (0, 3))
    assert there - here == pytest.approx(0.03)

"""LeRobotDatasets: what is written is what is read, in the places and under the names that LeRobot looks for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_episodes import PERIOD_NS, cameras, hand_sets, numbers, plain_conditions, transforms

from h2w_ros.bulk.run import run_jobs
from h2w_ros.condition import Condition
from h2w_ros.episodes import lerobot_layout as layout
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.lerobot_stats import number_stats, pooled
from h2w_ros.episodes.lerobot_writer import write_lerobot
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import write_episode
from h2w_ros.imports.batch import Import
from h2w_ros.imports.dataset import ImportOptions
from h2w_ros.video import read_video, write_video


def dataset(root: Path, lengths: tuple[int, ...] = (5, 3)) -> list[Episode]:
    for index, length in enumerate(lengths):
        description = {"task": f"push {index}", "seed": index}
        write_episode(root / "episodes" / f"e{index}", plain_conditions(length), 16.0, description=description, domain="simulated tabletop")
    episodes = [Episode(root / "episodes" / f"e{index}") for index in range(len(lengths))]
    write_lerobot(root, episodes)
    return episodes


def by_side(condition: Condition) -> Condition:
    return replace(condition, hands=tuple(sorted(condition.hands, key=lambda hand: hand.side)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(moments=st.lists(st.tuples(cameras, transforms, hand_sets), min_size=1, max_size=4))
def test_poses_hands_and_stamps_survive_exactly(tmp_path_factory: pytest.TempPathFactory, moments: list) -> None:
    root = tmp_path_factory.mktemp("lerobot")
    picture = np.zeros((16, 24, 3), np.uint8)
    conditions = [by_side(Condition((index + 1) * PERIOD_NS, *moment, image=picture)) for index, moment in enumerate(moments)]
    write_episode(root / "episode", conditions, 16.0)
    write_lerobot(root / "dataset", [Episode(root / "episode")])
    assert [numbers(condition) for condition in open_recording(root / "dataset").conditions()] == [numbers(condition) for condition in conditions]


def test_pictures_and_provenance_are_those_of_the_episodes(tmp_path: Path) -> None:
    episodes = dataset(tmp_path)
    for index, episode in enumerate(episodes):
        read = open_recording(tmp_path.with_name(f"{tmp_path.name}:{index}"))
        assert (read.rate_hz, read.domain, read.description, read.num_frames) == (16.0, episode.domain, episode.description, episode.num_frames)
        for ours, theirs in zip(read.conditions(1), episode.conditions(1), strict=True):
            assert np.array_equal(ours.image, theirs.image)
            assert np.array_equal(ours.hand_render, theirs.hand_render)


def test_every_file_is_where_info_and_the_table_of_episodes_say(tmp_path: Path) -> None:
    dataset(tmp_path, (5, 3, 4))
    info = json.loads((tmp_path / layout.INFO).read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"], info["fps"]) == ("v3.0", 3, 12, 16)
    rows = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for row in rows:
        data = pq.read_table(tmp_path / info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]))
        assert set(data.column_names) == {name for name, feature in info["features"].items() if feature["dtype"] != "video"}
        assert data["index"].to_pylist() == list(range(row["dataset_from_index"], row["dataset_to_index"]))
        assert set(data["episode_index"].to_pylist()) == {row["episode_index"]}
        for name in ("image", "hand_render"):
            key = layout.video_key(name)
            place = {part: row[f"videos/{key}/{part}"] for part in ("chunk_index", "file_index")}
            video = read_video(tmp_path / info["video_path"].format(video_key=key, **place))
            assert video.shape == (row["length"], *info["features"][key]["shape"])
            assert row[f"videos/{key}/to_timestamp"] == row["length"] / 16
    tasks = pq.read_table(tmp_path / layout.TASKS)
    assert tasks.to_pylist() == [{"task_index": index, "__index_level_0__": f"push {index}"} for index in range(3)]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]


def test_an_action_is_the_state_that_follows(tmp_path: Path) -> None:
    dataset(tmp_path, (4,))
    table = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet")
    states, actions = (np.array(table[name].to_pylist()) for name in ("observation.state", "action"))
    assert states.shape == (4, len(layout.STATE_NAMES))
    assert np.array_equal(actions[:-1], states[1:])
    assert np.array_equal(actions[-1], states[-1])


def test_statistics_of_all_are_those_of_everything_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    values[:5, 1], values[:, 2] = np.nan, np.nan
    whole, parts = number_stats(values), pooled([number_stats(values[:5]), number_stats(values[5:])])
    for name in ("min", "max", "mean", "std"):
        expected = np.array(whole[name])
        assert np.allclose(np.array(parts[name])[0], expected[0])
        assert np.isnan(parts[name][2])
    assert np.allclose(parts["mean"][1], np.nanmean(values[:, 1]))
    assert parts["count"] == [40]


def test_videos_that_episodes_share_are_read_from_the_right_frame_on(tmp_path: Path) -> None:
    """LeRobot's own tools put many episodes into one file."""
    dataset(tmp_path)
    key = layout.video_key("image")
    videos = sorted((tmp_path / "videos" / key / "chunk-000").iterdir())
    expected = read_video(videos[1])
    together = np.concatenate([read_video(video) for video in videos])
    videos[0].unlink()
    write_video(videos[0], together, 16.0)
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1] |= {f"videos/{key}/file_index": 0, f"videos/{key}/from_timestamp": 5 / 16, f"videos/{key}/to_timestamp": 8 / 16}
    pq.write_table(pa.Table.from_pylist(rows), path)
    read = [condition.image for condition in open_recording(tmp_path.with_name(f"{tmp_path.name}:1")).conditions()]
    assert np.abs(np.stack(read).astype(int) - expected).max() < 12  # the codec's, once more


def test_a_dataset_is_replaced_whole(tmp_path: Path) -> None:
    episodes = dataset(tmp_path)
    write_lerobot(tmp_path, episodes[:1])
    assert open_recording(tmp_path).num_frames == 5
    assert len(list((tmp_path / "data/chunk-000").iterdir())) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: shutil.rmtree(root / "meta/episodes"), "damaged"),
        (lambda root: (root / layout.INFO).write_text("{"), "not readable"),
        (lambda root: (root / layout.INFO).write_text('{"codebase_version": "v2.1", "features": {}}'), "version 3"),
        (
            lambda root: (root / layout.INFO).write_text('{"codebase_version": "v3.0", "features": {"observation.state": {}}}'),
            "it lacks .*h2w.camera.*it has obs",
        ),
        (lambda root: shutil.rmtree(root / "data"), "not readable"),
        (lambda root: shutil.rmtree(root / "videos"), "video|not readable"),
    ],
)
def test_what_is_damaged_or_of_another_kind_is_said(tmp_path: Path, damage, words: str) -> None:
    dataset(tmp_path, (3,))
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        list(open_recording(tmp_path).conditions())


def test_one_of_many_episodes_must_be_named(tmp_path: Path) -> None:
    dataset(tmp_path)
    with pytest.raises(ValueError, match="holds 2 episodes; name one"):
        open_recording(tmp_path)
    with pytest.raises(ValueError, match=r"holds episodes 0\.\.1, not 7"):
        open_recording(tmp_path.with_name(f"{tmp_path.name}:7"))


def test_episodes_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    episodes = dataset(tmp_path)
    write_episode(tmp_path / "slow", plain_conditions(3), 8.0)
    write_episode(tmp_path / "blind", plain_conditions(3, with_image=False), 16.0)
    with pytest.raises(ValueError, match="one rate"):
        write_lerobot(tmp_path / "new", [*episodes, Episode(tmp_path / "slow")])
    with pytest.raises(ValueError, match="a picture of every moment"):
        write_lerobot(tmp_path / "new", [Episode(tmp_path / "blind")])
    with pytest.raises(ValueError, match="at least one episode"):
        write_lerobot(tmp_path / "new", [])


def test_datasets_are_imported_as_episodes_again(tmp_path: Path) -> None:
    episodes = dataset(tmp_path / "data")
    task = Import("lerobot", tmp_path / "data", ImportOptions())
    outcomes = list(run_jobs(task.make_work(), task.jobs(), tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["done", "done"], outcomes
    for outcome, episode in zip(outcomes, episodes, strict=True):
        back = Episode(tmp_path / "out" / outcome.name)
        assert [numbers(condition) for condition in back.conditions()] == [numbers(condition) for condition in episode.conditions()]
        assert back.description == episode.description


def test_the_lerobot_package_opens_samples_and_batches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lerobot = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="the lerobot package is not installed")
    from torch.utils.data import DataLoader

    dataset(tmp_path)
    whole = lerobot.LeRobotDataset("local/dataset", root=tmp_path)
    video = whole.meta.video_keys[0]
    _, height_px, width_px = whole[0][video].shape
    around = lerobot.LeRobotDataset("local/dataset", root=tmp_path, episodes=[0], delta_timestamps={video: [-1 / whole.fps, 0.0, 1 / whole.fps]})

    assert len(whole) == whole.meta.total_frames
    assert around[1][video].shape == (3, 3, height_px, width_px)
    assert next(iter(DataLoader(whole, batch_size=2)))["action"].shape == (2, *whole[0]["action"].shape)

"""Recorded episodes in training: cut to clips, mixed with the world by weights, their scene honestly unknown."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training import MODEL, NUM_FRAMES, moments, steps, write_pixels

from h2w_ros.cli import main
from h2w_ros.condition import Condition, HandPose
from h2w_ros.episodes.writer import write_episode
from h2w_ros.geometry import transform
from h2w_ros.training.cache import latent_files, load_clips, pixel_files
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import Layout, draw_batch, frame_weight
from h2w_ros.training.mixture import mixed, set_weight
from h2w_ros.training.recorded import add_recorded, clips
from h2w_ros.training.stages import Stages

PERIOD_NS = 62_500_000
HAND = HandPose("right", transform(np.eye(3), np.array([0.0, 0.0, 0.5])), np.zeros(45), np.zeros(10))


def recorded_moments(count, seed=5, hands=(HAND,)):
    return [Condition(c.stamp_ns, c.camera, c.T_world_camera, hands, image=c.image) for c in moments(seed, count)]


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory):
    """A run with three of the world's clips and four recorded ones, encoded."""
    folder = tmp_path_factory.mktemp("run")
    write_pixels(folder, range(3))
    for name, count in (("a", 2 * NUM_FRAMES + 1), ("b", 2 * NUM_FRAMES)):
        write_episode(folder / "episodes" / "lab" / name, recorded_moments(count, seed=ord(name)), 16.0)
    added = add_recorded(folder, MODEL, folder / "episodes" / "lab", weight=1.0)
    assert (added.num_clips, added.left_out) == (4, {"frame_at_end": 1})
    stages = Stages(folder, "debug")
    stages.codec(steps(1))
    stages.encode()
    return stages


def test_recorded_clips_train_beside_the_worlds_and_know_no_scene(mixed_run):
    source = load_clips(mixed_run.folder)
    assert source.knows_scene.tolist().count(False) == 3, "as many as the world gives, at equal weights"
    unknown = np.flatnonzero(~source.knows_scene)
    assert not source.static[unknown].any()
    assert not source.photo[unknown].any()
    assert torch.isfinite(source.T_world_grips[unknown][:, :, 1]).all()
    assert source.hand[unknown].float().std() > 0.0
    heights = source.moments(np.arange(len(source.image)), 0, True).table_height_m
    assert torch.isnan(heights).tolist() == (~source.knows_scene).tolist()


def test_a_batch_shows_recorded_clips_without_a_scene_and_weighs_nothing_as_changed(mixed_run):
    source, config = load_clips(mixed_run.folder), CausalTraining(batch_clips=6, clip_frames=(3,), photo_share=1.0, static_share=0.0)
    batch = draw_batch(source, Layout(3, 1, 1), config, np.random.default_rng(0))
    assert batch.has_static.tolist() == source.knows_scene[batch.episodes].tolist()
    unknown = np.flatnonzero(~source.knows_scene)
    weight = frame_weight(source, unknown, 1, config)
    hands = source.hand_share[torch.from_numpy(unknown), 1].float()
    torch.testing.assert_close(weight[:, 0, 0], 1.0 + config.hand_weight * hands)


def test_every_stage_runs_on_the_mixture(mixed_run):
    mixed_run.refiner(steps(1))
    mixed_run.stream(steps(1))
    assert (mixed_run.folder / "stream" / "average.safetensors").exists()


def test_weights_say_how_many_clips_each_source_gives(mixed_run):
    try:
        set_weight(mixed_run.folder, "lab", 0.34)
        assert [("recorded" in path.parts) for path in latent_files(mixed_run.folder, validation=False)] == [False] * 3 + [True]
        set_weight(mixed_run.folder, "lab", 0.0)
        assert len(latent_files(mixed_run.folder, validation=False)) == 3
    finally:
        set_weight(mixed_run.folder, "lab", 1.0)


def test_adding_again_adds_only_what_is_new(mixed_run):
    before = pixel_files(mixed_run.folder)
    assert add_recorded(mixed_run.folder, MODEL, mixed_run.folder / "episodes" / "lab", 1.0).num_clips == 0
    assert pixel_files(mixed_run.folder) == before


@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 40), st.sampled_from([0.0, 0.5, 1.0, 3.0]))))
def test_a_mixture_has_each_file_once_and_shares_by_weight(given_sources):
    files = {name: [Path(f"{name}{k}") for k in range(count)] for name, (count, _) in given_sources.items()}
    weights = {name: weight for name, (_, weight) in given_sources.items()}
    chosen = mixed(files, weights)
    assert len(set(chosen)) == len(chosen)
    shares = {name: sum(path.name[0] == name for path in chosen) / weights[name] for name in files if files[name] and weights[name]}
    assert all(abs(one - other) <= 1.0 / min(weights[name] for name in shares) for one in shares.values() for other in shares.values())
    assert not shares or any(sum(path.name[0] == name for path in chosen) == len(files[name]) for name in shares)


def test_clips_end_at_gaps_and_those_without_hands_are_left_out():
    left_out: Counter[str] = Counter()
    whole = recorded_moments(9)
    torn = [c if index < 4 else Condition(c.stamp_ns + 10**9, c.camera, c.T_world_camera, c.hands, image=c.image) for index, c in enumerate(whole)]
    assert [[c.stamp_ns for c in clip] for clip in clips(torn, 3, 0.1, left_out)] == [[c.stamp_ns for c in torn[i : i + 3]] for i in (0, 4)]
    assert left_out == {"frame_before_gap": 1, "frame_at_end": 2}
    assert not list(clips(recorded_moments(3, hands=()), 3, 0.1, left_out))
    assert left_out["clip_without_hands"] == 1


def test_the_command_says_what_became_of_a_folder_of_episodes(tmp_path, capsys):
    write_pixels(tmp_path / "run", range(1))
    write_episode(tmp_path / "kitchen" / "good", recorded_moments(NUM_FRAMES), 16.0)
    write_episode(tmp_path / "kitchen" / "slow", recorded_moments(NUM_FRAMES), 5.0)
    command = ["train", "recorded", "--run", str(tmp_path / "run"), "--recipe", "debug", "--from", str(tmp_path / "kitchen"), "--weight", "0.5"]
    assert main(command) == 0
    assert "1 clips added; left out {'episode_unusable': 1}" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "mixture.json").read_text()) == {"world": 1.0, "kitchen": 0.5}
    assert main([*command[:-4], "--from", str(tmp_path / "run")]) == 2
    assert "must hold episodes" in capsys.readouterr().err
    assert main(["train", "recorded", "--run", str(tmp_path / "run")]) == 2

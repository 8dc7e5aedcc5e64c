"""Episodes on disk: what is written is what is read, and what is not whole is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.layout import IncompleteEpisodeError
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import EpisodeWriter, write_episode
from h2w_ros.geometry import rotation_from_axis_angle, transform

SIZE_PX = (24, 16)
PERIOD_NS = 62_500_000


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


transforms = st.builds(
    lambda r, t: transform(rotation_from_axis_angle(r), t), arrays(float, 3, elements=finite(-3, 3)), arrays(float, 3, elements=finite(-9, 9))
)
angles = arrays(float, 45, elements=finite(-3, 3))
shapes = arrays(float, 10, elements=finite(-3, 3))
hand_sets = st.lists(
    st.builds(HandPose, st.sampled_from(["left", "right"]), transforms, angles, shapes, finite(0, 1)), max_size=2, unique_by=lambda hand: hand.side
).map(tuple)
cameras = st.builds(Camera, st.just(SIZE_PX[0]), st.just(SIZE_PX[1]), finite(1, 99), finite(1, 99), finite(0, 24), finite(0, 16))
moments = st.tuples(cameras, transforms)


def numbers(condition: Condition) -> list:
    """All numbers of a condition, comparable."""
    hands = [
        (hand.side, hand.T_world_wrist.tolist(), hand.joint_angles_rad.tolist(), hand.betas.tolist(), hand.confidence) for hand in condition.hands
    ]
    return [condition.stamp_ns, condition.camera, condition.T_world_camera.tolist(), hands]


def plain_conditions(num_frames: int, with_image: bool = True) -> list[Condition]:
    camera = Camera(*SIZE_PX, 20.0, 20.0, 12.0, 8.0)
    picture = np.tile(np.linspace(0, 255, SIZE_PX[0]).astype(np.uint8)[None, :, None], (SIZE_PX[1], 1, 3))
    pictures = [np.roll(picture, index, axis=1) if with_image else None for index in range(num_frames)]
    return [Condition((index + 1) * PERIOD_NS, camera, np.eye(4), image=image, hand_render=image) for index, image in enumerate(pictures)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(moments=st.lists(st.tuples(cameras, transforms, hand_sets), min_size=1, max_size=4))
def test_every_number_of_a_condition_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, moments: list) -> None:
    path = tmp_path_factory.mktemp("episodes") / "episode"
    conditions = [Condition((index + 1) * PERIOD_NS, *moment) for index, moment in enumerate(moments)]
    write_episode(path, conditions, 16.0)
    assert [numbers(condition) for condition in Episode(path).conditions()] == [numbers(condition) for condition in conditions]


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (60, 70), (64, 65), (129, None), (5, 5)])
def test_a_frame_range_equals_the_slice_of_the_whole(tmp_path: Path, start: int, stop: int | None) -> None:
    write_episode(tmp_path / "episode", plain_conditions(130), 16.0)
    whole, part = list(Episode(tmp_path / "episode").conditions()), list(Episode(tmp_path / "episode").conditions(start, stop))
    assert [numbers(condition) for condition in part] == [numbers(condition) for condition in whole[start:stop]]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[start:stop], strict=True))


def test_hand_renders_come_back_bit_by_bit(tmp_path: Path) -> None:
    conditions = plain_conditions(5)
    write_episode(tmp_path / "episode", conditions, 16.0)
    assert all(np.array_equal(a.hand_render, b.hand_render) for a, b in zip(Episode(tmp_path / "episode").conditions(), conditions, strict=True))


def test_a_moment_without_a_picture_stays_without(tmp_path: Path) -> None:
    conditions = plain_conditions(6)
    sparse = [condition if index in (1, 4) else condition.without_pictures() for index, condition in enumerate(conditions)]
    write_episode(tmp_path / "episode", sparse, 16.0)
    assert [condition.image is not None for condition in Episode(tmp_path / "episode").conditions()] == [False, True, False, False, True, False]
    assert next(Episode(tmp_path / "episode").conditions(4, 5)).image is not None


def test_masks_come_back_bit_by_bit_and_by_range(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((70, *SIZE_PX[::-1])) < 0.3
    write_episode(tmp_path / "episode", plain_conditions(70, with_image=False), 16.0, masks={"hands": masks})
    assert np.array_equal(Episode(tmp_path / "episode").masks("hands"), masks)
    assert np.array_equal(Episode(tmp_path / "episode").masks("hands", 60, 66), masks[60:66])
    with pytest.raises(ValueError, match="it has \\['hands'\\]"):
        Episode(tmp_path / "episode").masks("objects")


def test_provenance_is_kept(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(2), 16.0, description={"seed": 3}, domain="simulated tabletop")
    recording = open_recording(tmp_path / "episode")
    assert (recording.domain, recording.num_frames, recording.rate_hz) == ("simulated tabletop", 2, 16.0)
    assert Episode(tmp_path / "episode").description == {"seed": 3}


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stamps of an episode must grow"):
        write_episode(tmp_path / "episode", [*plain_conditions(2), *plain_conditions(1)], 16.0)
    assert list(tmp_path.iterdir()) == []


def interrupted(path: Path) -> None:
    with EpisodeWriter(path, 16.0) as writer:
        for condition in plain_conditions(3):
            writer.write(condition)
        raise KeyboardInterrupt


def test_an_interrupted_writer_leaves_a_whole_episode(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "episode")
    assert len(list(Episode(tmp_path / "episode").conditions())) == 3


KILLED = """
import sys, time
sys.path[:0] = sys.argv[2:]
from test_episodes import plain_conditions
from h2w_ros.episodes.writer import EpisodeWriter
writer = EpisodeWriter(sys.argv[1], 16.0)
for condition in plain_conditions(70):
    writer.write(condition)
print("writing", flush=True)
time.sleep(60)
"""


def test_what_a_killed_writer_leaves_is_recognised_as_half_written(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", KILLED, str(tmp_path / "episode"), str(here), str(here.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "writing"
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "episode").exists()
    (left,) = tmp_path.iterdir()
    with pytest.raises(IncompleteEpisodeError, match="half-written"):
        open_recording(left)
    write_episode(tmp_path / "episode", plain_conditions(2), 16.0)
    assert list(tmp_path.iterdir()) == [tmp_path / "episode"]


def test_an_episode_that_lost_its_manifest_is_recognised(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(2), 16.0)
    (tmp_path / "episode" / "episode.json").unlink()
    with pytest.raises(IncompleteEpisodeError, match="half-written"):
        open_recording(tmp_path / "episode")


@pytest.mark.parametrize("name", ["frames.parquet", "image.mp4"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_episode(tmp_path / "episode", plain_conditions(40), 16.0)
    file = tmp_path / "episode" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=name):
        list(open_recording(tmp_path / "episode").conditions())


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(1), 16.0)
    manifest = tmp_path / "episode" / "episode.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        open_recording(tmp_path / "episode")


def test_an_existing_episode_is_not_overwritten(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode", plain_conditions(1), 16.0)
    with pytest.raises(FileExistsError, match="exists already"):
        EpisodeWriter(tmp_path / "episode", 16.0)


def test_an_unknown_folder_is_answered_with_what_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it reads: an episode folder"):
        open_recording(tmp_path)
    with pytest.raises(FileNotFoundError, match="No recording at"):
        open_recording(tmp_path / "nothing")

"""What all importers share: thinning to a rate, names and licences, the command line."""

import numpy as np
import pytest
from dataset_files import write_egodex
from hypothesis import given
from hypothesis import strategies as st

from h2w_ros.cli import main
from h2w_ros.condition import Camera
from h2w_ros.episodes.recording import open_recording
from h2w_ros.imports.dataset import ImportOptions, counted_stamps_ns, frames_at
from h2w_ros.imports.datasets import DATASETS, dataset
from h2w_ros.video import write_video


@given(st.floats(5.0, 240.0), st.integers(2, 300), st.sampled_from([8.0, 16.0, 30.0]))
def test_every_tick_gets_the_frame_nearest_to_it_and_no_frame_comes_twice(source_hz, num_frames, rate_hz):
    stamps_ns = np.array(counted_stamps_ns(num_frames, source_hz))
    picked = frames_at(stamps_ns.tolist(), rate_hz)
    assert picked.rate_hz == pytest.approx(min(source_hz, rate_hz), rel=1e-6)
    assert picked.frames == sorted(set(picked.frames))
    if source_hz > rate_hz * (1.0 + 1e-6):
        ticks = np.arange(0.0, stamps_ns[-1] + 1.0, 1e9 / rate_hz)
        assert np.abs(stamps_ns[picked.frames] - ticks).max() <= 0.5e9 / source_hz + 1.0
    else:
        assert len(picked.frames) == num_frames


def test_a_gap_stays_a_gap():
    stamps_ns = [stamp for stamp in counted_stamps_ns(60, 30.0) if not 5e8 < stamp < 1e9]
    stamps = np.array(stamps_ns)[frames_at(stamps_ns, 16.0).frames]
    assert np.diff(stamps).max() > 4.5e8
    assert np.diff(stamps).min() > 3e7


@pytest.mark.parametrize("stamps_ns", [[], [0, 0], [5, 3]])
def test_stamps_that_do_not_grow_are_refused(stamps_ns):
    with pytest.raises(ValueError, match="grow"):
        frames_at(stamps_ns, 16.0)


def test_the_list_states_what_every_dataset_needs_and_its_licence(capsys):
    assert main(["import-episodes", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for name in DATASETS for text in (name, dataset(name).layout, dataset(name).licence))


def test_the_command_imports_resized_and_tells_failures_without_stopping(tmp_path, capsys):
    write_egodex(tmp_path / "src" / "task" / "1", num_frames=12)
    write_egodex(tmp_path / "src" / "task" / "0", num_frames=2)
    (tmp_path / "src" / "task" / "0.mp4").write_bytes(b"no video")
    assert main(["import-episodes", "egodex", str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--size", "128x96"]) == 1
    told = capsys.readouterr()
    assert "1 failed" in told.out
    assert "1 done" in told.out
    assert "task-0 failed: " in told.err
    episode = open_recording(tmp_path / "out" / "task-1")
    assert next(episode.conditions()).image.shape == (96, 128, 3)
    assert main(["import-episodes", "egodex", str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--size", "128x96"]) == 1
    assert "1 there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "."], "dataset must be one of"),
        (["arctic"], "--out are needed"),
        (["arctic", "nowhere"], "nowhere holds no sequences of arctic: it must be a folder with raw_seqs/"),
        (["arctic", ".", "--size", "big"], "--size must be"),
        (["arctic", ".", "--rate", "0"], "rate_hz must be"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, said, tmp_path, capsys):
    assert main(["import-episodes", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_unit_must_have_a_length():
    with pytest.raises(ValueError, match="metres_per_unit"):
        ImportOptions(metres_per_unit=0.0)


def test_a_fixed_camera_needs_the_users_word_on_its_lens_and_gives_episodes_to_annotate(tmp_path, capsys):
    pictures = [np.full((48, 64, 3), 5 * index, dtype=np.uint8) for index in range(30)]
    write_video(tmp_path / "src" / "SingleHand" / "Kitchen" / "7.mp4", pictures, 30.0)
    command = ["import-episodes", "fixed-video", str(tmp_path / "src"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "--intrinsics" in capsys.readouterr().err
    assert main([*command, "--intrinsics", "50,51,32,24"]) == 0
    conditions = list(open_recording(tmp_path / "out" / "SingleHand-Kitchen-7").conditions())
    assert len(conditions) == 16
    assert conditions[0].camera == Camera(64, 48, 50.0, 51.0, 32.0, 24.0)
    assert not any(condition.hands for condition in conditions)

"""HoloAssist: HoloLens's joints, axes and clocks become fitted hands that lie on their pixels."""

import pytest
from dataset_files import write_holoassist
from import_checks import assert_tips_on_dots, import_all

from h2w_ros.episodes.recording import open_recording
from h2w_ros.imports import holoassist

SESSION = "z013-june-16-22-gopro"


def outcome_of(tmp_path, **options):
    assert holoassist.sequences(tmp_path / "src") == [SESSION]
    return import_all("holoassist", tmp_path / "src", tmp_path / "out", **options)[SESSION]


def imported(tmp_path, **options):
    assert outcome_of(tmp_path, **options).reason == ""
    return open_recording(tmp_path / "out" / SESSION)


def edit(tmp_path, name, change):
    file = tmp_path / "src" / SESSION / "Export_py" / name
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    file.write_text("".join("\t".join(change(index, words)) + "\n" for index, words in enumerate(lines)))


@pytest.mark.parametrize("num_words", [3, 5])
def test_fitted_fingertips_land_on_their_pixels_in_either_version_of_the_export(tmp_path, num_words):
    write_holoassist(tmp_path / "src" / SESSION, num_words=num_words)
    episode = imported(tmp_path)
    assert episode.num_frames == 18
    assert episode.rate_hz == pytest.approx(15.0, abs=0.01)
    assert_tips_on_dots(episode, None, {"right": 0.4, "left": 0.4})


def test_stamps_of_100_ns_count_from_the_videos_first(tmp_path):
    write_holoassist(tmp_path / "src" / SESSION)
    stamps = [condition.stamp_ns for condition in imported(tmp_path).conditions()]
    assert stamps[0] == 333_333_300
    assert stamps[15] - stamps[0] == pytest.approx(1_000_000_000, abs=100)


def test_joints_that_the_headset_calls_invalid_are_missing(tmp_path):
    write_holoassist(tmp_path / "src" / SESSION)
    edit(tmp_path, "Hands/Left_sync.txt", lambda index, words: [*words[:-52], *["0" if index < 10 else "1"] * 26, *words[-26:]])
    assert imported(tmp_path).dropped == {"hand_not_tracked": 10}


def test_millimetres_and_lines_that_are_too_short_are_refused(tmp_path):
    write_holoassist(tmp_path / "src" / SESSION, metres=0.001)
    assert "metres_per_unit to 0.001" in outcome_of(tmp_path).reason
    edit(tmp_path, "Hands/Right_sync.txt", lambda index, words: words[:100])
    assert "line 1" in outcome_of(tmp_path).reason


def test_poses_after_the_end_of_the_video_are_counted(tmp_path):
    write_holoassist(tmp_path / "src" / SESSION)
    edit(tmp_path, "Video/VideoMp4Timing.txt", lambda index, words: [str(int(words[0]) - 7_000_000)])
    assert imported(tmp_path).dropped["pose_without_picture"] == 10

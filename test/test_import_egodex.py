"""EgoDex: ARKit's joints become fitted hands that lie on their pixels, and what cannot be hands says why."""

import h5py
import numpy as np
import pytest
from dataset_files import write_egodex
from import_checks import assert_tips_on_dots, import_all

from h2w_ros.episodes.recording import open_recording
from h2w_ros.imports import egodex

TAKE = "fold_towel/3"


@pytest.fixture
def source(tmp_path):
    write_egodex(tmp_path / "src" / TAKE)
    return tmp_path / "src"


def outcome_of(source, tmp_path, **options):
    assert egodex.sequences(source) == [TAKE]
    return import_all("egodex", source, tmp_path / "out", **options)[TAKE]


def imported(source, tmp_path, **options):
    assert outcome_of(source, tmp_path, **options).reason == ""
    return open_recording(tmp_path / "out" / TAKE.replace("/", "-"))


def change(source, edit):
    with h5py.File(source / f"{TAKE}.hdf5", "r+") as file:
        edit(file)


def test_fitted_fingertips_land_on_their_pixels(source, tmp_path):
    episode = imported(source, tmp_path)
    assert episode.num_frames == 14
    assert episode.rate_hz == pytest.approx(16.0)
    assert_tips_on_dots(episode, None, {"right": 0.4, "left": 0.4})


def test_the_world_has_z_up_and_the_take_keeps_its_words(source, tmp_path):
    episode = imported(source, tmp_path)
    assert episode.description["text"] == "fold the towel"
    assert next(episode.conditions()).T_world_camera[2, 1] < -0.5, "the picture's down is not the world's"


def test_millimetres_are_refused_with_the_remedy_and_the_remedy_works(tmp_path):
    write_egodex(tmp_path / "src" / TAKE, metres=0.001)
    refused = outcome_of(tmp_path / "src", tmp_path)
    assert refused.status == "failed"
    assert "millimetres" in refused.reason
    assert "metres_per_unit" in refused.reason
    change(
        tmp_path / "src", lambda file: file["transforms/camera"].__setitem__((slice(None), slice(None, 3), 3), file["transforms/camera"][:, :3, 3])
    )
    assert outcome_of(tmp_path / "src", tmp_path, metres_per_unit=0.001).status == "done"


def test_bones_without_length_are_dropped_and_counted_frame_by_frame(source, tmp_path):
    def collapse(file):
        file["transforms/leftIndexFingerTip"][:] = file["transforms/leftIndexFingerIntermediateTip"][:]

    change(source, collapse)
    episode = imported(source, tmp_path)
    assert episode.dropped == {"hand_bones_without_length": 14}
    assert {hand.side for condition in episode.conditions() for hand in condition.hands} == {"right"}


def test_joints_that_are_nan_or_unsure_are_missing_and_the_others_carry_the_fit(source, tmp_path):
    def lose(file):
        file["transforms/rightMiddleFingerTip"][:, :3, 3] = np.nan
        file["confidences/rightLittleFingerTip"][:] = 0.0

    change(source, lose)
    assert_tips_on_dots(imported(source, tmp_path), None, {"right": 0.4, "left": 0.4})


def test_hands_that_are_nan_throughout_are_counted(source, tmp_path):
    def lose(file):
        for name in file["transforms"]:
            if name.startswith("left"):
                file["transforms"][name][:, :3, 3] = np.nan

    change(source, lose)
    assert imported(source, tmp_path).dropped == {"hand_unfitted": 14}


def test_hands_that_the_tracker_did_not_see_are_counted(source, tmp_path):
    change(source, lambda file: file["confidences/leftHand"].__setitem__(slice(0, 10), 0.0))
    assert imported(source, tmp_path).dropped["hand_not_tracked"] == 6


def test_joints_under_other_names_are_named_as_missing(source, tmp_path):
    change(source, lambda file: file["transforms"].move("leftThumbKnuckle", "leftThumbMCP"))
    assert "lacks those of left: ThumbKnuckle" in outcome_of(source, tmp_path).reason


def test_a_swapped_pair_of_hands_is_refused_as_such(source, tmp_path):
    def swap(file):
        for name in [name.removeprefix("left") for name in file["transforms"] if name.startswith("left")]:
            left, right = (file["transforms"][f"{side}{name}"][:] for side in ("left", "right"))
            file["transforms"][f"left{name}"][:], file["transforms"][f"right{name}"][:] = right, left

    change(source, swap)
    refused = outcome_of(source, tmp_path)
    assert refused.status == "failed"
    assert "has the shape of a" in refused.reason


def test_a_damaged_file_and_a_missing_video_are_said_by_name(source, tmp_path):
    (source / f"{TAKE}.mp4").rename(source / "elsewhere.mp4")
    assert "3.mp4" in outcome_of(source, tmp_path).reason
    (source / f"{TAKE}.hdf5").write_bytes(b"nonsense")
    assert "3.hdf5" in outcome_of(source, tmp_path).reason

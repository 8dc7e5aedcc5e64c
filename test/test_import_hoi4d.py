"""HOI4D: hands in the camera's frame, poses from the camera to the world, checked against the key points that come along."""

import pickle

import numpy as np
import pytest
from dataset_files import HOI4D_SEQUENCE, write_hoi4d
from import_checks import assert_tips_on_dots, import_all
from mano_files import RunsACommand, write_official_folder

from h2w_ros.episodes.recording import open_recording
from h2w_ros.imports import hoi4d


@pytest.fixture(scope="module")
def mano(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        return write_official_folder(tmp_path_factory.mktemp("mano"), patched)


def outcome_of(tmp_path, mano):
    assert hoi4d.sequences(tmp_path / "src") == [HOI4D_SEQUENCE]
    return import_all("hoi4d", tmp_path / "src", tmp_path / "out", mano=mano)[HOI4D_SEQUENCE]


def imported(tmp_path, mano):
    assert outcome_of(tmp_path, mano).reason == ""
    return open_recording(tmp_path / "out" / HOI4D_SEQUENCE.replace("/", "-"))


def hands_of(tmp_path, side):
    return sorted((tmp_path / "src" / "handpose" / f"refinehandpose_{side}" / HOI4D_SEQUENCE).glob("*.pickle"))


@pytest.mark.parametrize("frames_per_pose", [1, 2])
def test_fingertips_land_on_their_pixels_and_cameras_stand_in_the_world(frames_per_pose, mano, tmp_path):
    cameras = write_hoi4d(tmp_path / "src", mano, frames_per_pose=frames_per_pose)
    episode = imported(tmp_path, mano)
    assert episode.rate_hz == pytest.approx(15.0)
    assert_tips_on_dots(episode, mano, {"right": 0.3, "left": 1.5})
    np.testing.assert_allclose([condition.T_world_camera for condition in episode.conditions()], cameras, atol=1e-9)


def test_a_hand_that_is_not_where_its_key_points_are_is_dropped_and_counted(mano, tmp_path):
    write_hoi4d(tmp_path / "src", mano)
    for file in hands_of(tmp_path, "left"):
        table = pickle.loads(file.read_bytes())
        file.write_bytes(pickle.dumps({**table, "kps2D": table["kps2D"] + 40.0}))
    assert imported(tmp_path, mano).dropped == {"hand_off_its_keypoints": 6}


def test_frames_without_a_pickle_have_no_hand_of_that_side(mano, tmp_path):
    write_hoi4d(tmp_path / "src", mano)
    for file in hands_of(tmp_path, "right")[:2]:
        file.unlink()
    sides = [{hand.side for hand in condition.hands} for condition in imported(tmp_path, mano).conditions()]
    assert sides == [{"left"}] * 2 + [{"left", "right"}] * 4


def test_pickles_that_would_run_a_command_and_poses_that_are_torn_are_refused(mano, tmp_path):
    write_hoi4d(tmp_path / "src", mano)
    log = tmp_path / "src" / "HOI4D_annotations" / HOI4D_SEQUENCE / "3Dseg" / "output.log"
    whole = log.read_text()
    log.write_text(whole[: len(whole) // 2].rsplit("\n", 1)[0])
    assert "output.log" in outcome_of(tmp_path, mano).reason
    log.write_text(whole)
    hands_of(tmp_path, "right")[0].write_bytes(pickle.dumps(RunsACommand(tmp_path / "witness")))
    assert "0.pickle" in outcome_of(tmp_path, mano).reason
    assert not (tmp_path / "witness").exists()


def test_a_video_of_another_length_is_refused(mano, tmp_path):
    write_hoi4d(tmp_path / "src", mano, frames_per_pose=3)
    assert "one or two frames" in outcome_of(tmp_path, mano).reason

"""ARCTIC: files in the release's layout become episodes whose hands lie on the pixels that they were drawn to."""

import numpy as np
import pytest
from dataset_files import SIDES, write_arctic
from import_checks import assert_tips_on_dots, import_all, tip_errors_px
from mano_files import RunsACommand, write_official_folder

from h2w_ros.episodes.recording import open_recording

SEQUENCE = "s01/box_grab_01"


@pytest.fixture(scope="module")
def mano(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        return write_official_folder(tmp_path_factory.mktemp("mano"), patched)


@pytest.fixture
def source(tmp_path, mano):
    write_arctic(tmp_path / "arctic", mano)
    return tmp_path / "arctic"


def imported(source, mano, tmp_path, **options):
    assert import_all("arctic", source, tmp_path / "out", mano=mano, **options)[SEQUENCE].reason == ""
    return open_recording(tmp_path / "out" / SEQUENCE.replace("/", "-"))


def test_fingertips_of_both_hands_land_on_the_pixels_that_they_were_drawn_to(source, mano, tmp_path):
    episode = imported(source, mano, tmp_path, rate_hz=30.0)
    assert episode.num_frames == 8
    assert episode.rate_hz == pytest.approx(30.0)
    assert_tips_on_dots(episode, mano, {"right": 0.2, "left": 0.5})


def test_left_hands_need_the_shape_directions_that_they_were_annotated_with(source, mano, tmp_path, monkeypatch):
    monkeypatch.setattr("h2w_ros.imports.mano.MIRROR_X", np.ones((3, 1)))
    assert min(tip_errors_px(imported(source, mano, tmp_path), mano)["left"]) > 2.0


def test_pictures_before_the_annotation_begins_are_counted_and_left_out(source, mano, tmp_path):
    assert imported(source, mano, tmp_path).dropped["picture_without_annotation"] == 2


def test_frames_are_thinned_to_the_wanted_rate_and_keep_their_own_stamps(source, mano, tmp_path):
    stamps = [condition.stamp_ns for condition in imported(source, mano, tmp_path, rate_hz=16.0).conditions()]
    assert len(stamps) == 4
    assert {stamp % 33_333_333 < 10 for stamp in stamps} == {True}


def test_numbers_that_are_no_hand_are_dropped_and_counted_and_the_other_hand_stays(source, mano, tmp_path):
    file = source / "raw_seqs" / f"{SEQUENCE}.mano.npy"
    hands = np.load(file, allow_pickle=True).item()
    hands["left"]["pose"][:, 3] = np.nan
    np.save(file, hands, allow_pickle=True)
    episode = imported(source, mano, tmp_path)
    assert episode.dropped["hand_invalid"] == episode.num_frames
    assert {hand.side for condition in episode.conditions() for hand in condition.hands} == {"right"}


def test_a_picture_that_is_cut_off_is_dropped_and_counted_not_filled_up(source, mano, tmp_path):
    picture = source / "cropped_images" / SEQUENCE / "0" / "00007.jpg"
    picture.write_bytes(picture.read_bytes()[:-400])
    episode = imported(source, mano, tmp_path, rate_hz=30.0)
    assert episode.dropped["picture_damaged"] == 1
    assert [condition.stamp_ns for condition in episode.conditions()] == [round(frame * 1e9 / 30) for frame in (0, 1, 2, 3, 5, 6, 7)]


def test_translations_in_millimetres_are_refused_with_what_was_found(source, mano, tmp_path):
    file = source / "raw_seqs" / f"{SEQUENCE}.mano.npy"
    hands = np.load(file, allow_pickle=True).item()
    for side in SIDES:
        hands[side]["trans"] *= 1000.0
    np.save(file, hands, allow_pickle=True)
    outcome = import_all("arctic", source, tmp_path / "out", mano=mano)[SEQUENCE]
    assert outcome.status == "failed"
    assert "hand_out_of_reach" in outcome.reason
    assert not (tmp_path / "out" / "s01-box_grab_01").exists()


def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(source, mano, tmp_path):
    witness = tmp_path / "witness"
    np.save(source / "raw_seqs" / f"{SEQUENCE}.mano.npy", np.array(RunsACommand(witness), dtype=object), allow_pickle=True)
    outcome = import_all("arctic", source, tmp_path / "out", mano=mano)[SEQUENCE]
    assert outcome.status == "failed"
    assert "mano.npy" in outcome.reason
    assert not witness.exists()


def test_without_mano_files_the_remedy_is_named(source, tmp_path):
    outcome = import_all("arctic", source, tmp_path / "out")[SEQUENCE]
    assert "--mano" in outcome.reason


def test_a_damaged_sequence_does_not_stop_the_others_and_a_second_run_does_only_what_failed(source, mano, tmp_path):
    (source / "raw_seqs" / "s01" / "aa_broken.egocam.dist.npy").write_bytes(b"nonsense")
    first, second = ({name: outcome.status for name, outcome in import_all("arctic", source, tmp_path / "out", mano=mano).items()} for _ in range(2))
    assert first == {"s01/aa_broken": "failed", SEQUENCE: "done"}
    assert second == {"s01/aa_broken": "failed", SEQUENCE: "there already"}


def test_a_folder_of_something_else_is_refused_with_what_belongs_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="raw_seqs"):
        import_all("arctic", tmp_path, tmp_path / "out")

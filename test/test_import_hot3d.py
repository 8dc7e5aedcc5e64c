"""HOT3D-Clips: tar files in the published layout become upright pinhole episodes whose hands lie where they were drawn."""

import json
import tarfile

import numpy as np
import pytest
from dataset_files import write_hot3d, write_tar
from import_checks import assert_tips_on_dots, import_all, tip_errors_px
from mano_files import write_official_folder

from h2w_ros.episodes.recording import open_recording
from h2w_ros.imports import hot3d

CLIP = "train_aria/clip-000007"


@pytest.fixture(scope="module")
def mano(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        return write_official_folder(tmp_path_factory.mktemp("mano"), patched)


def imported(source, mano, tmp_path):
    assert hot3d.sequences(source) == [CLIP]
    outcome = import_all("hot3d", source, tmp_path / "out", mano=mano, rate_hz=30.0)[CLIP]
    assert outcome.reason == ""
    return open_recording(tmp_path / "out" / CLIP.replace("/", "-"))


def changed(path, change):
    """The same tar file with its members as `change` makes them."""
    with tarfile.open(path) as tar:
        entries = {member.name: tar.extractfile(member).read() for member in tar}
    change(entries)
    write_tar(path, entries)


@pytest.mark.parametrize("stream", ["214-1", "1201-1"])
def test_fingertips_land_on_their_pixels_through_the_fisheye_and_the_turn(stream, mano, tmp_path):
    write_hot3d(tmp_path / "src" / f"{CLIP}.tar", mano, stream)
    episode = imported(tmp_path / "src", mano, tmp_path)
    assert_tips_on_dots(episode, mano, {"right": 0.3, "left": 0.3})
    first = next(episode.conditions())
    assert first.T_world_camera[2, 1] < -0.5, "the picture's down is not the world's"


def test_quaternions_are_scalar_first(mano, tmp_path, monkeypatch):
    write_hot3d(tmp_path / "src" / f"{CLIP}.tar", mano)
    right = hot3d.geometry.rotation_from_quaternion
    monkeypatch.setattr(hot3d.geometry, "rotation_from_quaternion", lambda q: right(np.roll(q, 1)))
    errors = tip_errors_px(imported(tmp_path / "src", mano, tmp_path), mano)
    assert not errors or min(min(found) for found in errors.values()) > 20.0


def test_a_hand_that_only_the_other_model_describes_is_counted(mano, tmp_path):
    path = tmp_path / "src" / f"{CLIP}.tar"
    write_hot3d(path, mano)

    def drop_left(entries):
        for name in [name for name in entries if name.endswith("hands.json")]:
            hands = json.loads(entries[name])
            del hands["left"]["mano_pose"]
            entries[name] = json.dumps(hands).encode()

    changed(path, drop_left)
    episode = imported(tmp_path / "src", mano, tmp_path)
    assert episode.dropped == {"hand_without_mano": 6}
    assert {hand.side for condition in episode.conditions() for hand in condition.hands} == {"right"}


def test_clips_without_published_hands_and_torn_ones_are_refused_with_the_reason(mano, tmp_path):
    path = tmp_path / "src" / f"{CLIP}.tar"
    write_hot3d(path, mano)
    whole = path.read_bytes()
    changed(path, lambda entries: entries.pop("__hand_shapes.json__"))
    assert "training clips" in import_all("hot3d", tmp_path / "src", tmp_path / "out", mano=mano)[CLIP].reason
    path.write_bytes(whole[: len(whole) // 2 + 77])
    torn = import_all("hot3d", tmp_path / "src", tmp_path / "out", mano=mano)[CLIP]
    assert torn.status == "failed"
    assert "clip-000007.tar" in torn.reason


def test_a_clip_whose_pictures_are_all_damaged_says_so(mano, tmp_path):
    path = tmp_path / "src" / f"{CLIP}.tar"
    write_hot3d(path, mano, num_frames=2)
    changed(path, lambda entries: entries.update({name: data[:200] for name, data in entries.items() if name.endswith(".jpg")}))
    assert (
        "0 frames can be read, with no hand that can be used; dropped {'picture_damaged': 1}"
        in import_all("hot3d", tmp_path / "src", tmp_path / "out", mano=mano)[CLIP].reason
    )

"""Video files: exact ranges, any size, whole or absent."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from h2w_ros.video import LOSSLESS, TO_TRAIN, Encoding, VideoWriter, iterate_video, read_video, video_info, write_video


def moving_pictures(num_frames: int, height_px: int = 48, width_px: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    grey = cv2.resize(rng.integers(30, 200, (6, 8), dtype=np.uint8), (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    picture = grey.reshape(height_px, width_px, 1) + np.array([0, 20, 40], dtype=np.uint8)
    return np.stack([np.roll(picture, shift, axis=1) for shift in range(num_frames)])


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1, 1)])
def test_a_video_keeps_its_size_even_when_it_is_odd(tmp_path: Path, size: tuple[int, int]) -> None:
    write_video(tmp_path / "a.mp4", moving_pictures(3, *size), 16.0)
    assert read_video(tmp_path / "a.mp4").shape == (3, *size, 3)
    info = video_info(tmp_path / "a.mp4")
    assert (info.height_px, info.width_px, info.num_frames, info.rate_hz) == (*size, 3, 16.0)


def test_training_quality_is_close_and_unbiased(tmp_path: Path) -> None:
    pictures = moving_pictures(8)
    write_video(tmp_path / "a.mp4", pictures, 16.0, TO_TRAIN)
    error = read_video(tmp_path / "a.mp4").astype(float) - pictures
    assert np.abs(error.mean()) < 0.5
    assert (error**2).mean() < 4.0


def test_lossless_video_returns_every_bit(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (5, 31, 33, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", pictures, 16.0, LOSSLESS)
    assert np.array_equal(read_video(tmp_path / "a.mp4"), pictures)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 9), (8, 16), (19, 20), (5, None)])
def test_a_frame_range_equals_the_slice_of_the_whole(tmp_path: Path, start: int, stop: int | None) -> None:
    write_video(tmp_path / "a.mp4", moving_pictures(20), 16.0, Encoding(keyframe_interval=8))
    assert np.array_equal(read_video(tmp_path / "a.mp4", start, stop), read_video(tmp_path / "a.mp4")[start:stop])


def test_reading_past_the_end_says_what_is_there(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_pictures(4), 16.0)
    with pytest.raises(ValueError, match=r"holds frames 0\.\.3, cannot read 2\.\.5"):
        next(iterate_video(tmp_path / "a.mp4", 2, 6))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_video_is_refused_by_name(tmp_path: Path, share: float) -> None:
    write_video(tmp_path / "a.mp4", moving_pictures(40), 16.0)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"cut\.mp4"):
        read_video(tmp_path / "cut.mp4")


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        read_video(tmp_path / "none.mp4")


def stopped_by(error: BaseException, path: Path) -> None:
    with VideoWriter(path, 16.0) as writer:
        writer.write(moving_pictures(1)[0])
        raise error


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        stopped_by(RuntimeError(), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_keeps_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped_by(KeyboardInterrupt(), tmp_path / "a.mp4")
    assert len(read_video(tmp_path / "a.mp4")) == 1


def test_a_writer_without_frames_leaves_nothing(tmp_path: Path) -> None:
    assert write_video(tmp_path / "a.mp4", [], 16.0) == 0
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frame 1 is uint8"):
        write_video(tmp_path / "a.mp4", [moving_pictures(1, 48, 64)[0], moving_pictures(1, 48, 66)[0]], 16.0)


def test_players_are_told_how_wide_pixels_are_to_be_shown(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "squashed.mp4", 16.0, pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(np.zeros((128, 128, 3), np.uint8))
    with av.open(str(tmp_path / "squashed.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert read_video(tmp_path / "squashed.mp4").shape == (1, 128, 128, 3)

"""MediaPipe's process and what it says; the network itself where its environment is set up."""

import sys
from pathlib import Path

import numpy as np
import pytest

from h2w_ros.annotate import mediapipe_env
from h2w_ros.annotate.mediapipe_hands import MediaPipeConfig, MediaPipeProcess, sightings_of

SET_UP = mediapipe_env.is_set_up()


def said(label, score, shift=0.0):
    points = [[0.1 + 0.01 * index + shift, 0.2 + 0.02 * index] for index in range(21)]
    return {"label": label, "score": score, "points": points, "world": [[0.001 * index, 0.0, 0.0] for index in range(21)]}


def test_sides_are_those_of_a_picture_that_is_not_mirrored_and_points_in_our_order():
    (seen,) = sightings_of([said("Left", 0.9)], 200, 100)
    assert (seen.side, seen.confidence) == ("right", 0.9)
    # MediaPipe's 4 is the thumb's tip, our 16; its 5 the index finger's knuckle, our 1.
    np.testing.assert_allclose(seen.points_px[16], [0.14 * 200, 0.28 * 100])
    np.testing.assert_allclose(seen.points_px[1], [0.15 * 200, 0.30 * 100])
    assert seen.points_hand_m[16, 0] == pytest.approx(0.004)


def test_a_hand_that_is_found_twice_is_one_the_surest():
    seen = sightings_of([said("Left", 0.6, 0.001), said("Right", 0.9), said("Left", 0.8, 0.5)], 200, 100)
    assert [(hand.side, hand.confidence) for hand in seen] == [("left", 0.9), ("right", 0.8)]


def test_a_process_that_cannot_work_says_why():
    """This interpreter has no MediaPipe."""
    with MediaPipeProcess(python=Path(sys.executable)) as process, pytest.raises(OSError, match=r"process has ended: .*mediapipe"):
        process.find(np.zeros((48, 64, 3), np.uint8))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="max_num_hands"):
        MediaPipeConfig(max_num_hands=0)
    with pytest.raises(ValueError, match="min_tracking_confidence"):
        MediaPipeConfig(min_tracking_confidence=1.5)


def test_an_environment_is_made_once_and_only_a_whole_one_counts(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setenv("H2W_MEDIAPIPE_ENV", str(tmp_path / "env"))
    monkeypatch.setattr(mediapipe_env, "_run", lambda command: (commands.append(command), (tmp_path / "env").mkdir(exist_ok=True)))
    monkeypatch.setattr(mediapipe_env, "_interpreter", lambda: "python3")
    assert not mediapipe_env.is_set_up()
    assert mediapipe_env.mediapipe_python() == tmp_path / "env" / "bin" / "python"
    assert mediapipe_env.is_set_up()
    mediapipe_env.mediapipe_python()
    assert len(commands) == 2
    assert commands[1][-1] == "mediapipe==0.10.21"


def test_a_set_up_that_fails_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("H2W_MEDIAPIPE_ENV", str(tmp_path / "env"))
    monkeypatch.setattr(mediapipe_env, "_interpreter", lambda: "/bin/false")
    with pytest.raises(OSError, match="setting up MediaPipe's environment failed"):
        mediapipe_env.mediapipe_python()
    assert not mediapipe_env.is_set_up()


@pytest.mark.skipif(not SET_UP, reason="MediaPipe's environment is not set up; h2w annotate does that")
def test_mediapipe_itself_answers_every_picture():
    with MediaPipeProcess() as process:
        assert process.find(np.zeros((48, 64, 3), np.uint8)) == ()
        assert process.find(np.full((120, 90, 3), 128, np.uint8)) == ()

"""What the webcam's bench makes of its notes."""

import pytest

pytest.importorskip("rclpy")

from pathlib import Path

from h2w_ros.nodes.webcam_speed import WebcamPlan, report

PLAN = WebcamPlan(Path("video.mp4"), num_pictures=5, rate_hz=10.0)


def test_answers_are_counted_and_timed_from_their_own_picture():
    sent_s = {stamp: 0.1 * stamp for stamp in range(5)}
    answers = {0: (0.05, 1), 2: (0.27, 0), 3: (0.35, 2), 77: (9.0, 1)}  # pictures 1 and 4 came while it was busy; 77 warmed it up
    told = report(sent_s, answers, PLAN)
    assert (told["answered"], told["with_a_hand"]) == (0.6, 0.667)
    assert told["answers_a_second"] == pytest.approx(2 / 0.30, abs=0.1)
    assert told["longest_pause_ms"] == pytest.approx(220.0)
    assert told["latency_ms_p50"] == pytest.approx(50.0)
    assert told["latency_ms_p95"] == pytest.approx(68.0)


def test_silence_is_an_error_not_a_number():
    with pytest.raises(TimeoutError, match="answered 1 of 5"):
        report(dict.fromkeys(range(5), 0.0), {0: (1.0, 1)}, PLAN)
    with pytest.raises(ValueError, match="num_pictures"):
        WebcamPlan(Path("video.mp4"), num_pictures=1)

"""The measurement of a live session beside a prediction runs through real nodes and says what it counted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from ros_fixture import conditions
from small_tiny import small_tiny

from h2w_ros.generator.checkpoint import save_generator
from h2w_ros.nodes.live_speed import LivePlan, measure_live


@pytest.fixture
def model(tmp_path: Path) -> Path:
    small = small_tiny()
    save_generator(tmp_path / "model", small.config, small.transformer, small.codec)
    return tmp_path / "model"


@pytest.mark.slow
def test_a_live_session_is_measured_alone_and_beside_a_prediction(model: Path) -> None:
    plan = LivePlan(num_candidates=2, horizon_s=0.5, warm_up_s=0.5, alone_s=0.5)

    measured = measure_live(str(model), conditions(20), 16.0, plan)

    assert measured["candidates"] == 2
    for name in ("alone", "beside"):
        assert 0.0 < measured[f"answered_{name}"] <= 1.0
        assert 0.0 < measured[f"latency_ms_p50_{name}"] <= measured[f"latency_ms_p95_{name}"]
    assert measured["prediction_s_alone"] > 0.0


def test_a_recording_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="made of 9 conditions, and the recording has 5"):
        measure_live("tiny", conditions(5), 16.0, LivePlan(horizon_s=0.5))


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LivePlan(num_candidates=0)

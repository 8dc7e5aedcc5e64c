"""The bench of static scenes measures what it names."""

from __future__ import annotations

import pytest
from scenes import square

from h2w_ros.evaluation.scene_speed import ScenePlan, measure_scene

SHORT = ScenePlan(sizes_px=((32, 24),), num_pictures=2, num_depths=2)


def test_it_draws_what_it_fused_and_triangles() -> None:
    calls: list[int] = []
    report = measure_scene(SHORT, advanced=lambda: calls.append(1))
    assert report["fused_points"] == report["points"]["size"] > 10_000
    assert report["triangles"]["size"] > 5_000
    assert 0 < report["points"]["draw_ms_32x24"] < report["period_ms"]
    assert len(calls) == 2 + 2 * 2


def test_a_given_scene_takes_the_place_of_ours() -> None:
    report = measure_scene(SHORT, square(1.0, 0.2, (1, 2, 3)))
    assert report["given"]["size"] == 2
    assert "points" not in report


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        ScenePlan(num_pictures=1)

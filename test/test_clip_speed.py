"""The bench of random access reads what it says it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2w_ros.evaluation.clip_speed import ClipPlan, measure_clips, read_clip


def test_every_clip_is_read_whole(tmp_path: Path) -> None:
    seen = []
    plan = ClipPlan(num_clips=6, clip_frames=5, height_px=48, width_px=64, processes=1, num_episodes=2, episode_frames=20)
    report = measure_clips(plan, tmp_path, lambda: seen.append(1))
    assert len(seen) == report["clips"] == 6
    assert report["clips_a_minute"] > 0
    assert read_clip(5, (tmp_path / "episode1", 15)) == 5


def test_clips_longer_than_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="must fit into an episode"):
        ClipPlan(clip_frames=400)

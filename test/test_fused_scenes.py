"""Scenes fused from simulated depth look like the true untouched scene, and an evaluation may ask for lively heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from h2w_ros.evaluation.episodes import HeldOutEpisode, Source, from_world, turned_deg
from h2w_ros.evaluation.fused_scenes import with_fused_scene
from h2w_ros.generator.presets import preset
from h2w_ros.world.simulate import simulate
from h2w_ros.world.spec import WorldSpec

LIVELY_SEED = 900_011
SPEC = WorldSpec(width_px=96, height_px=72, num_frames=17, ground_truth=True, fixed_camera=0.0, substeps=4)


@pytest.fixture(scope="module")
def episode() -> HeldOutEpisode:
    try:
        return from_world(simulate(LIVELY_SEED, SPEC))
    except OSError as error:
        pytest.skip(str(error))


def test_a_fused_scene_is_close_to_the_true_one_wherever_it_is_known(episode: HeldOutEpisode) -> None:
    errors = []
    for fused, true in zip(with_fused_scene(episode).conditions, episode.conditions, strict=True):
        assert fused.static_known.mean() > 0.85
        errors.append(np.square(fused.static_render.astype(float) - true.static_render)[fused.static_known].mean())
    assert 10 * np.log10(255**2 / np.mean(errors)) > 22


def test_hands_and_what_they_move_are_no_part_of_it(episode: HeldOutEpisode) -> None:
    last, true = with_fused_scene(episode).conditions[-1], episode.conditions[-1]
    hand = episode.hand_masks[-1] & last.static_known
    if hand.sum() < 50:
        pytest.skip("no hand in the last frame of this seed")
    to_scene, to_camera = (np.abs(last.static_render.astype(float) - picture)[hand].mean() for picture in (true.static_render, true.image))
    assert to_scene < 0.5 * to_camera


def test_a_recording_without_depth_cannot_be_fused(episode: HeldOutEpisode) -> None:
    with pytest.raises(ValueError, match="only simulated episodes have"):
        with_fused_scene(replace(episode, truth=None))


def test_only_episodes_of_lively_heads_are_kept_where_these_are_asked_for(episode: HeldOutEpisode) -> None:
    turn_deg = turned_deg(episode)
    assert turn_deg > 0.5
    kept, left = (Source(preset("tiny"), 17, min_turn_deg=limit) for limit in (0.9 * turn_deg, 1.1 * turn_deg))
    assert kept._lively(episode) == [episode]
    assert left._lively(episode) == []
    assert dict(left.skipped) == {f"the head turns less than {1.1 * turn_deg:g} degrees": 1}

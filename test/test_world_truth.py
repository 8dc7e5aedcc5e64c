from __future__ import annotations

import numpy as np
import pytest

from h2w_ros.condition import Condition
from h2w_ros.geometry import apply, invert
from h2w_ros.world.objects import distance_m
from h2w_ros.world.physics import World
from h2w_ros.world.render import _gl_context
from h2w_ros.world.simulate import WorldEpisode, simulate
from h2w_ros.world.spec import TASK_NAMES, WORLD_VERSION, WorldSpec
from h2w_ros.world.truth_file import DEPTH_UNIT_M, read_truth, write_truth

CARRYING = WorldSpec(
    width_px=128, height_px=96, num_frames=30, idle_episodes=0.0, ground_truth=True, **(dict.fromkeys(TASK_NAMES, 0.0) | {"carry": 1.0})
)
SEED = 3


@pytest.fixture(scope="module")
def episode() -> WorldEpisode:
    try:
        _gl_context()
    except OSError as error:
        pytest.skip(str(error))
    return simulate(SEED, CARRYING)


def points_world(condition: Condition, depth_m: np.ndarray) -> np.ndarray:
    """Every pixel centre's surface point, by our pinhole convention."""
    camera = condition.camera
    x = (np.arange(camera.width_px) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height_px) + 0.5 - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(x, y), np.ones_like(depth_m)], axis=-1)
    return apply(condition.T_world_camera, (rays * depth_m[..., None]).reshape(-1, 3)).reshape(rays.shape)


def test_depth_puts_the_table_at_height_zero(episode):
    for frame in (0, 15, 29):
        points = points_world(episode.conditions[frame], episode.truth.depth_m[frame])
        on_table = (episode.truth.ids[frame] == 0) & (np.abs(points[..., 0]) < 0.3) & (np.abs(points[..., 1] - 0.05) < 0.2)
        assert on_table.sum() > 300
        assert np.abs(points[..., 2][on_table]).max() < 1e-4


def test_depth_ids_and_object_poses_agree(episode):
    """Every pixel of an object, put into the object's frame, lies on the object's surface."""
    things = World(np.random.default_rng((WORLD_VERSION, SEED, 0)), CARRYING, lambda points: 1.0).things
    assert [thing.name for thing in things] == list(episode.truth.names[3:])
    checked = 0
    for frame in (0, 15, 29):
        points = points_world(episode.conditions[frame], episode.truth.depth_m[frame])
        for column, thing in enumerate(things):
            seen = points[episode.truth.ids[frame] == column + 3]
            if len(seen) and all(solid.is_seen for solid in thing.solids):
                local = apply(invert(episode.truth.T_world_object[frame, column]), seen)
                opening = np.nan_to_num(episode.truth.openings[frame, column])
                assert np.abs(distance_m(thing, local, float(opening))).max() < 0.002
                checked += len(seen)
    assert checked > 100


def test_ids_and_masks_say_the_same(episode):
    truth = episode.truth
    assert np.array_equal(truth.mask("left_hand") | truth.mask("right_hand"), episode.hand_masks)
    moved = np.any([truth.mask(name) for name in episode.description["moved"]], axis=0)
    assert not (episode.object_masks & ~moved).any()
    assert truth.names == ("background", "left_hand", "right_hand", *episode.description["objects"])
    with pytest.raises(ValueError, match="name must be one of"):
        truth.mask("spoon")


def test_complete_hands_hold_the_visible_hands_and_what_things_hide(episode):
    assert not (episode.hand_masks & ~episode.truth.complete_hand_masks).any()
    assert (episode.truth.complete_hand_masks & ~episode.hand_masks).any()


def test_a_thing_that_is_lifted_is_touched(episode):
    heights = episode.truth.T_world_object[:, :, 2, 3]
    lifted = heights > heights[0] + 0.03
    assert lifted.any()
    assert (episode.truth.contacts.any(axis=1) | ~lifted).all()
    assert not episode.truth.contacts[0].any()


def test_truth_changes_nothing_else_and_repeats_itself(episode):
    again = simulate(SEED, CARRYING)
    assert np.array_equal(again.truth.depth_m, episode.truth.depth_m)
    assert np.array_equal(again.truth.ids, episode.truth.ids)
    assert np.array_equal(again.truth.contacts, episode.truth.contacts)
    assert np.array_equal(again.truth.T_world_object, episode.truth.T_world_object)
    short = WorldSpec(width_px=128, height_px=96, num_frames=4, idle_episodes=0.0, **(dict.fromkeys(TASK_NAMES, 0.0) | {"carry": 1.0}))
    plain = simulate(SEED, short)
    assert plain.truth is None
    assert np.array_equal(plain.conditions[3].image, episode.conditions[3].image)
    assert np.array_equal(plain.hand_masks[3], episode.hand_masks[3])


def test_written_truth_reads_back(episode, tmp_path):
    write_truth(tmp_path, episode.truth)
    read = read_truth(tmp_path)
    assert read.names == episode.truth.names
    for name in ("ids", "complete_hand_masks", "T_world_object", "contacts"):
        assert np.array_equal(getattr(read, name), getattr(episode.truth, name))
    assert np.array_equal(read.openings, episode.truth.openings, equal_nan=True)
    assert np.array_equal(np.isinf(read.depth_m), np.isinf(episode.truth.depth_m))
    finite = np.isfinite(read.depth_m)
    assert np.abs(read.depth_m - episode.truth.depth_m)[finite].max() <= DEPTH_UNIT_M / 2 + 1e-6


def test_an_episode_without_truth_says_where_truth_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match="world sample"):
        read_truth(tmp_path)

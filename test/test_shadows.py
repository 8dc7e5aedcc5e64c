"""Shadows on a table: laid where light says, and light told by where they lie."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from h2w_ros.camera import project
from h2w_ros.condition import Camera
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import apply, invert, look_at
from h2w_ros.things.handling import load_handling
from h2w_ros.things.lifting import load_lifter
from h2w_ros.things.shadows import Casters, Light, edges, hand_solids, lit_again, seen_light, shadow_of
from h2w_ros.things.table_scene import TableScene
from h2w_ros.world.materials import CAN_CHOOSE_SHADOWS

CAMERA = Camera(128, 128, 110.0, 140.0, 63.0, 66.0)
HERE = look_at(np.array([0.0, -0.35, 0.4]), np.array([0.0, 0.05, 0.0]), np.array([0.0, 0.0, 1.0]))
SEEN = CAMERA, invert(HERE)
NOTHING = np.zeros((128, 128), bool)
NO_POINTS = np.zeros((0, 3))
NO_HANDS = np.full((2, 21, 3), np.nan)
LOW_FROM_RIGHT = np.array([0.6, 0.0, 0.8])


def light_at(azimuth: float, elevation: float) -> np.ndarray:
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def ball(x: float, y: float, z: float, radius_m: float = 0.02) -> np.ndarray:
    return np.array([[x, y, z, radius_m]])


def hand(x: float = 0.0, y: float = 0.05, z: float = 0.12) -> np.ndarray:
    """Joints and tips of a flat right hand that points away, and no left one."""
    joints = np.full((2, 21, 3), np.nan)
    reach = {1: 0.09, 2: 0.125, 3: 0.15, 16: 0.17}
    right = np.zeros((21, 3))
    for column, (first, tip) in enumerate(((1, 17), (4, 18), (10, 19), (7, 20))):
        for k, away in ((first, reach[1]), (first + 1, reach[2]), (first + 2, reach[3]), (tip, reach[16])):
            right[k] = -0.03 + 0.02 * column, away, 0.0
    for k, (sideways, away) in zip((13, 14, 15, 16), ((-0.03, 0.03), (-0.05, 0.055), (-0.065, 0.075), (-0.075, 0.09)), strict=True):
        right[k] = sideways, away, 0.0
    joints[1] = right + np.array([x, y - 0.09, z])
    return joints


def middle_of(shadow: np.ndarray) -> np.ndarray:
    v, u = np.nonzero(shadow > 0.5)
    return np.array([u.mean(), v.mean()])


def pixel_of(point: tuple[float, float, float]) -> np.ndarray:
    return project(CAMERA, apply(SEEN[1], np.array([point])))[0] - 0.5


def pictured(shadow: np.ndarray, light: Light, seed: int = 0) -> np.ndarray:
    """A patterned table under it."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).uniform(-1.0, 1.0, (128, 128)).astype(np.float32), (0, 0), 6.0)
    table = np.array([150.0, 120.0, 90.0]) * (1.0 + 0.8 * noise[..., None])
    return np.clip(table * light.share(shadow)[..., None], 0, 255).astype(np.uint8)


def test_a_shadow_lies_on_the_other_side_from_the_light_and_the_farther_the_higher_the_thing() -> None:
    for height_m in (0.05, 0.1):
        shadow = shadow_of(Casters([ball(0.0, 0.05, height_m)], NO_POINTS), LOW_FROM_RIGHT, SEEN)
        assert np.linalg.norm(middle_of(shadow) - pixel_of((-0.75 * height_m, 0.05, 0.0))) < 1.0


def test_points_cast_the_same_shadow_as_the_solid_that_they_fill() -> None:
    grid = np.stack([axis.ravel() for axis in np.meshgrid(np.linspace(-0.03, 0.03, 40), np.linspace(0.02, 0.08, 40))], axis=-1)
    points = np.concatenate([grid, np.full((1600, 1), 0.06)], axis=1)
    corners = np.array([[x, y, 0.06, 1e-4] for x in (-0.03, 0.03) for y in (0.02, 0.08)])
    of_points, of_solid = (shadow_of(casters, LOW_FROM_RIGHT, SEEN) > 0.5 for casters in (Casters([], points), Casters([corners], NO_POINTS)))
    assert (of_points & of_solid).sum() > 0.85 * (of_points | of_solid).sum()


def test_nobody_and_what_is_behind_the_camera_or_below_the_table_cast_nothing_elsewhere() -> None:
    assert hand_solids(NO_HANDS, []) == []
    assert not shadow_of(Casters([], NO_POINTS), LOW_FROM_RIGHT, SEEN).any()
    assert not shadow_of(Casters([ball(0.0, -5.0, 0.1)], np.array([[0.0, -5.0, 0.1]])), LOW_FROM_RIGHT, SEEN).any()
    sunk = shadow_of(Casters([ball(0.0, 0.05, -0.02)], NO_POINTS), LOW_FROM_RIGHT, SEEN)
    assert np.linalg.norm(middle_of(sunk) - pixel_of((0.0, 0.05, 0.0))) < 1.0


@pytest.mark.parametrize("azimuth", [0.3, 2.0, -1.2, -2.8])
def test_a_hands_shadow_tells_where_light_comes_from_and_how_dark_it_is_without(azimuth: float) -> None:
    casters, truth = Casters(hand_solids(hand(), []), NO_POINTS), Light(light_at(azimuth, 1.05), 0.55)
    light = seen_light(pictured(shadow_of(casters, truth.direction, SEEN), truth), NOTHING, casters, SEEN, None)
    assert light is not None
    assert np.degrees(np.arccos(light.direction @ truth.direction)) < 6.0
    assert light.in_shadow == pytest.approx(truth.in_shadow, abs=0.06)


def test_a_picture_without_shadows_tells_of_no_light_and_takes_none_away() -> None:
    casters, known = Casters(hand_solids(hand(), []), NO_POINTS), Light(light_at(0.5, 1.1), 0.6)
    plain = pictured(np.zeros((128, 128), np.float32), known)
    assert seen_light(plain, NOTHING, casters, SEEN, None) is None
    assert seen_light(plain, NOTHING, casters, SEEN, known) is known
    assert seen_light(plain, ~NOTHING, casters, SEEN, None) is None  # nothing of the table is seen


def test_a_dark_dish_that_looks_like_a_shadow_does_not_hide_where_light_comes_from() -> None:
    casters, truth = Casters(hand_solids(hand(), []), NO_POINTS), Light(light_at(0.3, 1.0), 0.55)
    picture = pictured(shadow_of(casters, truth.direction, SEEN), truth)
    cv2.circle(picture, (48, 48), 8, (60, 48, 36), -1)  # the nearest of the lights that are tried first explain it better than the shadow
    light = seen_light(picture, NOTHING, casters, SEEN, None)
    assert light is not None
    assert np.degrees(np.arccos(light.direction @ truth.direction)) < 10.0


def test_a_forearm_that_reaches_behind_the_camera_casts_what_of_its_shadow_is_before_it() -> None:
    wrist, elbow = np.array([0.0, 0.0, 0.1]), np.array([0.0, -0.9, 0.1])
    whole, half = (
        shadow_of(Casters(hand_solids(NO_HANDS, [np.stack([wrist, end])]), NO_POINTS), np.array([0.0, 0.0, 1.0]), SEEN)
        for end in (elbow, (wrist + elbow) / 2.0)
    )
    assert (half > 0.5).sum() > 200
    assert (whole > 0.5).sum() > 0.9 * (half > 0.5).sum()  # a longer forearm grows thicker later


def test_what_was_lit_stays_as_it_is_where_a_shadow_is_thought_to_be() -> None:
    casters, light = Casters(hand_solids(hand(), []), NO_POINTS), Light(light_at(2.0, 1.05), 0.55)
    shadow = shadow_of(casters, light.direction, SEEN)
    plain = np.full((128, 128, 3), 120, np.uint8)
    shaded = np.clip(plain * light.share(shadow)[..., None], 0, 255).astype(np.uint8)
    is_gap = np.zeros((128, 128), bool)
    v, u = (round(float(each)) for each in middle_of(shadow)[::-1])
    is_gap[v - 2 : v + 3, u - 2 : u + 3] = True
    seen = np.where(is_gap[..., None], plain, shaded)
    again, unsure = lit_again(seen, NOTHING, shadow, light, SEEN)
    assert np.abs(again.astype(int) - plain)[is_gap].max() <= 1
    assert not unsure[is_gap].any()
    assert np.abs(again.astype(int) - plain)[(shadow == 1.0) & ~is_gap].max() <= 3


def test_edges_surround_a_shadow_and_leave_its_inside() -> None:
    shadow = np.zeros((64, 64), np.float32)
    shadow[20:44, 20:44] = 1.0
    unsure = edges(shadow)
    assert unsure[20, 30]
    assert unsure[19, 30]
    assert not unsure[32, 32]
    assert not unsure[5, 5]


def test_shadows_are_taken_off_a_picture_and_laid_anew_where_the_hand_is_by_now() -> None:
    light = Light(light_at(2.0, 1.05), 0.55)
    view, scene = (CAMERA, HERE), TableScene(load_lifter(), load_handling(), 0.0)
    clean = pictured(np.zeros((128, 128), np.float32), light)

    def seen_with(joints: np.ndarray) -> np.ndarray:
        return pictured(shadow_of(Casters(hand_solids(joints, []), NO_POINTS), light.direction, SEEN), light)

    look = replace(scene.look(clean, NOTHING, view), parts=[])
    before, after = hand(), hand(x=0.08, z=0.08)
    scene.take(look, view, before, np.full((2, 4, 4), np.nan))
    bare, unsure = scene.without_shadows(seen_with(before), NOTHING, view)
    was_dark = (seen_with(before) < 0.7 * clean).all(-1) & ~unsure
    assert was_dark.sum() > 100
    assert np.abs(bare.astype(int) - clean)[was_dark].mean() < 0.15 * np.abs(seen_with(before).astype(int) - clean)[was_dark].mean()
    scene.advance(after, np.full((2, 4, 4), np.nan))
    drawn = scene.over_bare_table(bare, view)
    is_dark = (seen_with(after) < 0.7 * clean).all(-1) & ~unsure
    assert is_dark.sum() > 100
    assert np.abs(drawn.astype(int) - seen_with(after))[is_dark].mean() < 0.25 * np.abs(clean.astype(int) - seen_with(after))[is_dark].mean()
    np.testing.assert_array_equal(scene.branch().over_bare_table(bare, view), drawn)
    np.testing.assert_array_equal(scene.begin().over_bare_table(bare, view), bare)
    over = scene.over_untouched(clean, bare, view)
    assert np.abs(over.astype(int) - seen_with(after))[is_dark].mean() < 0.25 * np.abs(clean.astype(int) - seen_with(after))[is_dark].mean()


@pytest.mark.slow
@pytest.mark.skipif(not CAN_CHOOSE_SHADOWS, reason="the simulated world has no shadows with MuJoCo before 4")
def test_first_pictures_of_the_simulated_world_tell_where_their_light_comes_from() -> None:
    pytest.importorskip("mujoco")
    from h2w_ros.world.physics import World
    from h2w_ros.world.simulate import WORLD_VERSION, simulate
    from h2w_ros.world.spec import WorldSpec
    from h2w_ros.world.view import sample_view

    spec, off = replace(WorldSpec(), width_px=128, height_px=128, num_frames=2), []
    for seed in range(900600, 900612):
        scene_rng, view_rng = (np.random.default_rng((WORLD_VERSION, seed, stream)) for stream in range(2))
        truth = -World(scene_rng, spec, sample_view(view_rng, spec).sees).model.light_dir[0]
        try:
            first = simulate(seed, spec).conditions[0]
        except OSError as error:
            pytest.skip(f"no OpenGL: {error}")
        drawer = ConditionDrawer(preset("tiny"), "squash", None, table_height_m=0.0)
        drawer.take_picture(np.asarray(first.image), first)
        light_from = drawer.so_far.things.light_from
        off.append(np.nan if light_from is None else np.degrees(np.arccos(np.clip(light_from @ truth, -1.0, 1.0))))
    told = np.array(off)[np.isfinite(off)]
    assert len(told) >= 9, off
    assert np.mean(told < 15.0) >= 0.75, off

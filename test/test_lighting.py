"""Light on hands and forearms: which way they face, how bright that is, and where the light comes from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_dress import CAMERA, NOBODY, SIZE, grips

from h2w_ros.condition import Camera, HandPose
from h2w_ros.geometry import transform
from h2w_ros.hands.dress import dressed, renewed_dress
from h2w_ros.hands.forearms import forearm_camera, forearm_surface
from h2w_ros.hands.grip import grips_world
from h2w_ros.hands.lighting import EVERYWHERE, KEY, OVERHEAD, REFLECTED, seen_light, shades
from h2w_ros.hands.render import HandRenderer
from h2w_ros.hands.surface import HAND, HandSurface

LOOKS_DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 0.5]))
"""A camera half a metre above the origin; x to the right, picture up is world y."""


def hand(side: str = "right", turned: np.ndarray | None = None) -> HandPose:
    """A stretched hand at the origin."""
    return HandPose(side, transform(np.eye(3) if turned is None else turned, np.zeros(3)), np.zeros(45), np.zeros(10))


def drawn(pose: HandPose, camera: Camera = CAMERA) -> tuple[np.ndarray, HandSurface]:
    """Picture and surface of a hand with its forearm, from above."""
    picture, normals = HandRenderer(style="solid").render_with_normals((pose,), camera, LOOKS_DOWN)
    return picture, HandSurface.of(picture, normals, forearm_surface(grips_world((pose,)), camera, LOOKS_DOWN), LOOKS_DOWN)


def from_azimuth(azimuth_rad: float) -> np.ndarray:
    return np.array([0.5 * np.cos(azimuth_rad), 0.5 * np.sin(azimuth_rad), np.sqrt(0.75)])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_faces_the_camera_that_sees_it(side: str) -> None:
    picture, normals = HandRenderer(style="solid").render_with_normals((hand(side),), CAMERA, LOOKS_DOWN)
    np.testing.assert_array_equal(picture, HandRenderer(style="solid").render((hand(side),), CAMERA, LOOKS_DOWN))
    shown = normals.any(-1)
    assert not shown[~picture.any(-1)].any()
    assert shown[picture.any(-1)].mean() > 0.9  # but for the open wrist
    np.testing.assert_allclose(np.linalg.norm(normals[shown], axis=-1), 1.0, atol=1e-5)
    assert (normals[shown][:, 2] < 0.1).mean() > 0.97


def test_a_forearm_is_round() -> None:
    surface = forearm_surface(grips("right"), CAMERA, np.eye(4))
    shown = surface.segments > 0
    normals = surface.normals_camera
    np.testing.assert_allclose(np.linalg.norm(normals[shown], axis=-1), 1.0, atol=1e-4)
    assert not normals[~shown].any()
    wrist, end = forearm_camera("right", grips("right")[1])
    axis = (end - wrist) / np.linalg.norm(end - wrist)
    assert np.abs(normals[shown] @ axis).max() < 1e-3
    turns = []
    for row in range(0, SIZE[0], 8):  # from left to right they turn from left to right
        across = normals[row][shown[row]] @ np.cross([0.0, 0.0, 1.0], axis)
        if len(across) > 5:
            assert np.all(np.diff(across[1:-1]) < 0.02)  # the disc that closes it faces the camera: its rim is not the cone's
            turns.append(np.ptp(across))
    assert max(turns) > 1.0


def test_shades_follow_the_light() -> None:
    up, side, down = np.eye(3)[2], np.eye(3)[0], -np.eye(3)[2]
    normals = np.stack([up, side, down, np.zeros(3)]).astype(np.float32)
    np.testing.assert_allclose(shades(normals, OVERHEAD), [EVERYWHERE + KEY + REFLECTED, EVERYWHERE, EVERYWHERE, 1.0], rtol=1e-6)
    assert shades(normals, from_azimuth(0.0))[1] > shades(normals, from_azimuth(np.pi))[1] > EVERYWHERE


@pytest.mark.parametrize("azimuth_rad", [0.0, 1.6, 3.1, 4.7])
def test_a_picture_tells_where_the_light_comes_from(azimuth_rad: float) -> None:
    hands, surface = drawn(hand())
    true = replace(NOBODY, skin=np.array([200.0, 150.0, 120.0]), light_from=from_azimuth(azimuth_rad))
    picture = np.where((surface.parts > 0)[..., None], dressed(hands, surface, true), np.uint8(60))
    seen = renewed_dress(NOBODY, picture, surface, surface.parts > 0)
    assert np.degrees(np.arccos(np.clip(seen.light_from @ true.light_from, -1, 1))) < 25
    assert np.abs(seen.skin - true.skin).max() < 20
    assert np.abs(dressed(hands, surface, seen).astype(float) - dressed(hands, surface, true))[surface.parts == HAND].mean() < 8


def test_a_flat_picture_and_a_few_pixels_tell_nothing() -> None:
    normals = np.tile(np.eye(3)[2], (500, 1)).astype(np.float32)
    colours, parts = np.full((500, 3), 100.0), np.full(500, HAND, np.uint8)
    before = from_azimuth(1.0)
    assert seen_light(colours, parts, normals, before) is before
    assert seen_light(colours[:20], parts[:20], normals[:20], before) is before
    assert seen_light(colours, parts, np.zeros_like(normals), before) is before


def test_an_open_wrist_shows_the_forearm_in_it() -> None:
    turned = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    for rotation in (np.eye(3), turned, turned.T):
        hands, normals = HandRenderer(style="solid").render_with_normals((hand(turned=rotation),), CAMERA, LOOKS_DOWN)
        forearms = forearm_surface(grips_world((hand(turned=rotation),)), CAMERA, LOOKS_DOWN)
        surface = HandSurface.of(hands, normals, forearms, LOOKS_DOWN)
        inside = hands.any(-1) & ~normals.any(-1) & (forearms.segments > 0)
        assert np.array_equal(surface.parts[inside], forearms.segments[inside])
        assert np.all(surface.parts[hands.any(-1) & normals.any(-1) & (hands.max(-1) > 40)] == HAND)

"""What hands and forearms hide of a picture, and what stands behind."""

import cv2
import numpy as np
import pytest

from h2w_ros.condition import Camera, HandPose
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.hands.cover import hidden_by_hands, with_margin
from h2w_ros.hands.grip import grips_world, middle
from h2w_ros.hands.render import HandRenderer
from h2w_ros.scene.behind import without

SKIN, TABLE = (200, 150, 120), (60, 90, 60)
CAMERA = Camera(128, 96, 100.0, 100.0, 64.0, 48.0)
HAND = HandPose(
    "right", transform(rotation_from_axis_angle(np.array([np.pi / 2, 0.0, 0.0])), np.array([0.05, 0.0, 0.45])), np.zeros(45), np.zeros(10)
)


def scene(bend_px: float = 0.0, size: tuple[int, int] = (128, 96)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A hand with a forearm that leaves the picture, bent at the wrist; its render, and where skin is."""
    render = HandRenderer(style="solid").render((HAND,), CAMERA, np.eye(4))
    skin = render.any(-1).astype(np.uint8)
    wrist = HAND.T_world_wrist[:3, 3]
    start = round(100 * wrist[0] / wrist[2] + 64), round(100 * wrist[1] / wrist[2] + 48)
    cv2.line(skin, start, (128, round(start[1] + bend_px)), 1, 9)
    noise = np.random.default_rng(0).normal(0, 4, (96, 128, 3))
    picture = np.where(skin[..., None], SKIN, TABLE) + noise
    return picture.astype(np.uint8), render, skin.astype(bool)


@pytest.mark.parametrize("bend_px", [0.0, 18.0])
def test_a_forearm_is_found_though_no_pose_says_where_it_is(bend_px: float) -> None:
    picture, render, skin = scene(bend_px)
    hidden = hidden_by_hands(picture, render, grips_world((HAND,)), CAMERA, np.eye(4))
    assert with_margin(hidden)[skin].mean() > 0.97
    assert with_margin(hidden)[~skin].mean() < 0.12


def test_without_a_pose_the_render_says_where_the_hand_is() -> None:
    picture, render, _ = scene()
    hidden = hidden_by_hands(picture, render, grips_world(()), CAMERA, np.eye(4))
    assert hidden[render.any(-1)].all()


def test_where_there_is_no_hand_nothing_is_hidden() -> None:
    picture, _, _ = scene()
    assert not hidden_by_hands(picture, np.zeros_like(picture), grips_world(()), CAMERA, np.eye(4)).any()


def test_a_hand_that_fills_the_picture_hides_it_all() -> None:
    picture = np.full((96, 128, 3), SKIN, np.uint8)
    assert hidden_by_hands(picture, picture, grips_world((HAND,)), CAMERA, np.eye(4)).all()


def test_large_pictures_are_answered_in_their_own_size() -> None:
    picture, render, skin = (cv2.resize(x.astype(np.uint8), (512, 384), interpolation=cv2.INTER_NEAREST) for x in scene())
    hidden = with_margin(hidden_by_hands(picture, render, grips_world((HAND,)), Camera(512, 384, 400.0, 400.0, 256.0, 192.0), np.eye(4)))
    assert hidden.shape == (384, 512)
    assert hidden[skin.astype(bool)].mean() > 0.97


def test_a_hand_holds_things_in_its_middle() -> None:
    assert grips_world((HAND,))[1] @ (0.0, 0.0, 0.0, 1.0) == pytest.approx(HAND.T_world_wrist @ (*middle("right"), 1.0))
    assert np.isnan(grips_world((HAND,))[0]).all()
    np.testing.assert_allclose(middle("left"), middle("right") * (-1, 1, 1), atol=1e-4)


def test_what_is_hidden_is_as_it_was_known_or_as_its_surroundings() -> None:
    photo, hidden = np.full((20, 30, 3), 80, np.uint8), np.zeros((20, 30), bool)
    hidden[5:9, 5:9] = True
    held = np.where(hidden[..., None], np.uint8(250), photo)
    np.testing.assert_allclose(without(held, hidden), photo, atol=3)
    assert (without(held, hidden, np.full_like(photo, 7))[hidden] == 7).all()
    assert without(held, ~hidden | hidden) is held  # nothing to guess from

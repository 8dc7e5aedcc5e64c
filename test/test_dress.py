"""The colours of hands: where they come from, where they are drawn, and what the network gets of them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from generators import random_transformer
from small_tiny import conditions
from test_memory import MODEL, begun

from h2w_ros.condition import Camera, Condition
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.dressed import FULLY_COVERED, dressed_layer
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.pixels import to_tensor
from h2w_ros.generator.rollout import Rollout
from h2w_ros.geometry import transform
from h2w_ros.hands.dress import Dress, dress_by_seed, dressed, seen_dress, shows_hands
from h2w_ros.hands.forearms import SEGMENTS, ForearmSurface, forearm_camera, forearm_surface, with_forearms
from h2w_ros.hands.styles import AMBIENT
from h2w_ros.hands.surface import HAND, HandSurface

CAMERA = Camera(128, 96, 100.0, 100.0, 64.0, 48.0)
SIZE = (96, 128)
SKIN, SLEEVE, TABLE = (200.0, 150.0, 120.0), (30.0, 60.0, 160.0), 90
NOBODY = Dress(np.array([1.0, 2.0, 3.0]), np.full((SEGMENTS, 3), np.nan))


def grips(*sides: str) -> np.ndarray:
    """Hands 65 cm before the camera and above its axis, so that forearms are seen."""
    there = np.full((2, 4, 4), np.nan)
    for side in sides:
        there[["left", "right"].index(side)] = transform(np.eye(3), np.array([0.1 if side == "right" else -0.1, -0.15, 0.65]))
    return there


def surface_of(hands: np.ndarray, segments: np.ndarray | None = None) -> HandSurface:
    """Of a hand picture that does not say which way anything faces."""
    forearms = None if segments is None else ForearmSurface(segments, np.zeros((*SIZE, 3), np.float32))
    return HandSurface.of(hands, None, forearms, np.eye(4))


def scene() -> tuple[np.ndarray, HandSurface]:
    """A flat picture of a right hand with a sleeve from the second segment on, and its parts."""
    hands = np.zeros((*SIZE, 3), np.uint8)
    hands[30:60, 70:95, 0] = 200
    surface = surface_of(hands, forearm_surface(grips("right"), CAMERA, np.eye(4)).segments)
    parts = surface.parts
    picture = np.full((*SIZE, 3), TABLE, np.uint8)
    picture[(parts == 1) | (parts == HAND)] = SKIN
    picture[(parts > 1) & (parts < HAND)] = SLEEVE
    return picture, surface


def test_segments_fill_the_forearm_from_the_wrist_on() -> None:
    numbers = forearm_surface(grips("right"), CAMERA, np.eye(4)).segments
    drawn = with_forearms(np.zeros((*SIZE, 3), np.uint8), grips("right"), CAMERA, np.eye(4)).any(-1)
    assert ((numbers > 0) == drawn).mean() > 0.995
    wrist, end = forearm_camera("right", grips("right")[1])
    along = [(np.argwhere(numbers == k).mean(0) - (48, 64)) @ ((end - wrist)[1::-1]) for k in range(1, SEGMENTS + 1) if (numbers == k).sum() > 20]
    assert len(along) >= 2
    assert np.all(np.diff(along) > 0)
    assert not forearm_surface(grips(), CAMERA, np.eye(4)).segments.any()


def test_colours_are_those_that_the_picture_shows() -> None:
    picture, surface = scene()
    dress = seen_dress(picture, surface, np.ones(SIZE, bool), NOBODY)
    assert tuple(dress.skin) == SKIN
    assert tuple(dress.forearm[0]) == SKIN
    assert tuple(dress.forearm[1]) == SLEEVE


def test_what_is_not_shown_stays_what_it_was() -> None:
    picture, surface = scene()
    seen = seen_dress(picture, surface, np.ones(SIZE, bool), NOBODY)
    later = seen_dress(np.zeros_like(picture), surface, surface.parts == HAND, seen)
    assert tuple(later.skin) == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(later.forearm, seen.forearm)
    assert tuple(seen_dress(picture, surface, np.zeros(SIZE, bool), NOBODY).skin) == tuple(NOBODY.skin)


def test_a_scene_without_hands_is_told_from_one_with_them() -> None:
    picture, surface = scene()
    parts = surface.parts
    assert shows_hands(picture, parts)
    assert not shows_hands(np.full_like(picture, TABLE), parts)
    assert not shows_hands(picture, np.zeros_like(parts))


@pytest.mark.parametrize(
    ("colour", "is_seen"), [((110, 80, 66), True), ((90, 110, 90), False), ((20, 30, 200), True)], ids=["skin", "faint", "glove"]
)
def test_what_is_not_skin_must_stand_out_to_be_a_hand(colour: tuple[int, int, int], is_seen: bool) -> None:
    picture, surface = scene()
    picture[surface.parts == HAND] = colour
    assert shows_hands(picture, surface.parts) == is_seen


def test_the_noise_of_a_compressed_hand_picture_is_no_hand() -> None:
    hands = np.zeros((*SIZE, 3), np.uint8)
    hands[40:60, 40:60, 0] = 200
    noisy = np.maximum(hands, np.random.default_rng(0).integers(0, 12, hands.shape, dtype=np.uint8))
    surface = surface_of(hands)
    np.testing.assert_array_equal(surface_of(noisy).parts, surface.parts)
    dress = replace(NOBODY, skin=np.array(SKIN))
    assert np.abs(dressed(noisy, surface, dress).astype(int) - dressed(hands, surface, dress)).max() <= 3


def test_a_segment_that_was_never_seen_continues_the_one_before_it() -> None:
    forearm = np.full((SEGMENTS, 3), np.nan)
    forearm[1] = SLEEVE
    palette = Dress(np.array(SKIN), forearm).palette
    assert [tuple(colour) for colour in palette] == [SKIN, SKIN, *[SLEEVE] * (SEGMENTS - 1), SKIN]


def test_a_seed_is_a_skin() -> None:
    skins = np.stack([dress_by_seed(seed).skin for seed in range(200)])
    assert len(np.unique(skins, axis=0)) == 200
    assert np.all(skins[:, 0] > skins[:, 2])
    assert np.ptp(skins.mean(1)) > 100
    np.testing.assert_array_equal(dress_by_seed(7).skin, dress_by_seed(7).skin)


def test_drawn_hands_have_their_colours_up_to_their_edges() -> None:
    picture, surface = scene()
    parts = surface.parts
    hands = np.where((parts == HAND)[..., None], np.uint8(180), np.uint8(0)) * np.array([1, 0, 0], np.uint8)
    drawn = dressed(hands, surface, seen_dress(picture, surface, np.ones(SIZE, bool), NOBODY))
    shown = parts > 0
    assert np.abs(drawn[shown].astype(int) - picture[shown]).max() <= 1
    sleeve = ((parts > 1) & (parts < HAND)).astype(np.uint8)
    others = ((parts == 1) | (parts == HAND)).astype(np.uint8)
    grown, far_from_others = cv2.dilate(sleeve, np.ones((3, 3), np.uint8)) > 0, cv2.dilate(others, np.ones((7, 7), np.uint8)) == 0
    just_outside = grown & far_from_others & ~shown
    assert just_outside.sum() > 10
    np.testing.assert_array_equal(drawn[just_outside], np.broadcast_to(np.array(SLEEVE, np.uint8), (just_outside.sum(), 3)))


def test_a_shaded_hand_is_shaded_in_its_colour() -> None:
    hands = np.zeros((*SIZE, 3), np.uint8)
    hands[40:60, 40:60, 2], hands[40:60, 60:80, 2] = 100, 200
    drawn = dressed(hands, surface_of(hands), replace(NOBODY, skin=np.array(SKIN)))
    dark, light = drawn[50, 50].astype(float), drawn[50, 70].astype(float)
    assert np.all(dark < light)
    np.testing.assert_allclose(dark / light, dark[0] / light[0], atol=0.02)


def test_the_layer_shows_hands_where_they_are_and_what_rests_elsewhere() -> None:
    codec, refiner = FoldedCodec(MODEL.codec), MODEL.transformer.refiner
    picture, surface = scene()
    parts = surface.parts
    hands = np.where((parts > 0)[..., None], np.uint8(round(AMBIENT * 255)), np.uint8(0)) * np.array([1, 0, 0], np.uint8)  # the darkest there is
    coloured = dressed(hands, surface, Dress(np.array(SKIN), np.tile(SKIN, (SEGMENTS, 1))))
    encoded = [codec.encode(to_tensor(x[None], torch.float32))[:, :, None] for x in (coloured, hands, picture)]
    layer = dressed_layer(refiner, *encoded)
    blank = dressed_layer(refiner, encoded[0], torch.full_like(encoded[1], -2.0), encoded[2])
    assert torch.equal(blank, encoded[2])
    everywhere = dressed_layer(refiner, encoded[0], torch.full_like(encoded[1], 2.0), encoded[2])
    torch.testing.assert_close(everywhere, encoded[0])
    surely_hand = codec.encode(to_tensor(((parts > 0) * np.uint8(255))[None, ..., None].repeat(3, -1), torch.float32))[:, :, None] > 1.99
    torch.testing.assert_close(layer[surely_hand], encoded[0][surely_hand])
    assert AMBIENT > FULLY_COVERED


def test_a_network_that_chooses_the_dressed_layer_shows_it() -> None:
    rollout, given = begun()
    output = rollout.transformer.refiner
    with torch.no_grad():
        for conv in (output.conv_out, output.detail.conv_out):
            conv.weight.zero_()
            conv.bias.zero_()
        places, channels = MODEL.rollout.fold**2, MODEL.codec.latent_channels
        output.conv_out.bias[channels + 5 * places : channels + 6 * places] = 50.0
        rollout.transformer.head.head.weight.zero_()
        rollout.transformer.head.head.bias.zero_()
    generated = rollout.generate(given.part(1, 2))
    resting = rollout._past(given.part(1, 2))[1][1]
    torch.testing.assert_close(
        generated, dressed_layer(MODEL.transformer.refiner, given.dressed[:, :, 1:2], given.control[:, :, 1:2], resting), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("asks", [True, False])
def test_dressed_hands_belong_to_networks_that_ask_for_them(asks: bool) -> None:
    _, given = begun()
    refiner = replace(MODEL.transformer.refiner, dressed=asks)
    network = random_transformer(
        replace(MODEL.transformer, refiner=refiner, out_dim=MODEL.transformer.out_dim - (0 if asks else MODEL.rollout.fold**2))
    )
    rollout = Rollout(network, MODEL.rollout)
    wrong = replace(given, dressed=None) if asks else given
    rollout.start(torch.zeros(1, MODEL.codec.latent_channels, 1, *MODEL.latent_size), wrong.part(0, 1))
    with pytest.raises(ValueError, match="asks for dressed hands" if asks else "does not ask for dressed hands"):
        rollout.generate(wrong.part(1, 2))


def test_only_pictures_can_be_dressed() -> None:
    codec = replace(MODEL.codec, kind="wan")
    with pytest.raises(ValueError, match=r"refiner\.dressed needs codec\.kind 'folded'"):
        replace(MODEL, codec=codec)


def held_up(condition: Condition, colour: tuple[int, int, int], drawer: ConditionDrawer) -> np.ndarray:
    """A picture of the drawer's size with the condition's hand in this colour."""
    hands = drawer.hands(condition)
    return np.where(hands.any(-1, keepdims=True), np.array(colour, np.uint8), np.uint8(TABLE))


def test_a_later_picture_renews_the_dress_of_its_stream_alone() -> None:
    drawer = ConditionDrawer(MODEL, "squash", None, None).begin(seed=3)
    moment = conditions(1)[0]
    drawer.take_picture(held_up(moment, (220, 170, 140), drawer), moment)
    branch, fresh = drawer.branch(), drawer.begin(seed=3)
    before = drawer.draw(moment).dressed
    drawer.take_picture(held_up(moment, (120, 80, 60), drawer), moment)
    is_hand = drawer.hands(moment).max(-1) > 200
    assert is_hand.sum() > 20
    assert drawer.draw(moment).dressed[is_hand].mean() < 100 < before[is_hand].mean()
    np.testing.assert_array_equal(branch.draw(moment).dressed, before)
    np.testing.assert_array_equal(fresh.draw(moment).dressed, ConditionDrawer(MODEL, "squash", None, None).begin(seed=3).draw(moment).dressed)


def test_a_ready_made_hand_picture_is_dressed_without_poses() -> None:
    drawer = ConditionDrawer(MODEL, "squash", None, None)
    moment = conditions(1)[0]
    ready_made = replace(moment, hands=(), hand_render=cv2.resize(drawer.hands(moment), (moment.camera.width_px, moment.camera.height_px)))
    drawer.take_picture(held_up(ready_made, (220, 170, 140), drawer), ready_made)
    is_hand = drawer.hands(ready_made).max(-1) > 200
    assert np.abs(drawer.draw(ready_made).dressed[is_hand].mean(0) - (220, 170, 140)).max() < 30

"""Probable forearms: behind their hands, about where a body's would be, none where no hand is known."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from h2w_ros.condition import Camera, Condition, HandPose, Side
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.folded_codec import FoldedCodec
from h2w_ros.generator.pixels import to_tensor
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import Transform, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.forearms import COLOURS, fill_limb, forearm_camera, with_forearms
from h2w_ros.hands.grip import T_world_grip, grips_world
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.cache import encode_pixels, episode_pixels
from h2w_ros.world.hand_bodies import HandShape, forearm_rotation, hand_shape
from h2w_ros.world.spec import TABLE_HEIGHT_M, WorldSpec
from h2w_ros.world.view import sample_view

CAMERA = Camera(128, 96, 100.0, 100.0, 64.0, 48.0)
POINTING_AWAY = rotation_from_axis_angle(np.array([0.0, np.pi / 2, 0.0]))


def hand(side: str = "right", x_m: float = 0.05, z_m: float = 0.45, turn: np.ndarray = POINTING_AWAY) -> HandPose:
    return HandPose(side, transform(turn, np.array([x_m, 0.0, z_m])), np.zeros(45), np.zeros(10))


def shown(*hands: HandPose) -> tuple[np.ndarray, np.ndarray]:
    """The hand picture, and the same with forearms."""
    render = HandRenderer(style="solid").render(hands, CAMERA, np.eye(4))
    return render, with_forearms(render, grips_world(hands), CAMERA, np.eye(4))


def off_deg(shape: HandShape, T_world_wrist: Transform, T_world_camera: Transform) -> float:
    """Between the simulated world's forearm and the probable one."""
    pose = HandPose(shape.side, T_world_wrist, np.zeros(45), np.zeros(10))
    wrist, end = forearm_camera(shape.side, invert(T_world_camera) @ T_world_grip(pose))
    probable = T_world_camera[:3, :3] @ (end - wrist) / np.linalg.norm(end - wrist)
    return float(np.degrees(np.arccos(probable @ forearm_rotation(shape, T_world_wrist)[:, 2])))


def test_they_lie_about_as_the_simulated_world_has_them() -> None:
    rng = np.random.default_rng(0)
    offsets = []
    for number in range(200):
        side: Side = ("left", "right")[number % 2]
        shape = hand_shape(side, load_hand_model(side), np.zeros(10))
        view = sample_view(rng, WorldSpec())
        reach = np.array([rng.uniform(-0.05, 0.25) * (1 if shape.side == "right" else -1), rng.uniform(-0.25, 0.1), rng.uniform(0.08, 0.25)])
        heading = rotation_from_axis_angle(np.array([0.0, 0.0, rng.uniform(-0.6, 0.6)]))
        forward = np.stack([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]], axis=1) @ shape.axes.T
        offsets.append(off_deg(shape, transform(heading @ forward, reach), view.head.T_world_camera(0.0)))
    assert np.median(offsets) < 15.0
    assert np.percentile(offsets, 90) < 35.0


def test_hands_stay_as_they_are_and_forearms_lie_behind_them() -> None:
    render, both = shown(hand("left", -0.1), hand("right", 0.1))
    is_hand = render.any(axis=-1)
    np.testing.assert_array_equal(both[is_hand], render[is_hand])
    behind = both[~is_hand]
    colours = {tuple(colour) for colour in behind.reshape(-1, 3).tolist()}
    assert {COLOURS["left"], COLOURS["right"]} < colours
    assert 0.02 < (behind.any(axis=-1)).mean() < 0.5


def test_a_mirrored_hand_has_a_mirrored_forearm() -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])
    right = hand("right", 0.05)
    left = hand("left", -0.05, turn=mirror @ POINTING_AWAY @ mirror)
    of_right, of_left = (with_forearms(np.zeros((96, 128, 3), np.uint8), grips_world((one,)), CAMERA, np.eye(4)) for one in (right, left))
    mirrored = of_left[:, ::-1, ::-1]
    assert of_right.any()
    assert (mirrored != of_right).any(axis=-1).mean() < 0.02


def test_where_no_hand_is_known_there_is_no_forearm() -> None:
    picture = np.zeros((96, 128, 3), np.uint8)
    assert not with_forearms(picture, grips_world(()), CAMERA, np.eye(4)).any()


@pytest.mark.parametrize("z_m", [-0.4, 0.0, 0.04])
def test_a_hand_at_or_behind_the_eyes_has_none_in_sight(z_m: float) -> None:
    picture = np.zeros((96, 128, 3), np.uint8)
    assert not with_forearms(picture, grips_world((hand(z_m=z_m),)), CAMERA, np.eye(4)).any()


def test_a_limb_that_comes_towards_the_eyes_is_cut_off_and_covers_what_it_should() -> None:
    picture = np.zeros((96, 128), np.uint8)
    fill_limb(picture, np.array([[0.0, 0.0, 0.5], [0.1, 0.0, -0.3]]), (0.03, 0.03), CAMERA, 1)
    assert picture[48, 64] == 1
    assert picture[48, 127] == 1
    assert not picture[:, :50].any()


def test_a_limb_lies_on_its_pixels() -> None:
    picture = np.zeros((96, 128), np.uint8)
    fill_limb(picture, np.array([[-0.1, 0.0, 0.5], [0.1, 0.0, 0.5]]), (0.05, 0.05), CAMERA, 1)
    rows, columns = np.nonzero(picture)
    assert (rows + 0.5).mean() == pytest.approx(48.0, abs=0.6)
    assert (columns + 0.5).mean() == pytest.approx(64.0, abs=0.6)
    assert len(rows) == pytest.approx(40.0 * 20.0 + np.pi * 10.0**2, rel=0.08)


@pytest.mark.parametrize("name", ["tiny", "wan2.1-1.3b"])
def test_only_networks_that_were_trained_with_them_are_shown_any(name: str) -> None:
    config = preset(name)
    condition = Condition(0, CAMERA, np.eye(4), hands=(hand(),))
    drawn = ConditionDrawer(config, "squash", None, None).draw(condition)
    assert drawn.hands.any()
    assert (drawn.control != drawn.hands).any() == config.forearms
    ready_made = cv2.resize(drawn.hands, (CAMERA.width_px, CAMERA.height_px))
    from_picture = ConditionDrawer(config, "squash", None, None).draw(Condition(0, CAMERA, np.eye(4), hand_render=ready_made))
    np.testing.assert_array_equal(from_picture.control, from_picture.hands)


@pytest.mark.parametrize("forearms", [True, False])
def test_training_shows_networks_what_sessions_do(tmp_path: Path, forearms: bool) -> None:
    model = replace(preset("debug"), forearms=forearms)
    camera = Camera(model.width_px, model.height_px, 40.0, 41.0, 24.0, 16.0)
    picture, mask = np.full((model.height_px, model.width_px, 3), 90, np.uint8), np.zeros((3, model.height_px, model.width_px), bool)
    picture[HandRenderer(style=model.hand_style).silhouette((hand(),), camera, np.eye(4))] = (210, 160, 130)
    moments = [
        Condition(k, camera, transform(np.eye(3), np.array([0.01 * k, 0.0, 0.0])), hands=(hand(),), image=picture, static_render=picture)
        for k in range(3)
    ]
    arrays = episode_pixels(moments, mask, mask, HandRenderer(style=model.hand_style), model.codec.spatial_stride)
    (file := tmp_path / "pixels" / "0.npz").parent.mkdir()
    np.savez(file, **arrays)
    codec = FoldedCodec(model.codec)
    (written,) = encode_pixels(codec, model, [file], tmp_path)
    drawer = ConditionDrawer(model, "squash", None, TABLE_HEIGHT_M)
    drawer.take_picture(picture, moments[0])
    drawn = [drawer.draw(moment) for moment in moments]
    assert any((one.control != one.hands).any() for one in drawn) == forearms
    with torch.inference_mode():
        control, dressed = (
            codec.encode(to_tensor(np.stack(pictures), codec.dtype)).to(torch.bfloat16)
            for pictures in ([one.control for one in drawn], [one.dressed for one in drawn])
        )
    torch.testing.assert_close(load_file(written)["hand"], control, rtol=0.0, atol=0.0)
    torch.testing.assert_close(load_file(written)["dressed"], dressed, rtol=0.0, atol=0.0)

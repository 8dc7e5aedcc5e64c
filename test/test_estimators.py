"""What the estimators are asked is asked rightly, and what they learn from is true."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from h2w_ros.camera import project
from h2w_ros.condition import Camera, Condition
from h2w_ros.evaluation.camera_motion import solve_motion
from h2w_ros.evaluation.episodes import HeldOutEpisode, PixelTruth
from h2w_ros.evaluation.estimator_input import cell_slopes, mean_place, slopes_of
from h2w_ros.evaluation.estimator_network import EstimatorConfig, EstimatorNetwork
from h2w_ros.evaluation.estimator_network import mean_place as place_of_logits
from h2w_ros.evaluation.estimators import Estimators, load_estimators, save_estimators
from h2w_ros.evaluation.things import things_of
from h2w_ros.geometry import invert, rotation_angle_rad, rotation_from_axis_angle, transform
from h2w_ros.training.estimator_lessons import lessons, seen_at
from h2w_ros.training.estimators import losses, sum_of, train_estimators
from h2w_ros.training.run import Budget
from h2w_ros.training.truth_files import files_of, taught_and_kept_back

CAMERA = Camera(128, 96, 90.0, 95.0, 60.0, 50.0)
MOVED = transform(rotation_from_axis_angle(np.array([0.02, -0.03, 0.05])), np.array([0.01, -0.02, 0.03]))


def write_truth(folder: Path, seed: int, num_frames: int = 6) -> Path:
    """An episode of a square thing that moves to the right over noise, before a camera that turns."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((num_frames, 96, 128), np.uint8)
    for frame in range(num_frames):
        ids[frame, 40:60, 30 + 4 * frame : 50 + 4 * frame] = 3
        ids[frame, 70:, 10:40] = 2
    poses = [transform(rotation_from_axis_angle(np.array([0.0, 0.02 * i, 0.0])), np.zeros(3)) for i in range(num_frames)]
    path = folder / f"{seed}.npz"
    np.savez(
        path,
        image=rng.integers(0, 256, (num_frames, 96, 128, 3), dtype=np.uint8),
        hand=ids == 2,
        moving=ids == 3,
        ids=ids,
        depth_m=np.full(ids.shape, 0.5, np.float16),
        T_world_camera=np.stack(poses),
        camera=np.array([128, 96, 90.0, 95.0, 60.0, 50.0]),
    )
    return path


def thing_episode(T_world_second: np.ndarray, shift_px: int) -> HeldOutEpisode:
    """Two moments of a square at 0.5 m that moves to the right."""
    ids = np.zeros((2, 96, 128), np.uint8)
    ids[0, 40:50, 30:50] = 3
    ids[1, 40:50, 30 + shift_px : 50 + shift_px] = 3
    picture = np.zeros((96, 128, 3), np.uint8)
    conditions = [Condition(1, CAMERA, np.eye(4), image=picture), Condition(2, CAMERA, T_world_second, image=picture)]
    return HeldOutEpisode(conditions, 0.0, ids == 2, ids == 3, PixelTruth(ids, np.full(ids.shape, 0.5, np.float32)))


def test_a_cell_is_seen_where_its_point_projects_after_the_camera_moved() -> None:
    slopes = slopes_of(CAMERA)
    depth_m = np.full((96, 128), 0.7)
    there = seen_at(slopes, depth_m, np.ones((96, 128), bool), MOVED)
    point = np.append(slopes[:, 44, 60] * 0.7, 0.7)  # the middle pixel of cell (5, 7)
    wanted = project(CAMERA, (invert(MOVED) @ np.append(point, 1.0))[None, :3])[0]
    got = there[:, 5, 7] * (CAMERA.fx, CAMERA.fy) + (CAMERA.cx, CAMERA.cy)
    assert got == pytest.approx(wanted, abs=0.6)  # a cell's centre is half a pixel from its middle pixel's
    assert seen_at(slopes, depth_m, np.ones((96, 128), bool), np.eye(4)) == pytest.approx(cell_slopes(slopes), abs=1e-6)


def sights(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points before a camera, and the slopes at which it sees them after MOVED."""
    points = np.concatenate([rng.uniform(-0.4, 0.4, (150, 2)), rng.uniform(0.4, 1.0, (150, 1))], axis=1)
    seen = points @ invert(MOVED)[:3, :3].T + invert(MOVED)[:3, 3]
    return points, seen[:, :2] / seen[:, 2:]


def test_the_cameras_motion_comes_back_though_a_third_of_the_sights_are_wrong() -> None:
    rng = np.random.default_rng(0)
    points, seen = sights(rng)
    seen[:50] += rng.normal(0, 0.5, (50, 2))
    solved = solve_motion(points, seen, np.ones(150))
    assert np.degrees(rotation_angle_rad(invert(MOVED)[:3, :3] @ solved[:3, :3])) < 0.3
    assert np.linalg.norm(solved[:3, 3] - MOVED[:3, 3]) < 0.005


def test_sights_without_weight_say_nothing_and_the_camera_stands() -> None:
    points, seen = sights(np.random.default_rng(0))
    assert solve_motion(points, seen, np.zeros(150)) == pytest.approx(np.eye(4), abs=1e-9)


def test_what_moves_is_seen_nowhere() -> None:
    assert np.isnan(seen_at(slopes_of(CAMERA), np.ones((96, 128)), np.zeros((96, 128), bool), MOVED)).all()


def test_the_place_of_sharp_logits_is_the_place_of_their_mask() -> None:
    mask = np.zeros((24, 32), bool)
    mask[5:15, 20:26] = True
    logits = torch.from_numpy(np.where(mask, 20.0, -20.0))[None]
    assert place_of_logits(logits)[0].numpy() == pytest.approx(mean_place(mask), abs=1e-4)


def test_a_thing_that_is_touched_moves_from_where_it_would_have_stayed() -> None:
    (thing,) = things_of(thing_episode(np.eye(4), shift_px=12))
    assert thing.moves
    assert thing.place_px[1] - thing.unmoved_px[1] == pytest.approx((12.0, 0.0), abs=1e-4)
    assert thing.unmoved_px[0] == pytest.approx(thing.place_px[0], abs=1e-4)


def test_an_untouched_thing_is_seen_elsewhere_when_the_head_turns() -> None:
    turn = transform(rotation_from_axis_angle(np.array([0.0, 0.1, 0.0])), np.zeros(3))
    (thing,) = things_of(thing_episode(turn, shift_px=0))
    assert thing.unmoved_px[1][0] - thing.unmoved_px[0][0] == pytest.approx(-90.0 * np.tan(0.1), abs=2.0)


def test_a_thing_out_of_sight_has_no_place() -> None:
    away = transform(rotation_from_axis_angle(np.array([0.0, 2.0, 0.0])), np.zeros(3))
    (thing,) = things_of(thing_episode(away, shift_px=0))
    assert np.isnan(thing.unmoved_px[1]).all()


def test_a_lesson_tells_the_truth_about_its_pictures(tmp_path: Path) -> None:
    write_truth(tmp_path, 0)
    lesson = next(lessons(taught_and_kept_back(files_of(tmp_path))[0], EstimatorConfig(), 3, np.random.default_rng(0), spoil=False))
    assert lesson.pictures.shape == (3, 5, 5, 96, 128)
    assert lesson.log_depth.mean().exp() == pytest.approx(0.5, abs=1e-3)
    assert lesson.place.isfinite().all()  # the thing is always in sight
    moved_right = (lesson.place[:, 1:, 0] - lesson.place[:, :-1, 0]).abs() * 128
    assert moved_right.numpy() == pytest.approx(4.0, abs=1e-3)  # to the left in a mirror


def test_every_reader_of_the_network_learns(tmp_path: Path) -> None:
    write_truth(tmp_path, 0)
    torch.manual_seed(0)
    network = EstimatorNetwork()
    loss = sum_of(losses(network, next(lessons(taught_and_kept_back(files_of(tmp_path))[0], network.config, 2, np.random.default_rng(0)))))
    loss.backward()
    still = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum() > 0]
    assert still == []


def test_training_ships_estimators_that_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    for seed in range(700_000, 700_002):
        write_truth(tmp_path / "truth", seed)
    path = train_estimators(tmp_path, 2, 0, Budget(5.0, 2), tmp_path / "out")
    estimators = load_estimators(path.parent)
    clip = estimators.watch([np.full((48, 64, 3), 100, np.uint8)] * 20, [replace(CAMERA, width_px=64, height_px=48)] * 20)
    assert estimators.hand_masks(clip).shape == (20, 48, 64)
    assert (estimators.depth_m(clip) > 0).all()
    assert estimators.windows(clip, 16.0).shape == (8, estimators.config.clip_features)
    assert len(estimators.motions(clip, clip)) == 20


def test_estimators_are_the_same_after_they_were_stored(tmp_path: Path) -> None:
    network = EstimatorNetwork().half().float()
    save_estimators(tmp_path, network, {})
    pictures = [np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)] * 2
    first, second = (model.watch(pictures, [CAMERA] * 2) for model in (Estimators(network), load_estimators(tmp_path)))
    assert torch.allclose(first.seen.surfaces, second.seen.surfaces, atol=1e-4)


def test_a_mirrored_picture_shows_the_same_surfaces_mirrored() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    twin = replace(CAMERA, cx=CAMERA.width_px - CAMERA.cx)
    estimators = Estimators(EstimatorNetwork())
    seen, mirrored = (estimators.watch([shown], [camera]).seen for shown, camera in ((picture, CAMERA), (picture[:, ::-1], twin)))
    torch.testing.assert_close(seen.surfaces, mirrored.surfaces.flip(-1), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(seen.surfaces, mirrored.surfaces, atol=1e-2)


def test_missing_estimators_tell_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="h2w train estimators"):
        load_estimators(tmp_path)

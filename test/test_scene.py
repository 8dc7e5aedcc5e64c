"""Static scenes: what is drawn is what stands there, what hides is in front, and what nobody knows stays a hole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import CAMERA, head, level, pattern, square, table_depth, table_picture

from h2w_ros.camera import project
from h2w_ros.condition import Camera, Condition
from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.scene.along import with_scene
from h2w_ros.scene.files import load_scene, save_scene
from h2w_ros.scene.fusion import Fusion, FusionConfig
from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.mesh_files import joined
from h2w_ros.scene.points import Points, radii_of
from h2w_ros.scene.sampled import sampled

CHECKS = (np.indices((64, 64)) // 8).sum(0) % 2


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def fused(*places: np.ndarray, **config: object) -> Fusion:
    fusion = Fusion(FusionConfig(**config))
    for T_world_camera in places:
        fusion.add_depth(table_picture(T_world_camera), table_depth(T_world_camera), CAMERA, T_world_camera)
    return fusion


def table_points(half_m: float = 0.3, step_m: float = 0.004) -> Points:
    x, y = np.meshgrid(np.arange(-half_m, half_m, step_m), np.arange(-half_m, half_m, step_m))
    points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    return Points(points, pattern(points), np.full(len(points), 0.75 * step_m, np.float32))


def textured_table(half_m: float = 0.3) -> Mesh:
    corners = half_m * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    texture = np.repeat((CHECKS * 200 + 30).astype(np.uint8)[..., None], 3, axis=2)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(corners, faces, np.zeros((4, 3), np.uint8), uv, np.zeros(2, np.int32), (texture,))


def test_a_point_lands_on_its_pixel_in_its_color_and_all_others_are_holes() -> None:
    point = np.array([[0.03, 0.05, 0.02]], np.float32)
    scene = Points(point, np.array([[10, 200, 30]], np.uint8), np.array([0.001], np.float32))
    seen = scene.render(CAMERA, head())
    (u, v) = project(CAMERA, apply(invert(head()), point))[0]
    assert tuple(seen.picture[int(v), int(u)]) == (10, 200, 30)
    assert seen.known[int(v), int(u)]
    assert seen.known.sum() <= 4
    assert not seen.picture[~seen.known].any()


def test_points_of_a_surface_leave_no_gaps_on_it_and_nothing_beside_it() -> None:
    seen = table_points().render(CAMERA, head(0.1))
    corners = project(CAMERA, apply(invert(head(0.1)), 0.3 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])))
    exact = np.zeros(seen.known.shape, np.uint8)
    cv2.fillConvexPoly(exact, np.round(corners).astype(np.int32), 1)
    inside, around = cv2.erode(exact, np.ones((5, 5)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0, cv2.dilate(exact, np.ones((5, 5))) > 0
    assert seen.known[inside].all()
    assert not seen.known[~around].any()
    assert psnr_db(seen.picture[inside], table_picture(head(0.1))[inside]) > 35


def test_what_is_in_front_hides_what_is_behind_whichever_comes_first() -> None:
    near, far = (sampled(square(y, half, color), 4000) for y, half, color in ((0.5, 0.1, (255, 0, 0)), (1.0, 0.4, (0, 0, 255))))
    for first, second in ((near, far), (far, near)):
        pairs = zip(*((scene.points_world, scene.colors, scene.radii_m) for scene in (first, second)), strict=True)
        seen = Points(*(np.concatenate(pair) for pair in pairs)).render(CAMERA, level())
        assert tuple(seen.picture[CAMERA.height_px // 2, CAMERA.width_px // 2]) == (255, 0, 0)
        assert tuple(seen.picture[10, 30]) == (0, 0, 255)


def test_a_scene_behind_the_camera_is_not_seen() -> None:
    behind = transform(rotation_from_axis_angle(np.array([0.0, 0.0, np.pi])), np.zeros(3)) @ level()
    for scene in (square(0.5, 0.3, (9, 9, 9)), sampled(square(0.5, 0.3, (9, 9, 9)), 500)):
        assert scene.render(CAMERA, behind).known_share == 0.0
        assert scene.render(CAMERA, level()).known_share > 0.2


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    T_new_world = transform(rotation_from_axis_angle(np.array([0.3, -0.2, 1.0])), np.array([2.0, -1.0, 0.5]))
    for scene in (table_points(), textured_table()):
        here, there = scene.render(CAMERA, head()), scene.moved(T_new_world).render(CAMERA, T_new_world @ head())
        assert np.mean(here.known != there.known) < 0.002
        assert psnr_db(here.picture, there.picture) > 25


def test_a_texture_is_seen_in_perspective_with_v_upwards() -> None:
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :, 0], texture[32:, :, 1] = 255, 255  # red above, green below
    seen = replace(textured_table(), textures=(texture,)).render(CAMERA, head())
    for y, color in ((0.03, (255, 0, 0)), (-0.03, (0, 255, 0))):
        (u, v) = project(CAMERA, apply(invert(head()), np.array([[0.05, y, 0.0]])))[0]
        assert tuple(seen.picture[int(v), int(u)]) == color


def test_a_texture_much_finer_than_the_picture_becomes_its_average_not_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    seen = replace(textured_table(), textures=(noise,)).render(CAMERA, head(z=1.5))
    assert seen.picture[seen.known].astype(float).std() < 40 < noise.std()


def test_a_triangle_that_reaches_behind_the_camera_is_cut_there() -> None:
    floor = replace(textured_table(50.0), vertices_world=textured_table(50.0).vertices_world - np.float32([0, 0, 1]))
    seen = floor.render(CAMERA, level())
    horizon = round(CAMERA.cy)
    assert seen.known[horizon + 3 :].all()
    assert not seen.known[: horizon - 3].any()


def test_a_mesh_and_points_of_its_surface_look_alike() -> None:
    mesh = joined([textured_table(), square(0.1, 0.05, (200, 30, 30))])
    exact, points = mesh.render(CAMERA, head()), sampled(mesh, 100_000).render(CAMERA, head())
    assert np.mean(exact.known != points.known) < 0.04
    both = cv2.erode((exact.known & points.known).astype(np.uint8), np.ones((3, 3))) > 0
    smooth = [cv2.GaussianBlur(seen.picture, (5, 5), 0)[both] for seen in (exact, points)]
    assert psnr_db(*smooth) > 24


def test_a_cloud_much_finer_than_the_picture_is_drawn_from_a_coarser_one_that_looks_alike() -> None:
    fine = table_points(step_m=0.001)
    seen = fine.render(CAMERA, head())
    assert len(fine._coarse_enough(CAMERA, head())) < len(fine) / 4
    rows, columns = slice(25, 45), slice(30, 65)
    assert seen.known[rows, columns].all()
    assert psnr_db(seen.picture[rows, columns], table_picture(head())[rows, columns]) > 33


def test_depth_images_fused_along_a_path_show_the_scene_from_a_new_place() -> None:
    scene = fused(head(-0.1), head(0.0, -0.5, 0.3), head(0.12)).scene()
    between = head(0.05, -0.42, 0.36)
    seen = scene.render(CAMERA, between)
    assert seen.known_share > 0.9
    assert psnr_db(seen.picture[seen.known], table_picture(between)[seen.known]) > 28


def test_looking_again_at_the_same_things_does_not_make_the_cloud_grow_without_end() -> None:
    fusion = fused(*[head(0.002 * k) for k in range(12)])
    once = len(fused(head()))
    assert len(fusion) < 3 * once


def test_a_cloud_that_would_grow_too_large_becomes_coarser_and_still_covers() -> None:
    full, small = fused(head(-0.1), head(0.1)), fused(head(-0.1), head(0.1), max_points=1500)
    assert len(small) <= 1500 < len(full)
    seen, complete = (fusion.scene().render(CAMERA, head()) for fusion in (small, full))
    assert np.mean(seen.known[complete.known]) > 0.97


def test_hidden_pixels_and_holes_in_depth_become_holes_in_the_scene() -> None:
    depth, hidden = table_depth(head()), np.zeros((CAMERA.height_px, CAMERA.width_px), bool)
    hidden[40:60, 20:40] = True
    depth[40:60, 60:80] = 0.0
    fusion = Fusion()
    fusion.add_depth(table_picture(head()), depth, CAMERA, head(), hidden)
    known = fusion.scene().render(CAMERA, head()).known
    assert not known[43:57, 23:37].any()
    assert not known[43:57, 63:77].any()
    assert known[43:57, 42:58].all()


def wall_before_table(T_world_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and depth of a white box of paper that stands on the table."""
    depth, picture = table_depth(T_world_camera).copy(), table_picture(T_world_camera).copy()
    depth[25:45, 40:60], picture[25:45, 40:60] = 0.35, 255
    return picture, depth


def test_what_was_taken_away_is_forgotten_once_the_camera_sees_through_it() -> None:
    for forgets in (True, False):
        fusion = Fusion(FusionConfig(forgets=forgets))
        picture, depth = wall_before_table(head())
        fusion.add_depth(picture, depth, CAMERA, head())
        fusion.add_depth(table_picture(head()), table_depth(head()), CAMERA, head())
        shown = fusion.scene().render(CAMERA, head()).picture[30:40, 45:55]
        assert (shown.mean() > 240) is not forgets


def test_what_cannot_be_seen_through_is_kept() -> None:
    picture, depth = wall_before_table(head())
    fusion = Fusion()
    fusion.add_depth(picture, depth, CAMERA, head())
    before = len(fusion)
    holes = np.where(table_depth(head()) > 0, np.float32(0), np.float32(0))
    holes[0, 0] = 1.0  # nothing else was measured, so nothing was seen through
    fusion.add_depth(picture, holes, CAMERA, head())
    assert len(fusion) >= before


@pytest.mark.parametrize("wrong", [np.float32(1e-3), np.float32(1e3)])
def test_depth_in_a_wrong_unit_is_refused_with_the_rule(wrong: np.float32) -> None:
    with pytest.raises(ValueError, match="16UC1 must be in millimetres and 32FC1 in metres"):
        Fusion().add_depth(table_picture(head()), table_depth(head()) * wrong, CAMERA, head())


def test_depth_of_holes_only_is_refused() -> None:
    with pytest.raises(ValueError, match="holes only"):
        Fusion().add_depth(table_picture(head()), np.zeros_like(table_depth(head())), CAMERA, head())


def test_depth_of_another_size_than_its_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be 96x72"):
        Fusion().add_depth(table_picture(head()), table_depth(head())[:36], CAMERA, head())


def test_pixels_right_behind_an_edge_are_left_out_and_a_steep_plane_is_not_an_edge() -> None:
    picture, depth = wall_before_table(head())
    fusion = Fusion()
    assert fusion.add_depth(table_picture(head()), table_depth(head()), CAMERA, head()) > 0.98 * np.count_nonzero(table_depth(head()))
    given = Fusion().add_depth(picture, depth, CAMERA, head())
    assert 40 <= np.count_nonzero(depth) - given <= 140  # the box has an outline of 80 pixels


def test_radii_of_a_grid_cover_it_and_lonely_points_get_no_large_discs() -> None:
    grid = table_points(0.05, 0.005).points_world
    radii_m = radii_of(np.concatenate([grid, np.float32([[0, 0, 3.0]])]))
    assert np.median(radii_m) == pytest.approx(0.75 * 0.005, rel=0.05)
    assert radii_m[-1] <= 3 * 0.75 * 0.005 * 1.05


@pytest.mark.parametrize("scene", [table_points(0.1), textured_table(), square(1.0, 0.5, (1, 2, 3))], ids=["points", "textured", "plain"])
def test_a_saved_scene_looks_as_it_did(tmp_path: Path, scene: Points | Mesh) -> None:
    save_scene(tmp_path / "scene.npz", scene)
    again = load_scene(tmp_path / "scene.npz")
    for place in (head(), level()):
        assert np.array_equal(again.render(CAMERA, place).picture, scene.render(CAMERA, place).picture)
    assert list(tmp_path.iterdir()) == [tmp_path / "scene.npz"]


def test_a_cloud_of_others_needs_points_and_colors_only(tmp_path: Path) -> None:
    points = np.concatenate([table_points(0.1).points_world, np.full((5, 3), np.nan, np.float32)])
    colors = np.full((len(points), 4), 0.5)
    np.savez(tmp_path / "cloud.npz", points=points, colors=colors)
    scene = load_scene(tmp_path / "cloud.npz")
    assert len(scene) == len(points) - 5
    assert (scene.colors == 128).all()


DAMAGED = {
    "no.txt": (b"", "must end with one of .npz, .ply"),
    "torn.npz": (b"PK\x03\x04torn", "torn.npz is not a readable .npz"),
    "torn.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\n", "torn.ply is not a readable mesh"),
    "torn.glb": (b"glTF", "torn.glb is not a readable mesh"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_scene_is_refused_by_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("trimesh")
    data, text = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=text):
        load_scene(tmp_path / name)


BAD_ARRAYS = {
    "must hold points and colors": {"vertices_of_what": np.zeros((3, 3))},
    "points must be numbers in 3 columns": {"points": np.zeros(9), "colors": np.zeros((3, 3))},
    "colors as floats must be within 0..1": {"points": np.eye(3), "colors": 200.0 * np.eye(3)},
    "equally many": {"points": np.eye(3), "colors": np.zeros((2, 3))},
    "more than 4": {"points": np.eye(3), "colors": np.zeros((3, 3))},
    "must be in metres": {"points": 1e6 * np.random.default_rng(0).normal(size=(9, 3)), "colors": np.zeros((9, 3))},
    "at least one point": {"points": np.full((9, 3), np.nan), "colors": np.zeros((9, 3)), "radii": np.ones(9)},
    "triangles of its 3 vertices": {
        "vertices": np.eye(3), "faces": np.array([[0, 1, 7]]), "colors": np.zeros((3, 3)), "uv": np.zeros((3, 2)), "texture_of_face": np.array([-1])
    },
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_ARRAYS)
def test_arrays_that_make_no_scene_are_refused_with_the_rule(tmp_path: Path, text: str) -> None:
    np.savez(tmp_path / "scene.npz", **BAD_ARRAYS[text])
    with pytest.raises(ValueError, match=text):
        load_scene(tmp_path / "scene.npz")


def test_a_pickle_in_a_scene_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "scene.npz", points=np.array([object()]), colors=np.zeros((1, 3)))
    with pytest.raises(ValueError, match="not a readable"):
        load_scene(tmp_path / "scene.npz")


def test_a_missing_scene_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        load_scene(tmp_path / "nowhere.npz")


def test_a_condition_carries_the_scene_from_its_camera_and_says_what_is_known() -> None:
    camera = Camera(640, 480, 533.0, 533.0, 320.0, 240.0)
    condition = with_scene(Condition(1, camera, head()), table_points())
    assert condition.static_render.shape == (480, 640, 3)
    exact = table_points().render(camera, head())
    assert np.mean(exact.known != condition.static_known) < 0.01
    both = exact.known & condition.static_known
    assert psnr_db(exact.picture[both], condition.static_render[both]) > 30
    assert not condition.static_render[~condition.static_known].any()

"""Meshes and clouds of other programs: colors of vertices, of faces, of materials, textures, and clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import CAMERA, level

pytest.importorskip("trimesh")
pytest.importorskip("PIL")

import trimesh
from PIL import Image as PilImage
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from h2w_ros.scene.files import load_scene
from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.mesh_files import MAX_TRIANGLES
from h2w_ros.scene.points import Points

CORNERS = np.array([[-0.4, 1.0, -0.4], [0.4, 1.0, -0.4], [0.4, 1.0, 0.4], [-0.4, 1.0, 0.4]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


def wall(**visual: object) -> trimesh.Trimesh:
    return trimesh.Trimesh(CORNERS, FACES, process=False, **visual)


def half_red_half_blue() -> PilImage.Image:
    picture = np.full((16, 16, 3), BLUE, np.uint8)
    picture[:8] = RED
    return PilImage.fromarray(picture)


def colors_above_and_below(path: Path) -> tuple[tuple, tuple]:
    picture = load_scene(path).render(CAMERA, level()).picture
    return tuple(picture[20, 48].tolist()), tuple(picture[50, 48].tolist())


@pytest.mark.parametrize("ending", ["ply", "glb"])
def test_colors_of_vertices_are_blended_between_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"wall.{ending}"
    wall(vertex_colors=np.array([RED, RED, BLUE, BLUE], np.uint8)).export(path)
    above, below = colors_above_and_below(path)
    assert above[2] > above[0]
    assert below[0] > below[2]


def test_colors_of_faces_keep_their_edges(tmp_path: Path) -> None:
    wall(face_colors=np.array([[*RED, 255], [*GREEN, 255]], np.uint8)).export(tmp_path / "wall.ply")
    picture = load_scene(tmp_path / "wall.ply").render(CAMERA, level()).picture
    assert {tuple(color) for color in picture.reshape(-1, 3).tolist()} == {RED, GREEN, (0, 0, 0)}


def test_a_texture_of_a_glb_is_shown_upright_in_its_materials_tint(tmp_path: Path) -> None:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    for tint, share in (([255, 255, 255, 255], 1.0), ([128, 128, 128, 255], 0.5)):
        material = PBRMaterial(baseColorTexture=half_red_half_blue(), baseColorFactor=tint)
        wall(visual=TextureVisuals(uv=uv, material=material)).export(tmp_path / "wall.glb")
        above, below = colors_above_and_below(tmp_path / "wall.glb")
        assert above == pytest.approx(np.array(RED) * share, abs=2)
        assert below == pytest.approx(np.array(BLUE) * share, abs=2)


def test_an_obj_finds_its_material_and_texture_beside_it(tmp_path: Path) -> None:
    half_red_half_blue().save(tmp_path / "wall.png")
    (tmp_path / "wall.mtl").write_text("newmtl paint\nmap_Kd wall.png\n")
    lines = ["mtllib wall.mtl", *(f"v {x} {y} {z}" for x, y, z in CORNERS), "vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    (tmp_path / "wall.obj").write_text("\n".join([*lines, "usemtl paint", "f 1/1 2/2 3/3", "f 1/1 3/3 4/4"]) + "\n")
    assert colors_above_and_below(tmp_path / "wall.obj") == (RED, BLUE)


def test_the_parts_of_a_file_stand_where_the_file_puts_them_each_in_its_own_texture(tmp_path: Path) -> None:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    parts = trimesh.Scene()
    for color, along_m in ((RED, -0.5), (GREEN, 0.5)):
        material = PBRMaterial(baseColorTexture=PilImage.fromarray(np.full((4, 4, 3), color, np.uint8)))
        parts.add_geometry(
            wall(visual=TextureVisuals(uv=uv, material=material)), transform=trimesh.transformations.translation_matrix([along_m, 0, 0])
        )
    parts.export(tmp_path / "parts.glb")
    picture = load_scene(tmp_path / "parts.glb").render(CAMERA, level()).picture
    assert tuple(picture[35, 15]) == RED
    assert tuple(picture[35, 85]) == GREEN


def test_a_mesh_of_very_many_triangles_is_drawn_as_points(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(5, 0.3)
    ball.apply_translation((0.0, 1.0, 0.0))
    ball.export(tmp_path / "ball.ply")
    assert len(ball.faces) > MAX_TRIANGLES
    scene = load_scene(tmp_path / "ball.ply")
    assert isinstance(scene, Points)
    known = scene.render(CAMERA, level()).known
    assert known[30:40, 43:53].all()
    assert not known[:5].any()


def test_a_cloud_keeps_its_colors_and_one_without_colors_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.4, 1.0, -0.4), (0.4, 1.001, 0.4), (5000, 3))
    trimesh.PointCloud(points, colors=np.tile([*GREEN, 255], (5000, 1)).astype(np.uint8)).export(tmp_path / "cloud.ply")
    scene = load_scene(tmp_path / "cloud.ply")
    assert len(scene) == 5000
    assert (scene.colors == GREEN).all()
    trimesh.PointCloud(points).export(tmp_path / "grey.ply")
    with pytest.raises(ValueError, match="must have colors"):
        load_scene(tmp_path / "grey.ply")


def test_a_mesh_without_any_color_is_grey(tmp_path: Path) -> None:
    wall().export(tmp_path / "wall.stl")
    scene = load_scene(tmp_path / "wall.stl")
    assert isinstance(scene, Mesh)
    above, below = colors_above_and_below(tmp_path / "wall.stl")
    assert above == below
    assert len(set(above)) == 1


def test_what_is_not_in_metres_is_refused_with_its_size(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(1, 3000.0)
    ball.export(tmp_path / "ball.ply")
    with pytest.raises(ValueError, match="must be in metres: from corner to corner it would measure"):
        load_scene(tmp_path / "ball.ply")

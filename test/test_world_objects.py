from __future__ import annotations

import mujoco
import numpy as np
import pytest

from h2w_ros.geometry import apply, transform
from h2w_ros.world.articulation import Articulation
from h2w_ros.world.meshes import PROFILES, handle, lathe
from h2w_ros.world.object_bodies import add_object, link_name
from h2w_ros.world.objects import TableObject, discs_world, distance_m, extent_m, gap_m
from h2w_ros.world.placement import HALF_SIZES_M, OPENING, SHAPES, SHARES, sample_objects
from h2w_ros.world.shapes import MAKERS

UP = np.array([0.0, 0.0, 1.0])


def thing(shape: str, start_open: float = 0.0) -> TableObject:
    """The middle-sized object of this shape."""
    half = np.mean(HALF_SIZES_M[shape], axis=0)
    return TableObject("thing", shape, (half[0], half[1], half[2]), (0.0, 0.0), 0.0, np.ones(3), None, 300.0, np.ones(3), start_open)


def alone(made: TableObject, opening: float) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Only this object, over nothing, at the origin, open by this much."""
    scene = mujoco.MjSpec()
    scene.compiler.degree = False
    add_object(scene, made)
    model = scene.compile()
    data = mujoco.MjData(model)
    data.qpos[:3] = 0.0
    if made.articulation is not None:
        data.joint(link_name("thing")).qpos[0] = opening
    mujoco.mj_forward(model, data)
    return model, data


def test_every_shape_has_a_maker_a_size_and_a_share():
    assert set(MAKERS) == set(HALF_SIZES_M) == set(SHARES) == set(SHAPES)


def test_objects_do_not_start_inside_one_another_open_or_closed():
    for seed in range(5):
        objects = sample_objects(np.random.default_rng(seed), 5)
        placed = [discs_world(o, transform(_turn(o.yaw_rad), np.array([*o.xy_m, 0.0]))) for o in objects]
        assert all(gap_m(a, b) > 0 for i, a in enumerate(placed) for b in placed[:i])


def _turn(yaw_rad: float) -> np.ndarray:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != "spoon"])  # around flat ellipsoids the distance is approximate
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_distance_and_extent_agree_on_the_surface(shape, share):
    """The supporting plane in any direction touches the shape: no surface point lies beyond it, one lies on it."""
    made = thing(shape)
    opening = share * made.articulation.max_opening if made.articulation else 0.0
    rng = np.random.default_rng(0)
    for direction in rng.normal(size=(4, 3)):
        unit = direction / np.linalg.norm(direction)
        reach = extent_m(made, np.eye(3), unit, opening)
        around = rng.normal(size=(4000, 3)) * 0.08
        assert (distance_m(made, around[around @ unit > reach + 1e-9], opening) > 0).all()
        on_plane = around + ((reach - 0.0015) - around @ unit)[:, None] * unit
        assert distance_m(made, on_plane, opening).min() < 0.004


@pytest.mark.parametrize("shape", [s for s in SHAPES if s not in PROFILES])  # rays miss what is not seen
def test_mujoco_s_bodies_stand_where_the_geometry_says(shape):
    """A ray from far away meets the first surface at our distance zero."""
    made = thing(shape)
    opening = 0.5 * made.articulation.max_opening if made.articulation else 0.0
    model, data = alone(made, opening)
    rng = np.random.default_rng(1)
    geom = np.zeros(1, np.int32)
    hits = 0
    for _ in range(60):
        start = rng.normal(size=3)
        start *= 0.5 / np.linalg.norm(start)
        way = rng.normal(size=3) * 0.03 - start
        way /= np.linalg.norm(way)
        away = mujoco.mj_ray(model, data, start, way, None, 1, -1, geom)
        if away >= 0 and model.geom_contype[geom[0]]:
            hits += 1
            assert abs(distance_m(made, (start + away * way)[None], opening)[0]) < (0.004 if shape == "spoon" else 1e-6)
    assert hits >= 5


@pytest.mark.parametrize("shape", OPENING)
def test_the_opening_of_a_grip_is_the_opening_that_put_it_there(shape):
    articulation = thing(shape).articulation
    assert articulation is not None
    for share in np.linspace(0, 1, 9):
        opening = share * articulation.max_opening
        assert articulation.opening_of(articulation.grip_at(opening)) == pytest.approx(opening, abs=1e-9)


@pytest.mark.parametrize("shape", OPENING)
def test_mujoco_s_joint_moves_the_part_as_the_articulation_says(shape):
    made = thing(shape)
    assert isinstance(made.articulation, Articulation)
    opening = 0.7 * made.articulation.max_opening
    _, data = alone(made, opening)
    link = data.body(link_name("thing"))
    point = np.array([0.01, -0.02, 0.03])
    assert np.abs(link.xpos + link.xmat.reshape(3, 3) @ point - apply(made.articulation.T_object_link(opening), point)).max() < 1e-6


def test_an_open_book_lies_flat():
    """Both halves of the pages end at the height of the hinge."""
    made = thing("book")
    assert made.articulation is not None
    assert extent_m(made, np.eye(3), UP, 0.0) == pytest.approx(made.half_size_m[2], abs=1e-9)
    assert extent_m(made, np.eye(3), UP, np.pi) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shape", sorted(PROFILES))
def test_turned_shapes_face_outwards(shape):
    assert signed_volume(*lathe(np.array(PROFILES[shape], dtype=float))) > 0


def test_a_handle_faces_outwards():
    assert signed_volume(*handle(0.02, 0.03, 0.004, 0.04)) > 0


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

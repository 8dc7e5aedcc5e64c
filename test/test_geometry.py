"""Rotations, rigid motions and their one quaternion order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2w_ros.geometry import (
    apply,
    axis_angle_from_rotation,
    check_transform,
    cross_matrix,
    interpolate,
    interpolate_axis_angles,
    invert,
    look_at,
    quaternion_from_rotation,
    rotation_angle_rad,
    rotation_from_axis_angle,
    rotation_from_quaternion,
    transform,
)

QUARTER_TURN_RAD = np.pi / 2
X, Y, Z = np.eye(3)

coordinates = st.floats(-1.0, 1.0)
vectors = st.tuples(coordinates, coordinates, coordinates).map(np.array)
axes = vectors.filter(lambda v: np.linalg.norm(v) > 0.1).map(lambda v: v / np.linalg.norm(v))
angles_rad = st.floats(0.0, np.pi - 1e-6)
rotations = st.builds(lambda axis, angle: rotation_from_axis_angle(axis * angle), axes, angles_rad)
poses = st.builds(transform, rotations, vectors)
any_rotation = settings(max_examples=50, deadline=None)


def test_the_scalar_of_a_quaternion_comes_last() -> None:
    turn = rotation_from_quaternion(np.array([0.0, 0.0, np.sin(QUARTER_TURN_RAD / 2), np.cos(QUARTER_TURN_RAD / 2)]))
    np.testing.assert_allclose(turn @ X, Y, atol=1e-15)
    np.testing.assert_allclose(turn @ Z, Z, atol=1e-15)


@any_rotation
@given(rotations)
def test_a_rotation_survives_the_way_through_a_quaternion_of_positive_scalar(R: np.ndarray) -> None:
    q = quaternion_from_rotation(R)
    assert q[3] >= 0
    np.testing.assert_allclose(rotation_from_quaternion(q), R, atol=1e-12)
    np.testing.assert_allclose(rotation_from_quaternion(-q), R, atol=1e-12)


@pytest.mark.parametrize("length", [0.0, 0.9, 1.02, np.nan, np.inf])
def test_a_quaternion_of_another_length_is_refused(length: float) -> None:
    with pytest.raises(ValueError, match=r"quaternion \(x, y, z, w\) must have unit length"):
        rotation_from_quaternion(np.array([0.0, 0.0, 0.0, length]))


def test_a_quaternion_that_is_nearly_a_unit_is_made_one() -> None:
    R = rotation_from_quaternion(1.005 * np.array([0.5, 0.5, 0.5, 0.5]))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-15)


@any_rotation
@given(axes, angles_rad)
def test_a_rotation_is_its_axis_times_its_angle(axis: np.ndarray, angle_rad: float) -> None:
    R = rotation_from_axis_angle(axis * angle_rad)
    np.testing.assert_allclose(R @ axis, axis, atol=1e-12)
    assert rotation_angle_rad(R) == pytest.approx(angle_rad, abs=1e-7)
    np.testing.assert_allclose(axis_angle_from_rotation(R), axis * angle_rad, atol=1e-7)


@pytest.mark.parametrize("angle_rad", [0.0, 1e-15, 1e-9, 1e-5, np.pi - 1e-9, np.pi])
@pytest.mark.parametrize("axis", [X, Y, -Z, np.array([2.0, -1.0, 2.0]) / 3.0])
def test_angles_near_zero_and_half_a_turn_lose_nothing(axis: np.ndarray, angle_rad: float) -> None:
    R = rotation_from_axis_angle(axis * angle_rad)
    again = rotation_from_axis_angle(axis_angle_from_rotation(R))
    np.testing.assert_allclose(again, R, atol=1e-12)
    assert rotation_angle_rad(R) == pytest.approx(angle_rad, abs=1e-12)


def test_many_axis_angles_at_once_are_each_its_own() -> None:
    r_rad = np.random.default_rng(0).normal(size=(2, 3, 3))
    batch = rotation_from_axis_angle(r_rad)
    assert batch.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(batch[1, 2], rotation_from_axis_angle(r_rad[1, 2]), atol=1e-15)


@any_rotation
@given(vectors, vectors)
def test_the_cross_matrix_multiplies_as_the_cross_product(v: np.ndarray, u: np.ndarray) -> None:
    np.testing.assert_allclose(cross_matrix(v) @ u, np.cross(v, u), atol=1e-15)


@any_rotation
@given(poses, vectors)
def test_an_inverse_takes_points_back(T_a_b: np.ndarray, point_b: np.ndarray) -> None:
    np.testing.assert_allclose(invert(T_a_b) @ T_a_b, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(apply(invert(T_a_b), apply(T_a_b, point_b)), point_b, atol=1e-12)


def test_a_stack_of_poses_is_inverted_one_by_one() -> None:
    stack = np.stack([look_at(np.array([x, 1.0, 2.0]), np.zeros(3), Z) for x in (0.0, 1.0)])
    np.testing.assert_allclose(invert(stack)[1], invert(stack[1]), atol=1e-15)


@any_rotation
@given(poses, poses)
def test_interpolation_begins_and_ends_at_the_given_poses(T_0: np.ndarray, T_1: np.ndarray) -> None:
    np.testing.assert_allclose(interpolate(T_0, T_1, 0.0), T_0, atol=1e-12)
    np.testing.assert_allclose(interpolate(T_0, T_1, 1.0), T_1, atol=1e-9)


@any_rotation
@given(poses, axes, st.floats(0.0, 3.0), vectors, st.floats(0.0, 1.0))
def test_interpolation_turns_by_its_share_of_the_angle(
    T_0: np.ndarray, axis: np.ndarray, angle_rad: float, step: np.ndarray, fraction: float
) -> None:
    T_1 = T_0 @ transform(rotation_from_axis_angle(axis * angle_rad), step)
    between = invert(T_0) @ interpolate(T_0, T_1, fraction)
    np.testing.assert_allclose(between[:3, :3], rotation_from_axis_angle(axis * angle_rad * fraction), atol=1e-7)
    np.testing.assert_allclose(between[:3, 3], fraction * step, atol=1e-9)


@any_rotation
@given(axes, angles_rad, axes, angles_rad, st.floats(0.0, 1.0))
def test_joints_are_interpolated_as_poses_are(axis_0: np.ndarray, a_0: float, axis_1: np.ndarray, a_1: float, fraction: float) -> None:
    R_0, R_1 = rotation_from_axis_angle(axis_0 * a_0), rotation_from_axis_angle(axis_1 * a_1)
    if rotation_angle_rad(R_0.T @ R_1) > np.pi - 1e-3:
        return  # both ways round are the shortest
    joint_rad = interpolate_axis_angles((axis_0 * a_0)[None], (axis_1 * a_1)[None], fraction)[0]
    pose = interpolate(transform(R_0, np.zeros(3)), transform(R_1, np.zeros(3)), fraction)
    assert np.linalg.norm(joint_rad) <= np.pi + 1e-9
    np.testing.assert_allclose(rotation_from_axis_angle(joint_rad), pose[:3, :3], atol=1e-6)


def test_a_camera_that_looks_ahead_has_x_right_y_down_z_forward() -> None:
    T_world_camera = look_at(np.zeros(3), 2.0 * X, up=Z)
    np.testing.assert_allclose(T_world_camera[:3, :3], np.stack([-Y, -Z, X], axis=1), atol=1e-15)


@any_rotation
@given(vectors, vectors)
def test_what_a_camera_looks_at_lies_on_its_axis(eye: np.ndarray, target: np.ndarray) -> None:
    view = target - eye
    if np.linalg.norm(np.cross(view, Z)) < 1e-3:
        return  # no upright picture along the up direction
    T_world_camera = check_transform(look_at(eye, target, Z), "T_world_camera")
    np.testing.assert_allclose(apply(invert(T_world_camera), target), [0.0, 0.0, np.linalg.norm(view)], atol=1e-9)
    assert T_world_camera[2, 0] == pytest.approx(0.0, abs=1e-12)  # x is level
    assert T_world_camera[2, 1] <= 0.0  # y points down


def test_looking_along_up_is_refused() -> None:
    with pytest.raises(ValueError, match="not parallel to the view"):
        look_at(np.zeros(3), Z, up=Z)


@pytest.mark.parametrize(
    ("matrix", "rule"),
    [
        (np.eye(3), r"must be a 4x4 matrix, got shape \(3, 3\)"),
        (np.full((4, 4), np.nan), "must be finite"),
        (np.diag([1.001, 1.0, 1.0, 1.0]), "must hold a proper rotation"),
        (np.diag([-1.0, 1.0, 1.0, 1.0]), "must hold a proper rotation"),
        (np.zeros((4, 4)), "must hold a proper rotation"),
        (transform(np.eye(3), X).T, "must end with the row 0 0 0 1"),
    ],
)
def test_what_is_no_rigid_motion_is_refused_by_its_rule(matrix: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=f"T_world_hand {rule}"):
        check_transform(matrix, "T_world_hand")


def test_a_rigid_motion_of_any_number_type_becomes_float64() -> None:
    assert check_transform(np.eye(4, dtype=np.float32), "T").dtype == np.float64

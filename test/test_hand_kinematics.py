"""Joints and tips move as the whole model's skinning says, and their derivatives are those of finite differences."""

from dataclasses import replace

import numpy as np
import pytest

from h2w_ros.hands.anatomy import LIMITS, MANO_PARENTS, joint_axes, rest_points
from h2w_ros.hands.kinematics import joint_angles, point_derivatives, pose, rotation_vectors, shaped_hand
from h2w_ros.hands.model import TIP_VERTICES, load_hand_model
from h2w_ros.hands.skinning import skin

SIDES = ("right", "left")


def blended_model(side):
    """A model whose tips hang on several bones and have pose correctives, as those of MANO may."""
    rng = np.random.default_rng(0)
    model = load_hand_model(side)
    weights, directions = model.skin_weights.copy(), model.pose_directions.copy()
    for tip in TIP_VERTICES:
        weights[tip] = rng.dirichlet(np.full(16, 0.3))
        directions[tip] = rng.normal(scale=2e-3, size=(3, 135))
    return replace(model, skin_weights=weights, pose_directions=directions)


@pytest.mark.parametrize("make", [load_hand_model, blended_model])
@pytest.mark.parametrize("side", SIDES)
def test_points_are_those_of_the_skinned_hand(make, side):
    rng = np.random.default_rng(1)
    model, betas, angles = make(side), rng.normal(size=10), rng.normal(scale=0.6, size=(15, 3))
    hand = shaped_hand(model, betas)
    whole = skin(model, rotation_vectors(hand, angles).ravel(), betas)
    np.testing.assert_allclose(pose(hand, angles).points, whole.joints_and_tips, atol=1e-12)


@pytest.mark.parametrize("make", [load_hand_model, blended_model])
@pytest.mark.parametrize("scale", [0.0, 1e-5, 0.7])
def test_derivatives_agree_with_finite_differences(make, scale):
    rng = np.random.default_rng(2)
    hand = shaped_hand(make("right"), rng.normal(size=10))
    angles = rng.normal(scale=scale, size=(15, 3))
    exact = point_derivatives(hand, pose(hand, angles))
    for k, step in enumerate(np.eye(45).reshape(45, 15, 3) * 1e-6):
        numeric = (pose(hand, angles + step).points - pose(hand, angles - step).points) / 2e-6
        np.testing.assert_allclose(exact[:, :, k], numeric, atol=1e-8)
    assert np.abs(exact).max() > 0.05


@pytest.mark.parametrize("side", SIDES)
def test_axes_are_right_handed_frames_and_bending_closes_the_hand(side):
    model = load_hand_model(side)
    axes = joint_axes(model)
    np.testing.assert_allclose(np.swapaxes(axes, -1, -2) @ axes, np.broadcast_to(np.eye(3), axes.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0)
    hand = shaped_hand(model, np.zeros(10))
    bent = np.zeros((15, 3))
    bent[:12, 2] = 0.5
    tips = pose(hand, bent).points[17:]
    assert (tips[:, 1] < hand.tips[1:, 1] - 0.01).all(), "fingers must bend towards the palm, -y"
    thumb = np.zeros((15, 3))
    thumb[12:, 2] = 0.4
    pinky_knuckle = hand.joints[7]
    assert np.linalg.norm(pose(hand, thumb).points[16] - pinky_knuckle) < np.linalg.norm(hand.tips[0] - pinky_knuckle) - 0.01


def test_angles_and_rotation_vectors_are_each_others_inverse():
    hand = shaped_hand(load_hand_model("left"), np.zeros(10))
    angles = np.random.default_rng(3).normal(size=(15, 3))
    np.testing.assert_allclose(joint_angles(hand, rotation_vectors(hand, angles)), angles, atol=1e-12)


def test_the_relaxed_hand_and_the_flat_one_are_within_the_limits():
    model = load_hand_model("right")
    hand = shaped_hand(model, np.zeros(10))
    for angles in (np.zeros((15, 3)), joint_angles(hand, model.pose_mean_rad.reshape(15, 3))):
        assert (angles >= LIMITS.low).all()
        assert (angles <= LIMITS.high).all()


def test_another_joint_tree_is_refused():
    model = load_hand_model("right")
    parents = np.array(MANO_PARENTS)
    parents[4] = 1
    with pytest.raises(ValueError, match="must have MANO's joint tree"):
        shaped_hand(replace(model, parents=parents), np.zeros(10))


def test_rest_points_of_a_left_hand_mirror_those_of_a_right_one():
    betas = np.linspace(-1, 1, 10)
    right, left = (rest_points(load_hand_model(side), betas) for side in SIDES)
    np.testing.assert_allclose(left, right * (-1, 1, 1), atol=1e-12)

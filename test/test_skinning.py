import sys

import numpy as np
import pytest
from hand_poses import random_hand

from h2w_ros import geometry
from h2w_ros.condition import HandPose
from h2w_ros.hands.model import TIP_VERTICES, load_hand_model, read_arrays, standin_path
from h2w_ros.hands.skinning import (
    angles_from_components,
    hand_joints_and_tips_world,
    hand_joints_world,
    hand_pose_from_mano,
    hand_vertices_world,
    hand_world,
    mano_from_hand_pose,
    mirrored,
    rotation_matrices,
    skin,
)
from h2w_ros.hands.standin import write_official_pickle

SIDES = ("right", "left")


def bone_lengths_m(joints, parents):
    return np.linalg.norm(joints[..., 1:, :] - joints[..., parents[1:], :], axis=-1)


def test_a_flat_hand_is_the_template_about_its_wrist():
    model = load_hand_model("right")
    hand = skin(model, np.zeros(45), np.zeros(10))
    wrist = model.joint_regressor[0] @ model.template_vertices
    np.testing.assert_allclose(hand.vertices, model.template_vertices - wrist, atol=1e-9)
    np.testing.assert_allclose(hand.joints[0], 0.0, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_bones_keep_their_length_however_the_hand_bends(side):
    model = load_hand_model(side)
    rng = np.random.default_rng(0)
    betas = np.repeat(rng.normal(size=(1, 10)), 5, axis=0)
    joints = skin(model, np.concatenate([np.zeros((1, 45)), rng.normal(size=(4, 45))]), betas).joints
    lengths = bone_lengths_m(joints, model.parents)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-12)


def test_moving_the_wrist_moves_every_vertex_rigidly():
    model, hand = load_hand_model("right"), random_hand(1)
    T = geometry.transform(geometry.rotation_from_axis_angle(np.array([0.3, -1.0, 2.0])), np.array([1.0, -2.0, 0.5]))
    moved = HandPose("right", T @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
    np.testing.assert_allclose(hand_vertices_world(model, moved), geometry.apply(T, hand_vertices_world(model, hand)), atol=1e-12)


def test_joint_0_stands_where_the_pose_says():
    model, hand = load_hand_model("left"), random_hand(2, "left")
    np.testing.assert_allclose(hand_joints_world(model, hand)[0], hand.T_world_wrist[:3, 3], atol=1e-12)


def test_left_is_the_mirror_of_right():
    hand = random_hand(3)
    right = hand_vertices_world(load_hand_model("right"), hand)
    left = hand_vertices_world(load_hand_model("left"), mirrored(hand))
    np.testing.assert_allclose(left, right * (-1, 1, 1), atol=1e-12)


def test_mirroring_a_pose_twice_gives_it_back():
    hand = random_hand(4)
    again = mirrored(mirrored(hand))
    np.testing.assert_array_equal(again.T_world_wrist, hand.T_world_wrist)
    np.testing.assert_array_equal(again.joint_angles_rad, hand.joint_angles_rad)


def test_a_batch_is_its_single_hands():
    model = load_hand_model("right")
    rng = np.random.default_rng(5)
    angles, betas = rng.normal(size=(2, 3, 45)), rng.normal(size=(2, 3, 10))
    batch = skin(model, angles, betas)
    assert batch.joints_and_tips.shape == (2, 3, 21, 3)
    for index in np.ndindex(2, 3):
        single = skin(model, angles[index], betas[index])
        np.testing.assert_allclose(batch.vertices[index], single.vertices, atol=1e-12)
        np.testing.assert_allclose(batch.joints[index], single.joints, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance_m"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_numpy_equals_torch(dtype, tolerance_m):
    torch = pytest.importorskip("torch")
    model = load_hand_model("left")
    rng = np.random.default_rng(6)
    angles, betas = rng.normal(size=(4, 45)).astype(dtype), rng.normal(size=(4, 10)).astype(dtype)
    ours, theirs = skin(model, angles, betas), skin(model, torch.from_numpy(angles), torch.from_numpy(betas))
    assert ours.vertices.dtype == dtype
    assert theirs.vertices.dtype == torch.from_numpy(angles).dtype
    np.testing.assert_allclose(ours.joints_and_tips, theirs.joints_and_tips.numpy(), atol=tolerance_m)
    np.testing.assert_allclose(ours.vertices, theirs.vertices.numpy(), atol=tolerance_m)


def test_torch_gives_finite_gradients_at_the_flat_hand():
    torch = pytest.importorskip("torch")
    angles = torch.zeros(45, dtype=torch.float64, requires_grad=True)
    model = load_hand_model("right")
    skin(model, angles, torch.zeros(10, dtype=torch.float64)).joints_and_tips[17].sum().backward()
    numeric = np.zeros(45)
    for k, step in enumerate(np.eye(45) * 1e-6):
        up, down = (skin(model, sign * step, np.zeros(10)).joints_and_tips[17].sum() for sign in (1.0, -1.0))
        numeric[k] = (up - down) / 2e-6
    np.testing.assert_allclose(angles.grad.numpy(), numeric, atol=1e-8)
    assert np.abs(numeric).max() > 1e-3


def test_rotations_agree_with_the_core_and_small_ones_survive_float32():
    rotations = np.random.default_rng(7).normal(size=(20, 3))
    np.testing.assert_allclose(rotation_matrices(rotations), geometry.rotation_from_axis_angle(rotations), atol=1e-12)
    small = np.array([3e-4, -1e-4, 2e-4])
    np.testing.assert_allclose(rotation_matrices(small.astype(np.float32)), geometry.rotation_from_axis_angle(small), atol=1e-7)


def test_skinning_alone_does_not_import_torch():
    import subprocess

    code = "import sys, numpy as np; from h2w_ros.hands import skinning, model, render; m = model.load_hand_model('left')"
    code += "; skinning.skin(m, np.zeros(45), np.zeros(10)); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("flat_hand_mean", [True, False])
def test_manos_own_parameters_and_back(flat_hand_mean):
    model, hand = load_hand_model("right"), random_hand(8)
    parameters = mano_from_hand_pose(model, hand)
    angles = parameters["hand_pose"] if flat_hand_mean else parameters["hand_pose"] - model.pose_mean_rad
    back = hand_pose_from_mano(model, parameters["global_orient"], angles, hand.betas, parameters["transl"], flat_hand_mean=flat_hand_mean)
    np.testing.assert_allclose(back.T_world_wrist, hand.T_world_wrist, atol=1e-9)
    np.testing.assert_allclose(back.joint_angles_rad, hand.joint_angles_rad, atol=1e-12)


def test_components_start_from_the_mean_pose():
    model = load_hand_model("right")
    np.testing.assert_array_equal(angles_from_components(model, np.zeros(6)), model.pose_mean_rad)
    np.testing.assert_allclose(angles_from_components(model, np.eye(6)[2]) - model.pose_mean_rad, model.pose_components[2], atol=1e-12)


def test_the_first_component_closes_the_hand():
    model = load_hand_model("right")
    opened, closed = (skin(model, angles_from_components(model, np.array([x])), np.zeros(10)).joints_and_tips for x in (-1.0, 2.0))
    assert np.linalg.norm(closed[17:21], axis=1).max() < np.linalg.norm(opened[17:21], axis=1).min()
    assert (closed[17:21, 1] < opened[17:21, 1]).all(), "fingers must bend towards the palm, -y"


@pytest.mark.parametrize("side", SIDES)
def test_joints_and_tips_without_the_skin_are_those_of_the_whole_hand(side):
    model, hand = load_hand_model(side), random_hand(8, side)
    whole = hand_world(model, hand)
    np.testing.assert_allclose(hand_joints_and_tips_world(model, hand), whole.joints_and_tips, atol=1e-12)
    np.testing.assert_allclose(hand_joints_world(model, hand), whole.joints, atol=1e-12)


def test_a_hand_needs_its_own_sides_model():
    with pytest.raises(ValueError, match="a left hand needs the left hand's model, got the right one"):
        hand_vertices_world(load_hand_model("right"), random_hand(9, "left"))


@pytest.mark.parametrize("side", SIDES)
def test_smplx_agrees_on_the_same_file(tmp_path, side):
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    file = tmp_path / f"MANO_{side.upper()}.pkl"
    write_official_pickle(read_arrays(standin_path(side)), file)
    theirs = smplx.MANO(str(file), is_rhand=side == "right", use_pca=False, flat_hand_mean=True, dtype=torch.float64)
    model, hand = load_hand_model(side), random_hand(10, side)
    parameters = {name: torch.from_numpy(value[None]) for name, value in mano_from_hand_pose(model, hand).items()}
    output = theirs(**parameters)
    np.testing.assert_allclose(hand_vertices_world(model, hand), output.vertices[0].detach().numpy(), atol=1e-5)
    joints = output.joints[0].detach().numpy()
    np.testing.assert_allclose(hand_joints_and_tips_world(model, hand)[: len(joints)], joints, atol=1e-5)
    assert theirs.vertex_joint_selector.extra_joints_idxs.tolist() in ([], list(TIP_VERTICES))

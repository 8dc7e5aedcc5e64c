"""Hands that other tools saved, and networks of the user, written here in their layouts with known geometry."""

import numpy as np
import pytest
from annotate_world import CAMERA, sighting_of, stamps_ns
from test_annotate_hands import AT, errors_mm, waving

from h2w_ros import geometry
from h2w_ros.annotate.backends import hands_of
from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.hand_stage import find_hands
from h2w_ros.annotate.onnx_hands import OnnxHands
from h2w_ros.annotate.saved_hands import SavedHands
from h2w_ros.camera import project
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world, mano_from_hand_pose, mirrored
from h2w_ros.hands.trackers.conventions import CONVENTIONS
from h2w_ros.video import write_video

NUM_FRAMES = 12
SIDES = ("left", "right")
# Our 21 points in the order of OpenPose.
ORDER = CONVENTIONS["points21"].points


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "hands.mp4"
    write_video(path, np.zeros((NUM_FRAMES, CAMERA.height_px, CAMERA.width_px, 3), np.uint8), 16.0)
    return Clip(path, tuple(range(NUM_FRAMES)), NUM_FRAMES, tuple(stamps_ns(NUM_FRAMES)), 16.0, CAMERA.width_px, CAMERA.height_px, 1.0, 0, {}, {})


@pytest.fixture
def truth():
    return {"left": waving("left", x_m=-0.15, num_frames=NUM_FRAMES), "right": waving("right", x_m=0.15, num_frames=NUM_FRAMES, seed=2)}


def points_of(hand):
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def check_points(frames, truth):
    for frame, sightings in enumerate(frames):
        assert sorted(seen.side for seen in sightings) == ["left", "right"]
        for seen in sightings:
            np.testing.assert_allclose(seen.points_px, project(CAMERA, points_of(truth[seen.side][frame])), atol=0.3)


@pytest.mark.parametrize("is_mirrored", [True, False])
def test_hamers_hands_fall_where_they_were_whether_or_not_left_ones_are_still_mirrored(tmp_path, clip, truth, is_mirrored):
    """HaMeR's focal length is far too long; its hands stand as much too far away."""
    focal = 5000.0 / 256.0 * CAMERA.width_px
    for frame in range(NUM_FRAMES):
        shapes, places = [], []
        for side in SIDES:
            points = points_of(truth[side][frame])
            root = points[0]
            flip = np.array([-1.0, 1.0, 1.0]) if side == "left" and is_mirrored else 1.0
            shapes.append(((points - root) * flip)[ORDER])
            places.append(root * (1.0, 1.0, focal / CAMERA.fx))
        np.savez(
            tmp_path / f"hands_{frame:05d}.npz",
            pred_keypoints_3d=np.array(shapes),
            pred_cam_t_full=np.array(places),
            is_right=np.array([0, 1]),
            scaled_focal_length=focal,
            img_size=np.array([CAMERA.width_px, CAMERA.height_px]),
        )
    frames = list(hands_of("hamer", str(tmp_path)).sightings(clip, CAMERA))
    for frame, sightings in enumerate(frames):
        for seen, side in zip(sightings, SIDES, strict=True):
            wanted = points_of(truth[side][frame])
            np.testing.assert_allclose(seen.points_px[0], project(CAMERA, wanted[:1])[0], atol=1e-6)
            turned = geometry.apply(AT, wanted - wanted.mean(axis=0))
            np.testing.assert_allclose(seen.points_hand_m, turned, atol=1e-9)


def test_dyn_hamrs_hands_fall_where_they_were_in_its_camera(tmp_path, clip, truth):
    R = geometry.rotation_from_axis_angle(np.array([0.2, -0.3, 0.1]))
    T_camera_world = geometry.transform(R, np.array([0.1, 0.2, 0.3]))
    fields = {name: [] for name in ("trans", "root_orient", "pose_body", "betas", "is_right")}
    for side in SIDES:
        rows = {name: [] for name in ("transl", "global_orient", "hand_pose")}
        for hand in truth[side]:
            world = type(hand)(side, geometry.invert(T_camera_world) @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
            told = mano_from_hand_pose(load_hand_model("right"), world if side == "right" else mirrored(world))
            for name, values in rows.items():
                values.append(told[name])
        fields["trans"].append(rows["transl"])
        fields["root_orient"].append(rows["global_orient"])
        fields["pose_body"].append(np.reshape(rows["hand_pose"], (NUM_FRAMES, 15, 3)))
        fields["betas"].append(np.zeros(10))
        fields["is_right"].append(np.full(NUM_FRAMES, side == "right", dtype=float))
    path = tmp_path / "walk_000000_world_results.npz"
    camera = {"cam_R": np.tile(R, (2, NUM_FRAMES, 1, 1)), "cam_t": np.tile(T_camera_world[:3, 3], (2, NUM_FRAMES, 1))}
    lens = np.array([CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy]) / 2.0  # it worked at half the size
    np.savez(path, **{name: np.array(value) for name, value in fields.items()}, **camera, intrins=lens)
    frames = list(hands_of("dyn-hamr", str(path)).sightings(clip, CAMERA))
    check_points(frames, truth)
    found = find_hands(frames, clip.stamps_ns, CAMERA)
    assert all(errors_mm(found.frames, truth[side], side).mean() < 5.0 for side in SIDES)


def test_haworrs_hands_fall_where_they_were_in_its_camera(tmp_path, clip, truth):
    T_world_camera = geometry.transform(geometry.rotation_from_axis_angle(np.array([0.1, 0.4, -0.2])), np.array([0.3, 0.0, 0.6]))
    fields = {
        name: np.zeros((2, NUM_FRAMES, size)) for name, size in (("pred_trans", 3), ("pred_rot", 3), ("pred_hand_pose", 45), ("pred_betas", 10))
    }
    for index, side in enumerate(SIDES):
        for frame, hand in enumerate(truth[side]):
            world = type(hand)(side, T_world_camera @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
            told = mano_from_hand_pose(load_hand_model(side), world)
            fields["pred_trans"][index, frame], fields["pred_rot"][index, frame] = told["transl"], told["global_orient"]
            fields["pred_hand_pose"][index, frame] = told["hand_pose"]
    with pytest.raises(FileNotFoundError, match="joblib"):
        list(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA))
    np.savez(tmp_path / "world_space_res.npz", **fields, pred_valid=np.ones((2, NUM_FRAMES)))
    (tmp_path / "SLAM").mkdir()
    row = np.concatenate([T_world_camera[:3, 3] / 2.0, geometry.quaternion_from_rotation(T_world_camera[:3, :3])])
    slam = {"traj": np.tile(row, (NUM_FRAMES, 1)), "scale": 2.0, "img_focal": CAMERA.fx, "img_center": np.array([CAMERA.cx, CAMERA.cy])}
    np.savez(tmp_path / "SLAM" / "hawor_slam_w_scale_0_12.npz", **slam)
    check_points(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA), truth)


def test_results_that_lack_something_name_their_file(tmp_path, clip):
    np.savez(tmp_path / "frame_0.npz", is_right=np.ones(1))
    for name, path, words in (
        ("wilor", tmp_path, "pred_keypoints_3d"),
        ("hamer", tmp_path / "none", "No saved hands"),
        ("dyn-hamr", tmp_path / "frame_0.npz", "trans"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            list(hands_of(name, str(path)).sightings(clip, CAMERA))


class Boxes:
    """A detector that knows where hands are."""

    name = "boxes"

    def __init__(self, truth):
        self.truth = truth

    def sightings(self, clip, camera):
        rng = np.random.default_rng(0)
        return (tuple(sighting_of(self.truth[side][frame], CAMERA, AT, rng) for side in SIDES) for frame in range(NUM_FRAMES))


def write_network(path, shape, places):
    """A network that finds one hand in whatever it is shown, placed by the crop's brightness."""
    onnx = pytest.importorskip("onnx", reason="making a network needs onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in (("shape", shape[None]), ("places", places[None]), ("zero", np.zeros(1)))
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["shape", "nothing"], ["keypoints_3d"]),
        helper.make_node("Add", ["places", "nothing"], ["keypoints_2d"]),
    ]
    kind = onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("image", kind, [1, 3, 32, 32])]
    outputs = [helper.make_tensor_value_info("keypoints_3d", kind, [1, 21, 3]), helper.make_tensor_value_info("keypoints_2d", kind, [1, 21, 2])]
    graph = helper.make_graph(nodes, "hand", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_users_network_says_where_the_points_are_within_the_box(tmp_path, clip, truth):
    pytest.importorskip("onnxruntime", reason="networks in ONNX need onnxruntime")
    shape = np.arange(63.0).reshape(21, 3) * 1e-3
    places = np.zeros((21, 2))
    places[0] = (0.25, -0.5)
    write_network(tmp_path / "hand.onnx", shape, places)
    network = OnnxHands("onnx", str(tmp_path / "hand.onnx"), boxes=Boxes(truth))
    for box, refined in zip(Boxes(truth).sightings(clip, CAMERA), network.sightings(clip, CAMERA), strict=True):
        for before, after in zip(box, refined, strict=True):
            low, high = before.points_px.min(axis=0), before.points_px.max(axis=0)
            side = 2.0 * (high - low).max()
            middle = (low + high) / 2.0
            sign = -1.0 if before.side == "left" else 1.0
            np.testing.assert_allclose(after.points_px[0], middle + np.array([sign * 0.25 * side, -0.5 * side]), atol=1e-3)
            np.testing.assert_allclose(after.points_px[16], middle, atol=1e-3)
            np.testing.assert_allclose(after.points_hand_m[1], shape[5] * (sign, 1.0, 1.0), atol=1e-6)


def test_a_network_that_is_none_is_refused(tmp_path, clip, truth):
    with pytest.raises(FileNotFoundError, match="No network"):
        list(OnnxHands("onnx", str(tmp_path / "none.onnx"), boxes=Boxes(truth)).sightings(clip, CAMERA))

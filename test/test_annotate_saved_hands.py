"""Hands that other tools saved, and networks of the user, written here in their layouts with known geometry."""

import json

import numpy as np
import pytest
import torch
from annotate_world import CAMERA, sighting_of, stamps_ns
from joblib_files import write_joblib
from test_annotate_hands import AT, errors_mm, waving

from h2w_ros import geometry
from h2w_ros.annotate.backends import hands_of
from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.hand_stage import find_hands
from h2w_ros.annotate.onnx_hands import OnnxHands
from h2w_ros.annotate.saved_hands import SavedHands
from h2w_ros.camera import project
from h2w_ros.cli import main
from h2w_ros.episodes.recording import open_recording
from h2w_ros.hands.model import load_hand_model, standin_path
from h2w_ros.hands.skinning import hand_joints_and_tips_world, hand_vertices_world, mano_from_hand_pose, mirrored
from h2w_ros.hands.trackers.conventions import CONVENTIONS
from h2w_ros.video import write_video

NUM_FRAMES = 12
# In place of the user's MANO.
MODELS = standin_path("right")
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


def write_crops(folder, truth, is_mirrored=True):
    """An .npz a frame of the arrays in HaMeR's demo. Its focal length is far too long; its hands stand as much too far away."""
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
            folder / f"hands_{frame:05d}.npz",
            pred_keypoints_3d=np.array(shapes),
            pred_cam_t_full=np.array(places),
            is_right=np.array([0, 1]),
            scaled_focal_length=focal,
            img_size=np.array([CAMERA.width_px, CAMERA.height_px]),
        )


@pytest.mark.parametrize("is_mirrored", [True, False])
def test_hamers_hands_fall_where_they_were_whether_or_not_left_ones_are_still_mirrored(tmp_path, clip, truth, is_mirrored):
    write_crops(tmp_path, truth, is_mirrored)
    frames = list(hands_of("hamer", str(tmp_path)).sightings(clip, CAMERA))
    for frame, sightings in enumerate(frames):
        for seen, side in zip(sightings, SIDES, strict=True):
            wanted = points_of(truth[side][frame])
            np.testing.assert_allclose(seen.points_px[0], project(CAMERA, wanted[:1])[0], atol=1e-6)
            turned = geometry.apply(AT, wanted - wanted.mean(axis=0))
            np.testing.assert_allclose(seen.points_hand_m, turned, atol=1e-9)


@pytest.mark.parametrize("is_reordered", [False, True])
def test_meshes_of_hamers_and_wilors_demos_fall_where_they_were(tmp_path, clip, truth, is_reordered):
    """`--save_mesh` writes FRAME_HAND.obj: MANO's vertices before its long lens, turned for a viewer; mesh libraries may reorder them."""
    model, focal = load_hand_model("right"), 5000.0 / 256.0 * CAMERA.width_px
    order = np.random.default_rng(0).permutation(778) if is_reordered else np.arange(778)
    shown = tmp_path / "out_demo"
    shown.mkdir()
    for frame, (hand, side) in enumerate(zip((truth["right"][3], truth["left"][4]), ("right", "left"), strict=True)):
        vertices = hand_vertices_world(load_hand_model(side), hand)
        root = vertices.mean(axis=0)
        points = (vertices + root * (0.0, 0.0, focal / CAMERA.fx - 1.0)) * (1.0, -1.0, -1.0)
        faces = np.argsort(order)[np.concatenate([model.faces, model.wrist_cap])] + 1
        lines = [f"v {x:.8f} {y:.8f} {z:.8f} 0.65 0.74 0.86" for x, y, z in points[order]]
        lines += ["f {} {} {}".format(*(face if side == "right" else face[[0, 2, 1]])) for face in faces]
        (shown / f"{frame:06d}_0.obj").write_text("# https://github.com/mikedh/trimesh\n" + "\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="--mano DIR"):
        list(hands_of("wilor", str(shown)).sightings(clip, CAMERA))
    frames = list(SavedHands("wilor", str(shown), MODELS).sightings(clip, CAMERA))
    assert [[seen.side for seen in frame] for frame in frames] == [["right"], ["left"], *[[]] * (NUM_FRAMES - 2)]
    for (seen,), hand in zip(frames[:2], (truth["right"][3], truth["left"][4]), strict=True):
        wanted = points_of(hand)
        turned = geometry.apply(AT, wanted - wanted.mean(axis=0))
        found = seen.points_hand_m
        np.testing.assert_allclose(found[16:] - found[16], turned[16:] - turned[16], atol=1e-6)  # tips are vertices
        np.testing.assert_allclose(found - found[16], turned - turned[16], atol=0.006)  # joints of a bent mesh are where its rest says, nearly
        far = project(CAMERA, hand_vertices_world(load_hand_model(hand.side), hand).mean(axis=0)[None])[0]
        assert np.linalg.norm(seen.points_px.mean(axis=0) - far) < 30.0


def test_meshes_and_frames_of_something_else_are_refused(tmp_path, clip):
    (tmp_path / "000003_0.obj").write_text("v 0 0 1\nv 1 0 1\nv 0 1 1\nf 1 2 3\n")
    with pytest.raises(ValueError, match="must hold 778 vertices"):
        list(SavedHands("hamer", str(tmp_path), MODELS).sightings(clip, CAMERA))
    late = tmp_path / "late"
    late.mkdir()
    one = {"pred_keypoints_3d": np.ones((1, 21, 3)), "pred_cam_t_full": np.ones((1, 3)), "is_right": np.ones(1), "scaled_focal_length": 1.0}
    np.savez(late / "frame_40.npz", **one, img_size=np.array([64, 48]))
    with pytest.raises(ValueError, match=r"tells of frame 40, hands\.mp4 has 12"):
        list(SavedHands("hamer", str(late)).sightings(clip, CAMERA))


def dyn_hamr_table(truth, T_camera_world):
    """get_optim_result's arrays: tracks and frames first, the right model's parameters for both hands, a lens for all frames."""
    rows = {side: [] for side in SIDES}
    for side in SIDES:
        for hand in truth[side]:
            world = type(hand)(side, geometry.invert(T_camera_world) @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
            rows[side].append(mano_from_hand_pose(load_hand_model("right"), world if side == "right" else mirrored(world)))
    stacked = {
        name: np.array([[told[name] for told in rows[side]] for side in SIDES], np.float32) for name in ("transl", "global_orient", "hand_pose")
    }
    return {
        "trans": stacked["transl"],
        "root_orient": stacked["global_orient"],
        "pose_body": stacked["hand_pose"],
        "latent_pose": stacked["hand_pose"],
        "betas": np.zeros((2, 10), np.float32),
        "is_right": np.tile(np.array([[0.0], [1.0]], np.float32), (1, NUM_FRAMES)),
        "world_scale": np.ones((1, 1), np.float32),
        "cam_R": np.tile(T_camera_world[:3, :3], (2, NUM_FRAMES, 1, 1)).astype(np.float32),
        "cam_t": np.tile(T_camera_world[:3, 3], (2, NUM_FRAMES, 1)).astype(np.float32),
        "intrins": np.array([CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy], np.float32) / 2.0,  # it worked at half the size
    }


def test_dyn_hamrs_hands_fall_where_they_were_in_its_camera(tmp_path, clip, truth):
    R = geometry.rotation_from_axis_angle(np.array([0.2, -0.3, 0.1]))
    table = dyn_hamr_table(truth, geometry.transform(R, np.array([0.1, 0.2, 0.3])))
    (tmp_path / "smooth_fit").mkdir()
    np.savez(path := tmp_path / "smooth_fit" / "walk_000060_world_results.npz", **table)
    frames = list(hands_of("dyn-hamr", str(path)).sightings(clip, CAMERA))
    check_points(frames, truth)
    found = find_hands(frames, clip.stamps_ns, CAMERA)
    assert all(errors_mm(found.frames, truth[side], side).mean() < 5.0 for side in SIDES)


def test_what_dyn_hamr_did_not_see_stays_missing_and_its_first_frame_is_where_it_says(tmp_path, clip, truth):
    """It looked at frames 1.. of the video and began at the third of those; its left hand was hidden in its last four rows."""
    table = dyn_hamr_table(truth, np.eye(4))
    shown = {name: value[:, : NUM_FRAMES - 3] if value.ndim > 1 and value.shape[1] == NUM_FRAMES else value for name, value in table.items()}
    np.savez(path := tmp_path / "walk_000060_world_results.npz", **shown)
    seen = np.ones((2, NUM_FRAMES - 1), dtype=bool)
    seen[0, -4:] = False
    tracks = {str(index): {"index": index, "vis_mask": mask.tolist()} for index, mask in enumerate(seen)}
    info = {"tracks": tracks, "meta": {"seq_interval": [2, NUM_FRAMES - 1], "data_interval": [1, NUM_FRAMES]}}
    (tmp_path / "track_info.json").write_text(json.dumps(info))
    frames = list(hands_of("dyn-hamr", str(path)).sightings(clip, CAMERA))
    assert [[hand.side for hand in frame] for frame in frames] == [[]] * 3 + [["left", "right"]] * 5 + [["right"]] * 4
    np.testing.assert_allclose(frames[3][1].points_px, project(CAMERA, points_of(truth["right"][0])), atol=0.3)
    np.savez(path, **{**shown, "cam_R": shown["cam_R"][:, :4]})
    with pytest.raises(ValueError, match="take smooth_fit"):
        list(hands_of("dyn-hamr", str(path)).sightings(clip, CAMERA))


def write_hawor(folder, truth, T_world_camera):
    """Its rows come 30 a second, whatever the video's rate."""
    rows = [round(frame / 16.0 * 30.0) for frame in range(NUM_FRAMES)]
    sizes = {"pred_trans": 3, "pred_rot": 3, "pred_hand_pose": 45, "pred_betas": 10}
    fields = {name: np.zeros((2, rows[-1] + 1, size), np.float32) for name, size in sizes.items()}
    for index, side in enumerate(SIDES):
        for row, hand in zip(rows, truth[side], strict=True):
            world = type(hand)(side, T_world_camera @ hand.T_world_wrist, hand.joint_angles_rad, hand.betas)
            told = mano_from_hand_pose(load_hand_model(side), world)
            fields["pred_trans"][index, row], fields["pred_rot"][index, row] = told["transl"], told["global_orient"]
            fields["pred_hand_pose"][index, row] = told["hand_pose"]
    write_joblib(folder / "world_space_res.pth", [*map(torch.from_numpy, fields.values()), np.ones((2, rows[-1] + 1), dtype=bool)])
    (folder / "SLAM").mkdir()
    pose = np.concatenate([T_world_camera[:3, 3] / 2.0, geometry.quaternion_from_rotation(T_world_camera[:3, :3])]).astype(np.float32)
    slam = {"tstamp": np.arange(3), "disps": np.ones((3, 4, 4), np.float32), "traj": np.tile(pose, (rows[-1] + 1, 1)), "scale": 2.0}
    name = f"hawor_slam_w_scale_0_{rows[-1] + 1}.npz"
    np.savez(folder / "SLAM" / name, **slam, img_focal=CAMERA.fx, img_center=np.array([CAMERA.cx, CAMERA.cy]))
    return rows


def test_hawors_hands_fall_where_they_were_in_its_camera(tmp_path, clip, truth):
    T_world_camera = geometry.transform(geometry.rotation_from_axis_angle(np.array([0.1, 0.4, -0.2])), np.array([0.3, 0.0, 0.6]))
    with pytest.raises(FileNotFoundError, match="must be HaWoR's folder"):
        list(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA))
    write_hawor(tmp_path, truth, T_world_camera)
    check_points(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA), truth)


def test_what_hawor_made_up_stays_missing(tmp_path, clip, truth):
    """After its infiller everything is valid; what its regressor looked at lies in cam_space: left to row 9, right from row 6 on."""
    rows = write_hawor(tmp_path, truth, np.eye(4))
    for index, name in enumerate(("0_9", f"6_{rows[-1]}")):
        (tmp_path / "cam_space" / str(index)).mkdir(parents=True)
        (tmp_path / "cam_space" / str(index) / f"{name}.json").write_text("{}")
    frames = list(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA))
    for row, frame in zip(rows, frames, strict=True):
        assert {hand.side for hand in frame} == ({"left"} if row <= 9 else set()) | ({"right"} if row >= 6 else set())


def test_the_command_makes_episodes_of_a_folder_of_videos_and_says_what_became_of_each(tmp_path, clip, truth, capsys):
    (crops := tmp_path / "crops" / "hands").mkdir(parents=True)
    write_crops(crops, truth)
    (tmp_path / "broken.mp4").write_text("no video")
    lens = f"{CAMERA.fx},{CAMERA.fy},{CAMERA.cx},{CAMERA.cy}"
    asked = ["--hands", "wilor", "--hands-from", str(tmp_path / "crops" / "{name}"), "--camera", "fixed", "--intrinsics", lens]
    assert main(["annotate", str(tmp_path), "--out", str(tmp_path / "out"), *asked]) == 1
    said = capsys.readouterr()
    assert "1 done, 1 failed; 12 frames" in said.out
    assert "broken failed" in said.err
    episode = open_recording(tmp_path / "out" / "hands")
    assert episode.num_frames == NUM_FRAMES
    moments = list(episode.conditions())
    wrists = np.array([[moment.hand(side).T_world_wrist[:3, 3] for side in SIDES] for moment in moments]).reshape(-1, 3)
    wanted = np.array([[points_of(truth[side][frame])[0] for side in SIDES] for frame in range(NUM_FRAMES)]).reshape(-1, 3)
    assert np.linalg.norm(project(CAMERA, wrists) - project(CAMERA, wanted), axis=1).mean() < 6.0
    (tmp_path / "broken.mp4").unlink()
    assert main(["annotate", str(tmp_path), "--out", str(tmp_path / "out"), *asked]) == 0
    assert "1 there already;" in capsys.readouterr().out, "the episode's own video is no new one"


def test_hawors_results_that_are_not_what_it_saves_name_their_file(tmp_path, clip):
    for values in ([np.ones((2, 5, 3))] * 4, [[1.0, 2.0]] * 5, [np.ones(3)] * 5, 1.0):
        write_joblib(tmp_path / "world_space_res.pth", values)
        with pytest.raises(ValueError, match=r"world_space_res\.pth must hold HaWoR's pred_trans"):
            list(SavedHands("hawor", str(tmp_path)).sightings(clip, CAMERA))


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

"""Camera paths: files of other tools, and structure from motion on a simulated room."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from annotate_world import CAMERA as WIDE
from annotate_world import sighting_of
from mano_files import RunsACommand
from test_annotate_hands import waving

from h2w_ros import geometry
from h2w_ros.annotate.backends import CAMERAS, camera_of, hands_of
from h2w_ros.annotate.cameras.colmap import ColmapCamera
from h2w_ros.annotate.cameras.path import NoCameraPathError
from h2w_ros.annotate.cameras.points import follow_points
from h2w_ros.annotate.clip import open_clip
from h2w_ros.annotate.hand_masks import hands_mask
from h2w_ros.annotate.intrinsics import Intrinsics, IntrinsicsConfig, intrinsics_of
from h2w_ros.condition import Camera
from h2w_ros.video import write_video

NUM_FRAMES = 24
CAMERA = Camera(320, 240, 260.0, 260.0, 160.0, 120.0)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "walk.mp4"
    write_video(path, np.zeros((NUM_FRAMES, 48, 64, 3), np.uint8), 16.0)
    return open_clip(path)


@pytest.fixture
def poses():
    times = np.arange(NUM_FRAMES) / 16.0
    turns = [geometry.rotation_from_axis_angle(np.array([0.2 * np.sin(time), 0.3 * time, 0.1])) for time in times]
    return np.stack([geometry.transform(turn, np.array([time, 0.2 * time**2, 1.0])) for turn, time in zip(turns, times, strict=True)])


def rows_of(poses):
    return [[*T[:3, 3], *geometry.quaternion_from_rotation(T[:3, :3])] for T in poses]


def write_tum(folder, poses):
    stamps = np.arange(NUM_FRAMES) / 16.0 + 1000.0
    (path := folder / "path.txt").write_text(
        "# comment\n" + "\n".join(" ".join(map(repr, map(float, (s, *row)))) for s, row in zip(stamps, rows_of(poses), strict=True))
    )
    return path


def write_tum_of_frames(folder, poses):
    (path := folder / "frames.txt").write_text("\n".join(" ".join(map(repr, map(float, (i, *row)))) for i, row in enumerate(rows_of(poses))))
    return path


def write_colmap(folder, poses):
    lines = []
    for index, (tx, ty, tz, x, y, z, w) in enumerate(rows_of(geometry.invert(poses))):
        lines += [
            f"{index + 1} {w!r} {x!r} {y!r} {z!r} {tx!r} {ty!r} {tz!r} 1 frame_{index + 1:04d}.png".replace("np.float64(", "").replace(")", ""),
            "",
        ]
    (folder / "images.txt").write_text("# images\n" + "\n".join(lines) + "\n")
    (folder / "cameras.txt").write_text("# cameras\n1 PINHOLE 128 96 100 102 64 48\n")
    return folder


# Of the video's own size, 64x48: what every tool here knows of the lens, at the size at which it keeps it.
LENS = np.array([50.0, 51.0, 32.0, 24.0])


def K_of(lens):
    return np.array([[lens[0], 0.0, lens[2]], [0.0, lens[1], lens[3]], [0.0, 0.0, 1.0]])


def write_vipe(folder, poses, kind="PINHOLE"):
    """As `vipe infer` leaves it: pose/, intrinsics/ with a row and a kind a frame."""
    frames = np.arange(NUM_FRAMES)
    for name in ("pose", "intrinsics"):
        (folder / name).mkdir()
    np.savez(path := folder / "pose" / "walk.npz", data=poses.astype(np.float32), inds=frames)
    np.savez(folder / "intrinsics" / "walk.npz", data=np.tile(LENS.astype(np.float32), (NUM_FRAMES, 1)), inds=frames)
    (folder / "intrinsics" / "walk_camera.txt").write_text("".join(f"{frame}: {kind}\n" for frame in frames))
    return path


def write_megasam(folder, poses):
    """As its camera tracking leaves it in outputs/: pictures and depths beside the path, at another size."""
    pictures = {"images": np.zeros((NUM_FRAMES, 8, 8, 3), np.uint8), "depths": np.ones((NUM_FRAMES, 8, 8), np.float32)}
    np.savez(path := folder / "walk_droid.npz", **pictures, intrinsic=K_of(2.0 * LENS), cam_c2w=poses.astype(np.float32))
    return path


def write_da3(folder, poses):
    """As export_format mini_npz leaves it: world to camera, a lens a frame, none like the other."""
    K = K_of(2.0 * LENS) * np.linspace(0.9, 1.1, 25)[:NUM_FRAMES, None, None] ** np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    K[NUM_FRAMES // 2] = K[NUM_FRAMES // 2 - 1] = K_of(2.0 * LENS)
    depth = np.ones((NUM_FRAMES, 8, 8), np.float32)
    w2c = geometry.invert(poses)[:, :3].astype(np.float32)
    np.savez_compressed(path := folder / "results.npz", depth=depth, conf=depth, extrinsics=w2c, intrinsics=K.astype(np.float32))
    return path


def write_da3_streaming(folder, poses):
    (path := folder / "camera_poses.txt").write_text("".join(" ".join(str(value) for value in T.flatten()) + "\n" for T in poses))
    (folder / "intrinsic.txt").write_text(f"{' '.join(map(str, (2.0 * LENS).tolist()))}\n" * NUM_FRAMES)
    return path


def droid_table(poses, shown):
    """Rows of keyframes, world to camera; the lens at an eighth of the pictures that it was shown."""
    rows = np.array(rows_of(geometry.invert(poses)))[shown].astype(np.float32)
    return {"tstamps": np.array(shown, np.float32), "poses": rows, "intrinsics": np.tile((2.0 * LENS / 8.0).astype(np.float32), (len(shown), 1))}


def write_droid(folder, poses):
    """As its demo leaves it at --reconstruction_path."""
    torch.save({name: torch.from_numpy(rows) for name, rows in droid_table(poses, range(NUM_FRAMES)).items()}, path := folder / "walk.pth")
    return path


def write_old_droid(folder, poses):
    """As its demo left it until 2025."""
    for name, rows in droid_table(poses, range(NUM_FRAMES)).items():
        np.save(folder / f"{name}.npy", rows)
    return folder


WRITERS = {
    "tum": write_tum,
    "colmap-files": write_colmap,
    "vipe": write_vipe,
    "megasam": write_megasam,
    "depth-anything-3": write_da3,
    "depth-anything-3 streaming": write_da3_streaming,
    "droid-slam": write_droid,
    "droid-slam of old": write_old_droid,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_path_of_every_tool_is_read_as_camera_to_world(name, tmp_path, clip, poses):
    source = camera_of(name.split()[0], str(WRITERS[name](tmp_path, poses)))
    path = source.path(clip, intrinsics_of(clip, IntrinsicsConfig()), [()] * NUM_FRAMES)
    np.testing.assert_allclose(np.stack(path.poses), poses, atol=1e-5)
    assert not path.is_metric
    if name != "tum":
        assert path.intrinsics.source == "camera path"
        assert (path.intrinsics.camera.fx, path.intrinsics.camera.fy) == (pytest.approx(50.0), pytest.approx(51.0))


def test_between_keyframes_the_camera_is_on_its_way_and_beyond_them_unknown(tmp_path, clip, poses):
    """Shown every third frame, it kept some: frames 0, 6, 18 and 21 of the video."""
    torch.save({name: torch.from_numpy(rows) for name, rows in droid_table(poses[::3], [0, 2, 6, 7]).items()}, tmp_path / "walk.pth")
    path = camera_of("droid-slam", str(tmp_path / "walk.pth"), 3).path(clip, intrinsics_of(clip, IntrinsicsConfig()), [()] * NUM_FRAMES)
    known = [frame for frame, pose in enumerate(path.poses) if pose is not None]
    assert known == [*range(7), *range(18, 22)]  # twelve frames, 0.75 s, are too many to say
    for frame in known:
        np.testing.assert_allclose(path.poses[frame], poses[frame], atol=0.01)


def test_a_path_of_a_lens_that_bends_is_refused(tmp_path, clip, poses):
    path = write_vipe(tmp_path, poses, "MEI")
    with pytest.raises(ValueError, match="must tell of a PINHOLE, got MEI"):
        camera_of("vipe", str(path)).path(clip, intrinsics_of(clip, IntrinsicsConfig()), [()] * NUM_FRAMES)


def test_a_reconstruction_that_holds_more_than_tensors_is_not_run(tmp_path, clip):
    (tmp_path / "walk.pth").write_bytes(pickle.dumps(RunsACommand(tmp_path / "witness"), protocol=2))
    with pytest.raises(ValueError, match=r"walk\.pth must be a file of torch\.save"):
        camera_of("droid-slam", str(tmp_path / "walk.pth")).path(clip, intrinsics_of(clip, IntrinsicsConfig()), [()] * NUM_FRAMES)
    assert not (tmp_path / "witness").exists()


def test_stamps_that_are_whole_numbers_are_frames_of_the_video(tmp_path, clip, poses):
    source = camera_of("tum", str(write_tum_of_frames(tmp_path, poses[:10])))
    path = source.path(clip, intrinsics_of(clip, IntrinsicsConfig()), [()] * NUM_FRAMES)
    assert [pose is None for pose in path.poses] == [False] * 10 + [True] * 14


def test_what_a_path_lacks_is_said(tmp_path, clip, poses):
    lens = intrinsics_of(clip, IntrinsicsConfig())
    np.savez(tmp_path / "few.npz", cam_c2w=poses[:5], intrinsic=K_of(LENS))
    np.savez(tmp_path / "other.npz", poses=poses)
    scaled = poses.copy()
    scaled[:, :3, :3] *= 1.5
    np.savez(tmp_path / "scaled.npz", cam_c2w=scaled, intrinsic=K_of(LENS))
    wanted = {"few": "holds 5 poses", "other": "cam_c2w", "scaled": "no rigid motion", "missing": "No camera path"}
    for name, words in wanted.items():
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            camera_of("megasam", str(tmp_path / f"{name}.npz")).path(clip, lens, [()] * NUM_FRAMES)


def test_a_backend_says_which_files_it_needs():
    with pytest.raises(ValueError, match="--camera vipe needs --camera-from ViPE's"):
        camera_of("vipe", None)
    with pytest.raises(ValueError, match="reads no files"):
        hands_of("mediapipe", "file")
    with pytest.raises(ValueError, match="must be one of"):
        camera_of("compass", None)
    assert all(row.needs for name, row in CAMERAS.items() if name not in ("colmap", "fixed"))


def room(path, way):
    """A textured corner of a room, filmed along a way."""
    rng = np.random.default_rng(0)
    walls = [rng.integers(0, 255, (60, 60), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)]
    # Each wall: the world's corners of its picture.
    corners = [
        [(-2, -1.5, 3), (2, -1.5, 3), (2, 1.5, 3), (-2, 1.5, 3)],
        [(-2, -1.5, 1), (-2, -1.5, 3), (-2, 1.5, 3), (-2, 1.5, 1)],
        [(-2, 1.5, 3), (2, 1.5, 3), (2, 1.5, 1), (-2, 1.5, 1)],
    ]
    pictures = []
    for T in way:
        picture = np.zeros((CAMERA.height_px, CAMERA.width_px), np.uint8)
        for wall, places in zip(walls, corners, strict=True):
            seen = geometry.apply(geometry.invert(T), np.array(places, float))
            if seen[:, 2].min() < 0.1:
                continue
            flat = seen[:, :2] / seen[:, 2:] * CAMERA.fx + (CAMERA.cx - 0.5, CAMERA.cy - 0.5)
            side = wall.shape[0]
            H = cv2.getPerspectiveTransform(np.float32([(0, 0), (side, 0), (side, side), (0, side)]), flat.astype(np.float32))
            drawn = cv2.warpPerspective(wall, H, (CAMERA.width_px, CAMERA.height_px), flags=cv2.INTER_AREA)
            picture = np.maximum(picture, drawn)
        pictures.append(np.repeat(picture[..., None], 3, axis=2))
    write_video(path, pictures, 16.0)


@pytest.mark.slow
def test_structure_from_motion_finds_the_way_of_a_camera_that_moves(tmp_path):
    pytest.importorskip("pycolmap", reason="structure from motion needs pycolmap")
    times = np.arange(NUM_FRAMES) / 16.0
    turns = [geometry.rotation_from_axis_angle(np.array([0.0, 0.1 * np.sin(2 * time), 0.0])) for time in times]
    places = [np.array([0.5 * time, 0.1 * np.sin(3 * time), 0.0]) for time in times]
    way = np.stack([geometry.transform(turn, place) for turn, place in zip(turns, places, strict=True)])
    room(tmp_path / "room.mp4", way)
    clip = open_clip(tmp_path / "room.mp4")
    path = ColmapCamera(max_features=250, num_threads=1).path(clip, Intrinsics(CAMERA, "user"), [()] * NUM_FRAMES)
    assert path.known_share == 1.0
    assert path.error_px < 1.0
    found = path.centres - path.centres[0]
    truth = way[:, :3, 3]
    scale = np.linalg.norm(truth[-1]) / np.linalg.norm(found[-1])
    first = way[0][:3, :3] @ path.poses[0][:3, :3].T
    np.testing.assert_allclose(scale * found @ first.T, truth, atol=0.02)
    turned = [geometry.rotation_angle_rad((first @ pose[:3, :3]).T @ T[:3, :3]) for pose, T in zip(path.poses, way, strict=True)]
    assert max(turned) < np.radians(1.0)


def test_a_camera_that_only_turns_has_no_path(tmp_path):
    pytest.importorskip("pycolmap", reason="structure from motion needs pycolmap")
    turns = [geometry.rotation_from_axis_angle(np.array([0.0, 0.3 * np.sin(time / 8.0), 0.0])) for time in range(NUM_FRAMES)]
    room(tmp_path / "turn.mp4", [geometry.transform(turn, np.zeros(3)) for turn in turns])
    clip = open_clip(tmp_path / "turn.mp4")
    with pytest.raises(NoCameraPathError, match="too little parallax"):
        camera_of("colmap", None).path(clip, Intrinsics(CAMERA, "user"), [()] * NUM_FRAMES)


def test_hands_and_forearms_are_masked_and_no_scene_point_lies_on_them(tmp_path):
    (hand,) = waving(num_frames=1, x_m=0.1)
    sighting = sighting_of(hand, WIDE, np.eye(4), np.random.default_rng(0))
    mask = hands_mask((sighting,), WIDE.width_px, WIDE.height_px)
    columns, rows = np.floor(sighting.points_px).astype(int).T
    assert mask[rows, columns].all()
    knuckles = sighting.points_px[[1, 4, 7, 10]].mean(axis=0)
    elbow = sighting.points_px[0] + (sighting.points_px[0] - knuckles)
    assert mask[int(elbow[1]), int(elbow[0])]
    assert 0.02 < mask.mean() < 0.4
    path = tmp_path / "noise.mp4"
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    write_video(path, [np.roll(picture, 3 * frame, axis=1) for frame in range(8)], 16.0)
    tracks = follow_points(open_clip(path), [(sighting,)] * 8, 300)
    assert all(len(points.ids) > 100 for points in tracks)
    for points in tracks:
        columns, rows = np.floor(points.places_px).astype(int).T
        assert not mask[rows, columns].any()
    # The picture moves by three pixels a frame, and so do its points.
    _, before, after = np.intersect1d(tracks[2].ids, tracks[3].ids, return_indices=True)
    moved = tracks[3].places_px[after] - tracks[2].places_px[before]
    np.testing.assert_allclose(np.median(moved, axis=0), (3.0, 0.0), atol=0.1)

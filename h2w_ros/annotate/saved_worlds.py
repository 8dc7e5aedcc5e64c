"""Hands that HaWoR and Dyn-HaMR saved in their worlds: MANO's parameters over time, and the camera that saw them.

Both fill in what they did not see, with a motion prior or by interpolation. What they saw they note in files of their own; only
that is evidence here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.joblib_file import read_joblib
from h2w_ros.annotate.saved_points import Frames, arrays, lens_at, sighting_of
from h2w_ros.annotate.sighting import HandSighting
from h2w_ros.condition import Camera, HandPose, Side
from h2w_ros.geometry import rotation_from_quaternion
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world, hand_pose_from_mano, mirrored

HAWOR_KEYS = ("pred_trans", "pred_rot", "pred_hand_pose", "pred_betas", "pred_valid")
# HaWoR resamples every video to this rate before it looks at it.
HAWOR_RATE_HZ = 30.0
HAWOR_SIDES: tuple[Side, ...] = ("left", "right")
DYN_HAMR_KEYS = ("trans", "root_orient", "pose_body", "betas", "is_right", "cam_R", "cam_t", "intrins")


def read_hawor(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """HaWoR's folder of a video: world_space_res.pth, SLAM/hawor_slam_w_scale_*.npz, and cam_space with what was seen.

    `pred_*` are (2, T, ...), left hand first, of MANO's left and right model, flat hand zero; `traj` is x y z qx qy qz qw of the camera
    in the world, to be scaled; the focal length is in pixels of the video's own pictures, whose middle is `img_center`.
    """
    table = _hawor_table(path / "world_space_res.pth")
    slam = next(iter(sorted((path / "SLAM").glob("hawor_slam_w_scale_*.npz"))), path / "SLAM" / "hawor_slam_w_scale.npz")
    track = arrays(slam, ("traj", "scale", "img_focal", "img_center"))
    focal, (cx, cy) = float(track["img_focal"].reshape(-1)[0]), track["img_center"].reshape(-1)
    lens, is_seen = lens_at((focal, focal, cx, cy), clip), _hawor_saw(path, table["pred_valid"][:, :, 0] > 0.5)
    frames: dict[int, list[HandSighting]] = {}
    for frame, stamp_ns in zip(clip.frames, clip.stamps_ns, strict=True):
        row = round(stamp_ns * 1e-9 * HAWOR_RATE_HZ)
        for hand, side in enumerate(HAWOR_SIDES):
            if row < is_seen.shape[1] and is_seen[hand, row]:
                trans, orient, angles, betas = (table[key][hand, row] for key in HAWOR_KEYS[:4])
                hand_world = _mano(mano, side, orient, angles, betas, trans)
                _add(frames, frame, side, _hawor_camera(_points(hand_world, mano), track, row), lens)
    return _settled(frames)


def _hawor_table(path: Path) -> dict[str, ndarray]:
    """The list that HaWoR saves with joblib, by names: its results in the world, both hands at all frames."""
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}: --hands-from must be HaWoR's folder of the video, which holds world_space_res.pth and SLAM/")
    values = read_joblib(path)
    try:
        table = {key: value.astype(np.float64) for key, value in zip(HAWOR_KEYS, values, strict=True)}
        num_frames = table["pred_valid"].shape[1]
        return {key: value.reshape(2, num_frames, -1) for key, value in table.items()}
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} must hold HaWoR's {', '.join(HAWOR_KEYS)}, each (2, frames, ...): {error}") from error


def _hawor_saw(path: Path, is_valid: Bool[ndarray, "2 T"]) -> Bool[ndarray, "2 T"]:
    """Frames that its regressor looked at, as its files cam_space/SIDE/FIRST_LAST.json tell; `pred_valid` is true of those it made up, too."""
    if not (path / "cam_space").is_dir():
        return is_valid
    is_seen = np.zeros_like(is_valid)
    for file in path.glob("cam_space/[01]/*_*.json"):
        first, _, last = file.stem.partition("_")
        if not (first.isdecimal() and last.isdecimal()):
            raise ValueError(f"{file} must be named after its first and last frame, FIRST_LAST.json")
        is_seen[int(file.parent.name), int(first) : int(last) + 1] = True
    return is_seen & is_valid


def _hawor_camera(points_world: Float[ndarray, "21 3"], track: Mapping[str, ndarray], row: int) -> Float[ndarray, "21 3"]:
    R_world_camera = rotation_from_quaternion(track["traj"][row, 3:7])
    return (points_world - float(track["scale"].reshape(-1)[0]) * track["traj"][row, :3]) @ R_world_camera


def read_dyn_hamr(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """Dyn-HaMR's NAME_world_results.npz, with track_info.json in a folder above: B tracks over T frames, its camera (world to camera), its lens.

    A left hand is the right model's, mirrored at x = 0 of the world after its translation was added. The results of its motion prior
    are cut into pieces of 128 frames, which are no tracks; those of its smooth_fit are whole.
    """
    table = arrays(path, DYN_HAMR_KEYS)
    num_tracks, num_frames = table["trans"].shape[:2]
    if table["cam_R"].shape[:2] != (num_tracks, num_frames):
        raise ValueError(f"{path}: trans {table['trans'].shape} and cam_R {table['cam_R'].shape} differ in tracks or frames; take smooth_fit's file")
    fx, fy, cx, cy = table["intrins"].reshape(-1, 4)[0]
    lens = lens_at((fx, fy, cx, cy), clip)
    first, is_seen = _dyn_hamr_saw(path, num_tracks, num_frames)
    frames: dict[int, list[HandSighting]] = {}
    for track, row in np.argwhere(is_seen).tolist():
        hand = _dyn_hamr_hand(table, track, row, mano)
        _add(frames, first + row, hand.side, _points(hand, mano) @ table["cam_R"][track, row].T + table["cam_t"][track, row], lens)
    return _settled(frames)


def _dyn_hamr_hand(table: Mapping[str, ndarray], track: int, row: int, mano: Path | None) -> HandPose:
    orient, angles, betas, trans = table["root_orient"][track, row], table["pose_body"][track, row], table["betas"][track], table["trans"][track, row]
    right = _mano(mano, "right", orient, angles, betas, trans)
    return right if table["is_right"][track, row] > 0.5 else mirrored(right)


def _dyn_hamr_saw(path: Path, num_tracks: int, num_frames: int) -> tuple[int, Bool[ndarray, "B T"]]:
    """The video's frame of the first row, and which rows its detector saw; without track_info.json 0, and all."""
    file = next((folder / "track_info.json" for folder in (path.parent, path.parent.parent) if (folder / "track_info.json").is_file()), None)
    if file is None:
        return 0, np.ones((num_tracks, num_frames), dtype=bool)
    try:
        told = json.loads(file.read_text())
        first, data_first = told["meta"]["seq_interval"][0], told["meta"]["data_interval"][0]
        masks = {track["index"]: np.array(track["vis_mask"], dtype=float) > 0.5 for track in told["tracks"].values()}
        is_seen = np.stack([masks[track][first : first + num_frames] for track in range(num_tracks)])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} must be Dyn-HaMR's, with tracks {{index, vis_mask}} and meta {{seq_interval, data_interval}}: {error}") from error
    if is_seen.shape[1] != num_frames:
        raise ValueError(f"{file} tells of {is_seen.shape[1]} frames from {first} on, {path.name} has {num_frames}: they are of different runs")
    return int(data_first) + int(first), is_seen


def _mano(mano: Path | None, side: Side, orient: ndarray, angles: ndarray, betas: ndarray, trans: ndarray) -> HandPose:
    return hand_pose_from_mano(load_hand_model(side, mano), orient, angles.reshape(45), betas.reshape(-1)[:10], trans, flat_hand_mean=True)


def _points(hand: HandPose, mano: Path | None) -> Float[ndarray, "21 3"]:
    return hand_joints_and_tips_world(load_hand_model(hand.side, mano), hand)


def _add(frames: dict[int, list[HandSighting]], frame: int, side: Side, points_camera: Float[ndarray, "21 3"], lens: Camera) -> None:
    if points_camera[:, 2].min() > 0.0:
        frames.setdefault(frame, []).append(sighting_of(side, points_camera, lens, along_ray=False))


def _settled(frames: Mapping[int, list[HandSighting]]) -> Frames:
    return {frame: tuple(hands) for frame, hands in frames.items()}

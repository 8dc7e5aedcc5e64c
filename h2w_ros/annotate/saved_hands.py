"""Hands that other tools saved, as sightings: they are then followed, sided and fitted like those of any detector.

Regressors on crops (HaMeR, WiLoR) give joints seen along the ray to the hand, under a focal length of their own; what places them
in the picture is their projection. World-space tools (HaWoR, Dyn-HaMR) give MANO's parameters and their camera. A new tool is a
reader and a row of `TOOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.sighting import HandSighting, Sightings
from h2w_ros.condition import Camera, HandPose, Side
from h2w_ros.geometry import rotation_from_quaternion
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.plausibility import side_by_shape
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world, hand_pose_from_mano, mirrored
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order

MIRROR = np.array([-1.0, 1.0, 1.0])
# Regressors look closer than landmark networks do.
POINT_NOISE, DEPTH_NOISE_M = 0.03, 0.008

Frames = Mapping[int, Sightings]
"""Sightings by the video's frames, in pixels of the clip's pictures."""


@dataclass(frozen=True)
class SavedHands:
    """A detector that reads a tool's results; `{name}` in the path stands for the video's name. `mano`: for tools that give MANO's parameters."""

    name: str
    path_of: str
    mano: Path | None = None

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The saved hands of every frame; FileNotFoundError or ValueError that names the file."""
        del camera
        path = Path(self.path_of.replace("{name}", clip.path.stem))
        if not path.exists():
            raise FileNotFoundError(f"No saved hands at {path}, which --hands {self.name} needs")
        found = TOOLS[self.name](path, self.mano, clip)
        return (found.get(frame, ()) for frame in clip.frames)


def read_crops(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """A folder with one .npz a frame, the frame's number last in its name, its arrays called as HaMeR's and WiLoR's demos do.

    `pred_keypoints_3d` (n, 21, 3) in OpenPose's order, `pred_cam_t_full` (n, 3), `is_right` (n), `scaled_focal_length`, `img_size` (w, h).
    Left hands come mirrored from these networks, unless the tool has turned them back; the hands' own shape tells.
    """
    del mano
    files = sorted(path.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"{path} holds no .npz files, one a frame")
    return {_frame_of(file): _crop_sightings(arrays(file, CROP_KEYS), clip) for file in files}


CROP_KEYS = ("pred_keypoints_3d", "pred_cam_t_full", "is_right", "scaled_focal_length", "img_size")


def _crop_sightings(table: Mapping[str, ndarray], clip: Clip) -> Sightings:
    sizes = table["img_size"].reshape(-1, 2)[0]
    focal = float(table["scaled_focal_length"].reshape(-1)[0])
    lens = Camera(
        clip.width_px, clip.height_px, focal * clip.width_px / sizes[0], focal * clip.height_px / sizes[1], clip.width_px / 2, clip.height_px / 2
    )
    hands = zip(table["pred_keypoints_3d"].reshape(-1, 21, 3), table["pred_cam_t_full"].reshape(-1, 3), table["is_right"].reshape(-1), strict=True)
    return tuple(_crop_sighting(points, place, "right" if is_right > 0.5 else "left", lens) for points, place, is_right in hands)


def _crop_sighting(points: Float[ndarray, "21 3"], place: Float[ndarray, "3"], side: Side, lens: Camera) -> HandSighting:
    ours = in_our_order(CONVENTIONS["points21"], points)
    if side == "left" and side_by_shape(HandSkeleton(side, ours)) == "right":
        ours = ours * MIRROR
    return _sighting(side, ours + place, lens, along_ray=True)


def read_dyn_hamr(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """Dyn-HaMR's NAME_world_results.npz: B hands over the video's T frames, its camera (world to camera), its lens.

    A left hand is the right model's, mirrored at x = 0 of the world after its translation was added.
    """
    table = arrays(path, ("trans", "root_orient", "pose_body", "betas", "is_right", "cam_R", "cam_t", "intrins"))
    lens = _at_size(table["intrins"].reshape(-1, 4)[0], clip)
    frames: dict[int, list[HandSighting]] = {}
    for hand, frame in np.ndindex(table["trans"].shape[:2]):
        right = _mano(
            mano, "right", table["root_orient"][hand, frame], table["pose_body"][hand, frame], table["betas"][hand], table["trans"][hand, frame]
        )
        pose = right if table["is_right"][hand, frame] > 0.5 else mirrored(right)
        R, t = table["cam_R"].reshape(-1, *table["cam_R"].shape[-3:])[0][frame], table["cam_t"].reshape(-1, *table["cam_t"].shape[-2:])[0][frame]
        _add(frames, frame, pose.side, _points(pose, mano) @ R.T + t, lens)
    return _settled(frames)


def read_hawor(path: Path, mano: Path | None, clip: Clip) -> Frames:
    """HaWoR's folder: world_space_res.npz (its .pth as arrays, see the error), and SLAM/hawor_slam_w_scale_*.npz; left hands are MANO's left."""
    if not (path / "world_space_res.npz").is_file():
        raise FileNotFoundError(
            f"{path} must hold world_space_res.npz. Make it from HaWoR's .pth, which is a pickle: np.savez('world_space_res.npz',"
            f" **dict(zip({list(HAWOR_KEYS)}, joblib.load('world_space_res.pth'))))"
        )
    table = arrays(path / "world_space_res.npz", HAWOR_KEYS)
    slam = next(iter(sorted((path / "SLAM").glob("hawor_slam_w_scale_*.npz"))), path / "SLAM" / "hawor_slam_w_scale.npz")
    track = arrays(slam, ("traj", "scale", "img_focal", "img_center"))
    focal, centre = float(track["img_focal"].reshape(-1)[0]), track["img_center"].reshape(-1)
    lens = _at_size(np.array([focal, focal, centre[0], centre[1]]), clip)
    frames: dict[int, list[HandSighting]] = {}
    for hand, frame in zip(*np.nonzero(table["pred_valid"].reshape(2, -1) > 0.5), strict=True):
        side: Side = "right" if hand else "left"
        shown = [table[key][hand, frame] for key in ("pred_rot", "pred_hand_pose", "pred_betas", "pred_trans")]
        R_world_camera = rotation_from_quaternion(track["traj"][frame, 3:7])
        centre_world = float(track["scale"].reshape(-1)[0]) * track["traj"][frame, :3]
        _add(frames, int(frame), side, (_points(_mano(mano, side, *shown), mano) - centre_world) @ R_world_camera, lens)
    return _settled(frames)


HAWOR_KEYS = ("pred_trans", "pred_rot", "pred_hand_pose", "pred_betas", "pred_valid")

TOOLS: Mapping[str, Callable[[Path, Path | None, Clip], Frames]] = {
    "hamer": read_crops,
    "wilor": read_crops,
    "hawor": read_hawor,
    "dyn-hamr": read_dyn_hamr,
}


def arrays(path: Path, keys: tuple[str, ...]) -> dict[str, ndarray]:
    """Numbers of a .npz by their names; ValueError that names the file and what it lacks."""
    try:
        with np.load(path, allow_pickle=False) as table:
            return {key: np.asarray(table[key], dtype=np.float64) for key in keys}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npz with the numbers {', '.join(keys)}: {error}") from error


def _mano(mano: Path | None, side: Side, orient: ndarray, angles: ndarray, betas: ndarray, trans: ndarray) -> HandPose:
    return hand_pose_from_mano(load_hand_model(side, mano), orient, angles.reshape(45), betas.reshape(-1)[:10], trans, flat_hand_mean=True)


def _points(hand: HandPose, mano: Path | None) -> Float[ndarray, "21 3"]:
    return hand_joints_and_tips_world(load_hand_model(hand.side, mano), hand)


def _add(frames: dict[int, list[HandSighting]], frame: int, side: Side, points_camera: Float[ndarray, "21 3"], lens: Camera) -> None:
    if points_camera[:, 2].min() > 0.0:
        frames.setdefault(frame, []).append(_sighting(side, points_camera, lens, along_ray=False))


def _settled(frames: Mapping[int, list[HandSighting]]) -> Frames:
    return {frame: tuple(hands) for frame, hands in frames.items()}


def _sighting(side: Side, points_camera: Float[ndarray, "21 3"], lens: Camera, along_ray: bool) -> HandSighting:
    places = points_camera[:, :2] / points_camera[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    shape = points_camera - points_camera.mean(axis=0)
    return HandSighting(side, places, shape, along_ray=along_ray, point_noise=POINT_NOISE, depth_noise_m=DEPTH_NOISE_M)


def _at_size(numbers: ndarray, clip: Clip) -> Camera:
    """A lens of the tool's picture, whose size its middle tells, at the clip's size."""
    fx, fy, cx, cy = numbers
    across, down = clip.width_px / (2.0 * cx), clip.height_px / (2.0 * cy)
    return Camera(clip.width_px, clip.height_px, fx * across, fy * down, cx * across, cy * down)


def _frame_of(file: Path) -> int:
    digits = "".join(character if character.isdigit() else " " for character in file.stem).split()
    if not digits:
        raise ValueError(f"{file} must end with its frame's number")
    return int(digits[-1])

"""Small files in the layouts of public datasets, with known hands: every index fingertip is a dot of its own grey in the picture."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from dataclasses import replace
from typing import NamedTuple

import cv2
import h5py
import numpy as np
from hand_motion import moving_hand

from h2w_ros import geometry
from h2w_ros.camera import project
from h2w_ros.condition import Camera
from h2w_ros.hands.model import checked_arrays, hand_model, load_hand_model, read_arrays
from h2w_ros.hands.skinning import hand_joints_and_tips_world, skin
from h2w_ros.hands.trackers.names import OPENXR_NAMES, POINTS
from h2w_ros.video import TO_TRAIN, write_video

SIDES = ("left", "right")
# Index fingertip of each side is a dot of this grey level: videos keep levels in place, and colours only to half a pixel.
GREYS = {"left": 245, "right": 10}
INDEX_TIP = 17
BACKGROUND = 128
DOT_RADIUS_PX = 4


class ManoPose(NamedTuple):
    """One hand in MANO's own numbers: what files hold."""

    orientation_rad: np.ndarray
    angles_rad: np.ndarray
    betas: np.ndarray
    translation_m: np.ndarray


def released_model(mano, side):
    """MANO's model as its file is, the left one's shape directions never mirrored: what smplx makes of it."""
    file = mano / f"MANO_{side.upper()}.pkl"
    return hand_model(side, checked_arrays(read_arrays(file), file))


def points_of(model, pose, adds_mean):
    """The 21 points in the frame of the translation, by smplx's rule: everything turns about the rest wrist, then moves."""
    angles = pose.angles_rad + (model.pose_mean_rad if adds_mean else 0.0)
    wrist = model.joint_regressor[0] @ (model.template_vertices + model.shape_directions @ pose.betas)
    R = cv2.Rodrigues(np.asarray(pose.orientation_rad, dtype=np.float64))[0]
    return skin(model, angles, pose.betas).joints_and_tips @ R.T + wrist + pose.translation_m


def head_poses(num_frames):
    """T_world_camera of a head that looks down at a table and moves a little."""
    angles = np.linspace(0.0, 0.4, num_frames)
    eyes = [np.array([0.2 * np.sin(angle), -0.5 + 0.1 * angle, 1.5]) for angle in angles]
    return [geometry.look_at(eye, np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.0, 1.0])) for eye in eyes]


def pose_before(T_world_camera, model, side, rng, adds_mean, num_angles=45):
    """A bent hand some 45 cm before this camera, its wrist to the side that it belongs to, in MANO's numbers in the world."""
    betas, angles = rng.normal(scale=0.5, size=10), rng.normal(scale=0.15, size=num_angles)
    x = 0.09 if side == "right" else -0.09
    wrist_world = geometry.apply(T_world_camera, np.array([x, 0.05, 0.45]))
    R_camera_hand = geometry.rotation_from_axis_angle(np.array([0.0, 0.0, 0.5 if side == "right" else -0.5]) + rng.normal(scale=0.3, size=3))
    orientation = geometry.axis_angle_from_rotation(T_world_camera[:3, :3] @ R_camera_hand)
    rest_wrist = model.joint_regressor[0] @ (model.template_vertices + model.shape_directions @ betas)
    return ManoPose(orientation, angles, betas, wrist_world - rest_wrist)


def dotted(height_px, width_px, dots):
    """A grey RGB picture with a dot at every (u, v) that counts from the first pixel's centre, {side: (u, v)}."""
    picture = np.full((height_px, width_px, 3), BACKGROUND, dtype=np.uint8)
    for side, (u, v) in dots.items():
        centre = (round(16 * u), round(16 * v))
        cv2.circle(picture, centre, 16 * DOT_RADIUS_PX, (GREYS[side],) * 3, -1, cv2.LINE_AA, shift=4)
    return picture


def dot_in(picture, side):
    """Where the dot of this side is, corner origin; None when it is not there."""
    contrast = (picture.mean(axis=2) - BACKGROUND) / (GREYS[side] - BACKGROUND)
    weights = np.where(contrast > 0.2, contrast, 0.0)
    if weights.sum() < 4.0:
        return None
    v, u = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.array([(u * weights).sum(), (v * weights).sum()]) / weights.sum()


def write_jpeg(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(picture))


def jpeg(picture):
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


ARCTIC_K = np.array([[1960.0, 0.0, 1370.0], [0.0, 1955.0, 1015.0], [0.0, 0.0, 1.0]])
ARCTIC_DIST8 = np.array([0.25, -0.12, 0.001, -0.0008, -0.02, 0.55, -0.05, -0.03])
ARCTIC_OFFSET = 3


def write_arctic(root, mano, num_frames=8, sequence="s01/box_grab_01", seed=0):
    """raw_seqs, meta and cropped_images of one sequence; returns the poses in MANO's numbers by side and frame."""
    rng = np.random.default_rng(seed)
    cameras = head_poses(num_frames)
    models = {side: released_model(mano, side) for side in SIDES}
    first = {side: pose_before(cameras[0], models[side], side, rng, adds_mean=True) for side in SIDES}
    hands = {side: [_shifted(pose, k) for k in range(num_frames)] for side, pose in first.items()}
    raw = root / "raw_seqs" / sequence
    raw.parent.mkdir(parents=True)
    np.save(raw.with_name(raw.name + ".mano.npy"), {side: _arctic_hand(poses) for side, poses in hands.items()}, allow_pickle=True)
    T_camera_world = np.stack([geometry.invert(T) for T in cameras])
    camera = {"R_k_cam_np": T_camera_world[:, :3, :3], "T_k_cam_np": T_camera_world[:, :3, 3:], "intrinsics": ARCTIC_K, "dist8": ARCTIC_DIST8}
    np.save(raw.with_name(raw.name + ".egocam.dist.npy"), {**camera, "ego_markers.label": ["a", "b"]}, allow_pickle=True)
    (root / "meta").mkdir()
    misc = {sequence[:3]: {"ioi_offset": ARCTIC_OFFSET, "image_size": [[2800, 2000]] * 9, "gender": "female"}}
    (root / "meta" / "misc.json").write_text(json.dumps(misc))
    for frame in range(-2, num_frames):
        dots = _arctic_dots(models, hands, cameras, max(frame, 0))
        write_jpeg(root / "cropped_images" / sequence / "0" / f"{frame + ARCTIC_OFFSET:05d}.jpg", dotted(600, 840, dots))
    return hands


def _shifted(pose, frame):
    return pose._replace(translation_m=pose.translation_m + frame * np.array([0.003, 0.0, 0.002]))


def _arctic_hand(poses):
    names = {"rot": "orientation_rad", "pose": "angles_rad", "trans": "translation_m"}
    arrays = {key: np.stack([getattr(pose, name) for pose in poses]).astype(np.float32) for key, name in names.items()}
    return {**arrays, "shape": poses[0].betas.astype(np.float32), "fitting_err": np.zeros(len(poses))}


def _arctic_dots(models, hands, cameras, frame):
    """Fingertips through the distorting lens, then in the picture at 0.3 of its size."""
    dots = {}
    for side in SIDES:
        tip = points_of(models[side], hands[side][frame], adds_mean=True)[INDEX_TIP]
        tip_camera = geometry.apply(geometry.invert(cameras[frame]), tip)
        pixel = cv2.projectPoints(tip_camera[None], np.zeros(3), np.zeros(3), ARCTIC_K, ARCTIC_DIST8)[0].ravel()
        dots[side] = 0.3 * (pixel + 0.5) - 0.5
    return dots


# k0..k5, p0, p1, s0..s3: as strong as an Aria's.
FISHEYE = (-0.025, 0.10, -0.065, 0.010, 0.001, -0.0002, 0.0004, -0.0003, -0.0008, 0.0002, 0.0006, -0.0001)
# The head's frame is upright; the sensor is turned a quarter counterclockwise in it: its x points up, its y to the right.
T_UPRIGHT_SENSOR = geometry.transform(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).T, np.zeros(3))


def fisheye_pixel(point, K):
    """Where a FISHEYE624 lens shows one point of its own frame, from the first pixel's centre; written out term by term."""
    k0, k1, k2, k3, k4, k5, p0, p1, s0, s1, s2, s3 = FISHEYE
    a, b = point[0] / point[2], point[1] / point[2]
    r = np.hypot(a, b)
    t = np.arctan(r)
    t_d = t + k0 * t**3 + k1 * t**5 + k2 * t**7 + k3 * t**9 + k4 * t**11 + k5 * t**13
    x, y = a * t_d / r, b * t_d / r
    q = x**2 + y**2
    u = x + p0 * (3 * x**2 + y**2) + 2 * p1 * x * y + s0 * q + s1 * q**2
    v = y + p1 * (x**2 + 3 * y**2) + 2 * p0 * x * y + s2 * q + s3 * q**2
    return np.array([K[0] * u + K[2], K[1] * v + K[3]])


def write_hot3d(path, mano, stream="214-1", num_frames=6, seed=0):
    """One clip as a tar file, the sensor on its side; Aria's colour stream has one focal length, Quest's grey ones have two."""
    rng = np.random.default_rng(seed)
    width, height, K = (704, 700, (305.0, 305.0, 355.0, 341.0)) if stream == "214-1" else (640, 512, (260.0, 262.0, 322.0, 250.0))
    sensors = [T @ T_UPRIGHT_SENSOR for T in head_poses(num_frames)]
    models = {side: _mirrored_left(released_model(mano, side)) for side in SIDES}
    betas = rng.normal(scale=0.5, size=10)
    thetas = {side: rng.normal(scale=0.4, size=15) for side in SIDES}
    entries = {"__hand_shapes.json__": json.dumps({"mano": betas.tolist(), "umetrack": {}}).encode()}
    for frame, T_world_sensor in enumerate(sensors):
        hands, dots = {}, {}
        for side, model in models.items():
            start = pose_before(head_poses(num_frames)[0], model, side, np.random.default_rng(seed), adds_mean=True)
            pose = _shifted(start._replace(angles_rad=thetas[side] @ model.pose_components[:15]), frame)
            pose = pose._replace(betas=betas)
            wrist = [*pose.orientation_rad.tolist(), *pose.translation_m.tolist()]
            hands[side] = {"mano_pose": {"thetas": thetas[side].tolist(), "wrist_xform": wrist}, "umetrack_pose": {}}
            tip = geometry.apply(geometry.invert(T_world_sensor), points_of(model, pose, adds_mean=True)[INDEX_TIP])
            dots[side] = fisheye_pixel(tip, K)
        key = f"{frame:06d}"
        parameters = [*(K[1:] if stream == "214-1" else K), *FISHEYE]
        calibration = {
            "image_width": width,
            "image_height": height,
            "projection_model_type": "CameraModelType.FISHEYE624",
            "projection_params": parameters,
        }
        camera = {"calibration": {**calibration, "label": "camera-rgb", "serial_number": "1"}, "T_world_from_camera": _se3(T_world_sensor)}
        entries[f"{key}.cameras.json"] = json.dumps({stream: camera}).encode()
        entries[f"{key}.hands.json"] = json.dumps(hands).encode()
        stamp_ns = 40_000_000_000 + round(frame * 1e9 / 30)
        entries[f"{key}.info.json"] = json.dumps({"device": "Aria", "image_timestamps_ns": {stream: stamp_ns}}).encode()
        picture = dotted(height, width, dots)
        entries[f"{key}.image_{stream}.jpg"] = jpeg(picture) if stream == "214-1" else cv2.imencode(".jpg", picture[..., 0])[1].tobytes()
    write_tar(path, entries)


def write_tar(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _mirrored_left(model):
    """The left model with the shape directions that its vertices would want."""
    if model.side == "right":
        return model
    return replace(model, shape_directions=model.shape_directions * np.array([-1.0, 1.0, 1.0])[:, None])


def _se3(T):
    x, y, z, w = geometry.quaternion_from_rotation(T[:3, :3])
    return {"quaternion_wxyz": [w, x, y, z], "translation_xyz": T[:3, 3].tolist()}


def tracked_hands(num_frames, rate_hz, cameras, seed=0):
    """Both hands of one person before a moving head: by side, one HandPose a frame, of one shape each, in a world with z up."""
    found = {}
    for side in SIDES:
        x = 0.1 if side == "right" else -0.1
        found[side] = []
        for T_world_camera, hand in zip(cameras, moving_hand(seed, num_frames, rate_hz, side), strict=True):
            T_camera_wrist = geometry.transform(hand.T_world_wrist[:3, :3], np.array([x, 0.04, 0.5]) + 0.1 * hand.T_world_wrist[:3, 3])
            found[side].append(replace(hand, T_world_wrist=T_world_camera @ T_camera_wrist))
    return found


def joints_of(hand):
    """The 21 points of a hand by their OpenXR names, and what lies between: palm and metacarpals."""
    points = hand_joints_and_tips_world(load_hand_model(hand.side), hand)
    named = {name: points[place] for name, place in POINTS.items() if place is not None}
    for finger in ("index", "middle", "ring", "little"):
        named[f"{finger}_metacarpal"] = 0.8 * named["wrist"] + 0.2 * named[f"{finger}_proximal"]
    return {**named, "palm": 0.5 * (named["wrist"] + named["middle_proximal"])}


def tip_dots(hands, camera, T_world_camera):
    """Where index fingertips are in a pinhole's picture, from the first pixel's centre."""
    tips = {hand.side: hand_joints_and_tips_world(load_hand_model(hand.side), hand)[INDEX_TIP] for hand in hands}
    return {side: project(camera, geometry.apply(geometry.invert(T_world_camera), tip)[None])[0] - 0.5 for side, tip in tips.items()}


# Our z-up world seen from ARKit's y-up one: y up stays up, and ARKit looks along -z where we look along x.
T_ARKIT_WORLD = geometry.transform(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]), np.zeros(3))
ARKIT_THUMB = {"metacarpal": "Knuckle", "proximal": "IntermediateBase", "distal": "IntermediateTip", "tip": "Tip"}
ARKIT_FINGER = {"metacarpal": "Metacarpal", "proximal": "Knuckle", "intermediate": "IntermediateBase", "distal": "IntermediateTip", "tip": "Tip"}


def arkit_name(side, name):
    """EgoDex's name of a joint that OpenXR calls so."""
    finger, _, bone = name.partition("_")
    if finger == "wrist":
        return f"{side}Hand"
    return f"{side}Thumb{ARKIT_THUMB[bone]}" if finger == "thumb" else f"{side}{finger.title()}Finger{ARKIT_FINGER[bone]}"


def write_egodex(stem, num_frames=26, metres=1.0, seed=0):
    """<stem>.hdf5 and <stem>.mp4 at 30 Hz; joints in ARKit's world, in units of so many metres."""
    cameras, camera = head_poses(num_frames), Camera(320, 180, 153.0, 153.0, 160.0, 90.0)
    hands = tracked_hands(num_frames, 30.0, cameras, seed)
    stem.parent.mkdir(parents=True, exist_ok=True)
    transforms = {"camera": np.stack([T_ARKIT_WORLD @ T for T in cameras])}
    for side in SIDES:
        for frame, hand in enumerate(hands[side]):
            for name, point in joints_of(hand).items():
                if name != "palm":
                    matrices = transforms.setdefault(arkit_name(side, name), np.tile(np.eye(4), (num_frames, 1, 1)))
                    matrices[frame, :3, 3] = geometry.apply(T_ARKIT_WORLD, point) / metres
    with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
        file["camera/intrinsic"] = camera.K.astype(np.float32)
        for name, matrices in transforms.items():
            file[f"transforms/{name}"] = matrices.astype(np.float32)
            if name != "camera":
                file[f"confidences/{name}"] = np.full(num_frames, 0.9, dtype=np.float32)
        file.attrs["llm_description"] = "fold the towel"
    pictures = [dotted(180, 320, tip_dots([hands[side][k] for side in SIDES], camera, cameras[k])) for k in range(num_frames)]
    write_video(stem.with_suffix(".mp4"), pictures, 30.0, TO_TRAIN)
    return hands


HOLOLENS_BEGIN = 637926112345678901
# The recorded pose of a camera has x forward, y left, z up.
T_RECORDED_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write_holoassist(session, num_frames=18, num_words=3, metres=1.0, seed=0):
    """Export_py of one session: poses and hands at 15 Hz from a third of a second on, a video at 30 Hz."""
    export = session / "Export_py"
    (export / "Video").mkdir(parents=True)
    (export / "Hands").mkdir()
    cameras, camera = head_poses(num_frames), Camera(320, 180, 245.0, 246.0, 158.5, 91.5)
    hands = tracked_hands(num_frames, 15.0, cameras, seed)
    stamps = [HOLOLENS_BEGIN + 3_333_333 + round(k * 1e7 / 15) for k in range(num_frames)]
    rows = {
        "Video/Pose_sync.txt": [[k / 15, stamp, *_words(T @ T_RECORDED_OPTICAL.T)] for k, (stamp, T) in enumerate(zip(stamps, cameras, strict=True))]
    }
    for side in SIDES:
        rows[f"Hands/{side.title()}_sync.txt"] = [
            [k / 15, stamp, *[1] * (num_words - 2), *_hololens_joints(hands[side][k], metres), *[1] * 52] for k, stamp in enumerate(stamps)
        ]
    K = [camera.fx, 0, camera.cx - 0.5, 0, camera.fy, camera.cy - 0.5, 0, 0, 1]
    rows["Video/Intrinsics.txt"] = [[*K, 0, 0, 0, camera.width_px, camera.height_px]]
    rows["Video/VideoMp4Timing.txt"] = [[HOLOLENS_BEGIN], [stamps[-1]]]
    for name, lines in rows.items():
        (export / name).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    dots = [tip_dots([hands[side][k] for side in SIDES], camera, cameras[k]) for k in range(num_frames)]
    pictures = [dotted(180, 320, dots[min(max(round((k / 30 - 1 / 3) * 15), 0), num_frames - 1)]) for k in range(10 + 2 * num_frames)]
    write_video(export / "Video_pitchshift.mp4", pictures, 30.0, TO_TRAIN)
    return hands


def _words(T):
    return [float(number) for number in T.ravel()]


def _hololens_joints(hand, metres):
    points, poses = joints_of(hand), []
    for name in OPENXR_NAMES:
        poses += _words(geometry.transform(np.eye(3), points[name] / metres))
    return poses


HOI4D_SEQUENCE = "ZY20210800001/H1/C1/N19/S100/s02/T1"


def write_hoi4d(root, mano, num_frames=6, frames_per_pose=1, seed=0):
    """One sequence: video, camera -> world poses, hands in the camera's frame with the key points of their own joints."""
    rng, cameras = np.random.default_rng(seed), head_poses(num_frames)
    K = np.array([[520.0, 0.0, 319.0], [0.0, 522.0, 181.0], [0.0, 0.0, 1.0]])
    camera = Camera(640, 360, K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5)
    lines, pictures = [], []
    models = {side: released_model(mano, side) for side in SIDES}
    first = {side: pose_before(np.eye(4), models[side], side, rng, adds_mean=False) for side in SIDES}
    for frame, T_world_camera in enumerate(cameras):
        lines += [f"{frame} {frame} {frame + 1}", *(" ".join(map(str, row)) for row in T_world_camera)]
        dots = {}
        for side in SIDES:
            pose = _shifted(first[side], frame)
            points_px = project(camera, points_of(models[side], pose, adds_mean=False)) - 0.5
            dots[side] = points_px[INDEX_TIP]
            table = {"poseCoeff": np.concatenate([pose.orientation_rad, pose.angles_rad]), "beta": pose.betas, "trans": pose.translation_m}
            file = root / "handpose" / f"refinehandpose_{side}" / HOI4D_SEQUENCE / f"{frame}.pickle"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pickle.dumps({**table, "kps2D": points_px[MANO21_TO_21]}))
        pictures += [dotted(360, 640, dots)] * frames_per_pose
    write_video(root / "HOI4D_release" / HOI4D_SEQUENCE / "align_rgb" / "image.mp4", pictures, 15.0 * frames_per_pose, TO_TRAIN)
    log = root / "HOI4D_annotations" / HOI4D_SEQUENCE / "3Dseg" / "output.log"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(lines) + "\n")
    intrinsics = root / "camera_params" / "ZY20210800001" / "intrin.npy"
    intrinsics.parent.mkdir(parents=True)
    np.save(intrinsics, K)
    return cameras


# Which of MANO's 21 points each of the usual 21 key points is: wrist, then thumb, index, middle, ring, pinky from the palm out.
MANO21_TO_21 = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]

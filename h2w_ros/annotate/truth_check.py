"""How far annotation is from the truth, on simulated episodes whose hands and cameras are known.

The videos are the episodes' pictures, compressed; the cameras are found by structure from motion on them. Networks that find hands
hardly see simulated ones, so a detector that knows them, and errs like a network, stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.cameras.colmap import ColmapCamera
from h2w_ros.annotate.cameras.path import CameraPath, CameraSource, NoCameraPathError
from h2w_ros.annotate.clip import open_clip
from h2w_ros.annotate.intrinsics import IntrinsicsConfig
from h2w_ros.annotate.pipeline import AnnotateConfig, Annotation, annotate_clip
from h2w_ros.annotate.true_hands import DetectorErrors, TrueHands
from h2w_ros.condition import Condition
from h2w_ros.geometry import Transform, apply, invert, rotation_angle_rad
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.video import write_video
from h2w_ros.world.simulate import simulate
from h2w_ros.world.spec import EVALUATION_SEEDS_FROM, WorldSpec

# A head that does not move has no path to find, and is left out.
WORLD = WorldSpec(width_px=640, height_px=480, num_frames=81, fixed_camera=0.0, supersampling=1, shadow_map_px=1024)
# A path is right where it is no further off than this share of its own extent: paths are some tenths of it off, or nearly all of it.
RIGHT_SHARE = 0.5


@dataclass(frozen=True)
class TruthPlan:
    """Episodes of so many seeds from the first on, whose hands a detector of these errors sees."""

    num_clips: int = 12
    first_seed: int = EVALUATION_SEEDS_FROM
    world: WorldSpec = WORLD
    errors: DetectorErrors = field(default_factory=DetectorErrors)
    cameras: CameraSource = field(default_factory=lambda: ColmapCamera(num_threads=1))

    def __post_init__(self) -> None:
        if self.num_clips < 1:
            raise ValueError(f"num_clips must be at least 1, got {self.num_clips}")


def measure_truth(plan: TruthPlan, folder: Path, tick: Callable[[], object]) -> dict[str, Any]:
    """A row a clip, and what they say together."""
    rows = []
    for seed in range(plan.first_seed, plan.first_seed + plan.num_clips):
        rows.append(measure_clip(seed, plan, folder))
        tick()
    return {"summary": summary(rows), "clips": rows}


def measure_clip(seed: int, plan: TruthPlan, folder: Path) -> dict[str, Any]:
    """One episode annotated, and its errors; `reasons` are those of the gate."""
    moments = simulate(seed, plan.world).conditions
    camera = moments[0].camera
    path = folder / f"{seed}.mp4"
    write_video(path, (moment.image for moment in moments if moment.image is not None), plan.world.rate_hz)
    clip = open_clip(path)
    known = IntrinsicsConfig((camera.fx, camera.fy, camera.cx, camera.cy))
    sightings = list(TrueHands(moments, seed, plan.errors).sightings(clip, camera))
    try:
        found = annotate_clip(clip, sightings, plan.cameras, AnnotateConfig(intrinsics=known))
    except NoCameraPathError as error:
        return {"seed": seed, "reasons": [str(error)]}
    if not len(found.path.centres):
        return {"seed": seed, "reasons": list(found.reasons)}
    return {
        "seed": seed,
        "reasons": list(found.reasons),
        "scores": asdict(found.scores),
        **hand_errors(found, moments),
        **camera_errors(found.path, moments),
    }


def hand_errors(found: Annotation, truth: Sequence[Condition]) -> dict[str, float]:
    """Mean distance of 21 points in the camera's frame [mm], as found, and after one scale of the clip: size and distance cannot be told apart."""
    pairs = [pair for moment, true in zip(found.moments, truth, strict=True) if moment is not None for pair in _hand_pairs(moment, true)]
    if not pairs:
        return {}
    places, wanted = (np.concatenate(points) for points in zip(*pairs, strict=True))
    scale = float((places * wanted).sum() / (places * places).sum())
    off, off_scaled = (1e3 * float(np.linalg.norm(by * places - wanted, axis=1).mean()) for by in (1.0, scale))
    return {"hands_mm": off, "hands_scaled_mm": off_scaled}


def _hand_pairs(moment: Condition, true: Condition) -> list[tuple[ndarray, ndarray]]:
    return [(_points_camera(moment, hand.side), _points_camera(true, hand.side)) for hand in moment.hands if true.hand(hand.side) is not None]


def _points_camera(moment: Condition, side: Any) -> Float[ndarray, "21 3"]:
    hand = moment.hand(side)
    assert hand is not None
    return apply(invert(moment.T_world_camera), hand_joints_and_tips_world(load_hand_model(side), hand))


def camera_errors(path: CameraPath, truth: Sequence[Condition]) -> dict[str, float]:
    """ATE [mm] and mean angle [deg] after the best similarity, the path's extent [mm], and by how much its metres are too long (as a factor)."""
    found = [pose for pose in path.poses if pose is not None]
    wanted = [moment.T_world_camera for moment, pose in zip(truth, path.poses, strict=True) if pose is not None]
    places, true_places = (np.array([pose[:3, 3] for pose in poses]) for poses in (found, wanted))
    scale, R = aligned(places, true_places, found, wanted)
    off = scale * (places - places.mean(axis=0)) @ R.T - (true_places - true_places.mean(axis=0))
    angles = [rotation_angle_rad((R @ a[:3, :3]).T @ b[:3, :3]) for a, b in zip(found, wanted, strict=True)]
    extent = float(np.sqrt(np.square(true_places - true_places.mean(axis=0)).sum(axis=1).mean()))
    ate = float(np.sqrt(np.square(off).sum(axis=1).mean()))
    return {"ate_mm": 1e3 * ate, "extent_mm": 1e3 * extent, "angle_deg": float(np.degrees(np.mean(angles))), "scale_factor": 1.0 / scale}


def aligned(
    places: Float[ndarray, "n 3"], wanted: Float[ndarray, "n 3"], found: Sequence[Transform], true: Sequence[Transform]
) -> tuple[float, Float[ndarray, "3 3"]]:
    """The scale and rotation that take a path to another: the rotation by the cameras' own, which a short path does not show."""
    U, _, Vt = np.linalg.svd(sum(b[:3, :3] @ a[:3, :3].T for a, b in zip(found, true, strict=True)))
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    turned, centred = (places - places.mean(axis=0)) @ R.T, wanted - wanted.mean(axis=0)
    return max(float((turned * centred).sum() / max(float((turned * turned).sum()), 1e-12)), 1e-6), R


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the clips that the gate lets through; how scores tell right paths from wrong ones, and what the gate does to either."""
    known = [row for row in rows if "ate_mm" in row]
    kept = [row for row in known if not row["reasons"]]
    names = ("hands_mm", "hands_scaled_mm", "ate_mm", "angle_deg")
    right, wrong = ([row for row in known if is_right(row) == verdict] for verdict in (True, False))
    return {
        "clips": len(rows),
        "paths_found": len(known),
        "accepted": len(kept),
        "accepted_medians": {name: _median([row[name] for row in kept if name in row]) for name in names},
        "accepted_scale_off": _median([abs(float(np.log(row["scale_factor"]))) for row in kept]),
        "right_paths": _gate(right),
        "wrong_paths": _gate(wrong),
    }


def is_right(row: dict[str, Any]) -> bool:
    """Whether a clip's path is the true one, up to its scale."""
    return bool(row["ate_mm"] <= RIGHT_SHARE * row["extent_mm"])


def _gate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scores = {name: sorted(round(row["scores"][name], 2) for row in rows) for name in ("agreement", "parallax_agreement", "camera_error_px")}
    return {"number": len(rows), "accepted": sum(not row["reasons"] for row in rows), **scores}


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None

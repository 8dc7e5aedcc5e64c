"""Annotation beside the truth: what the bench measures is right where the answer is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from h2w_ros.annotate.cameras.path import CameraPath
from h2w_ros.annotate.intrinsics import Intrinsics
from h2w_ros.annotate.true_hands import DetectorErrors, TrueHands
from h2w_ros.annotate.truth_check import TruthPlan, camera_errors, measure_truth, summary
from h2w_ros.camera import project
from h2w_ros.condition import Camera, Condition
from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.world.simulate import simulate
from h2w_ros.world.spec import WorldSpec

CAMERA = Camera(320, 240, 260.0, 260.0, 160.0, 120.0)
SMALL = WorldSpec(width_px=160, height_px=120, num_frames=14, fixed_camera=0.0, supersampling=1, shadow_map_px=0)


def path_of(poses):
    return CameraPath(Intrinsics(CAMERA, "user"), tuple(poses), is_metric=True, source="test")


def way(num_frames=20):
    times = np.arange(num_frames) / 16.0
    return [
        transform(rotation_from_axis_angle(np.array([0.1 * t, 0.2 * np.sin(t), 0.0])), np.array([0.2 * t, 0.1 * np.cos(2 * t), 0.3])) for t in times
    ]


def test_errors_of_a_path_do_not_depend_on_its_world_and_scale_is_told_apart():
    truth = [Condition(index, CAMERA, T, ()) for index, T in enumerate(way())]
    T_other_world = transform(rotation_from_axis_angle(np.array([0.4, -1.0, 0.3])), np.array([5.0, 2.0, 1.0]))
    found = [T_other_world @ pose for pose in way()]
    for pose in found:
        pose[:3, 3] *= 1.25
    errors = camera_errors(path_of([None, *found[1:]]), truth)
    assert errors["ate_mm"] < 1e-6
    assert errors["angle_deg"] < 1e-3
    assert errors["scale_factor"] == pytest.approx(1.25)
    turn = transform(rotation_from_axis_angle(np.array([0.0, 0.0, np.radians(4.0)])), np.zeros(3))
    turned = [pose @ turn if index % 2 else pose for index, pose in enumerate(way())]
    assert camera_errors(path_of(turned), truth)["angle_deg"] == pytest.approx(2.0, abs=0.01)
    shaken = [transform(pose[:3, :3], pose[:3, 3] + (0.0, 0.0, 0.01 * (-1) ** index)) for index, pose in enumerate(way())]
    assert camera_errors(path_of(shaken), truth)["ate_mm"] == pytest.approx(10.0, rel=0.05)


@dataclass(frozen=True)
class TrueCamera:
    """Structure from motion that is right, in units of its own."""

    poses: tuple
    name: str = "true"

    def path(self, clip, intrinsics, sightings):
        path = path_of([transform(pose[:3, :3], 4.0 * pose[:3, 3]) for pose in self.poses])
        table = np.stack([*np.meshgrid(np.linspace(-0.4, 0.4, 40), np.linspace(-0.4, 0.4, 40)), np.zeros((40, 40))], axis=-1).reshape(-1, 3)
        return replace(
            path, intrinsics=intrinsics, is_metric=False, points_world=4.0 * table, points_frames=np.tile((0, len(self.poses) - 1), (len(table), 1))
        )


def test_an_episode_that_is_annotated_with_its_own_camera_is_right_up_to_the_hands_scale(tmp_path):
    seed = 900_008
    poses = tuple(moment.T_world_camera for moment in simulate(seed, SMALL).conditions)
    ticks = []
    told = measure_truth(TruthPlan(1, seed, SMALL, cameras=TrueCamera(poses)), tmp_path, lambda: ticks.append(1))
    (row,) = told["clips"]
    assert len(ticks) == 1
    assert row["ate_mm"] < 0.05 * row["extent_mm"]
    assert row["angle_deg"] < 0.1
    assert row["hands_scaled_mm"] <= row["hands_mm"] < 40.0
    assert 0.6 < row["scale_factor"] < 1.2
    assert told["summary"]["right_paths"]["number"] == 1


def test_the_detector_that_knows_errs_by_as_much_as_it_is_told():
    moments = simulate(900_008, SMALL).conditions
    exact = list(TrueHands(moments, errors=DetectorErrors(0.0, 0.0, 0.0, 0.0)).told())
    noisy = list(TrueHands(moments, errors=DetectorErrors(0.05, 0.01, 0.1, 0.3)).told())
    assert sum(map(len, noisy)) < sum(map(len, exact))
    off = []
    for moment, seen, told in zip(moments, exact, noisy, strict=True):
        for sighting in seen:
            hand = moment.hand(sighting.side)
            points = apply(invert(moment.T_world_camera), hand_joints_and_tips_world(load_hand_model(hand.side), hand))
            np.testing.assert_allclose(sighting.points_px, project(moment.camera, points))
            off += [np.linalg.norm(other.points_px - sighting.points_px) / sighting.size_px for other in told if other.side == sighting.side]
    # Two coordinates of 21 points, together one standard deviation a point.
    assert np.mean(off) / np.sqrt(21) == pytest.approx(0.05, rel=0.25)


def test_the_summary_counts_what_the_gate_does_to_right_and_wrong_paths():
    def row(ate, error, reasons):
        known = {"hands_mm": 10.0, "hands_scaled_mm": 8.0, "ate_mm": ate, "extent_mm": 30.0, "angle_deg": 0.1, "scale_factor": 1.1}
        return {"seed": 0, "reasons": reasons, "scores": {"camera_error_px": error, "agreement": 0.9, "parallax_agreement": 0.8}, **known}

    told = summary([row(2.0, 0.5, []), row(3.0, 0.8, ["trembles"]), row(20.0, 1.3, ["off"]), {"seed": 1, "reasons": ["no path"]}])
    assert (told["clips"], told["paths_found"], told["accepted"]) == (4, 3, 1)
    assert told["right_paths"] == {
        "number": 2,
        "accepted": 1,
        "camera_error_px": [0.5, 0.8],
        "agreement": [0.9, 0.9],
        "parallax_agreement": [0.8, 0.8],
    }
    assert told["wrong_paths"] == {"number": 1, "accepted": 0, "camera_error_px": [1.3], "agreement": [0.9], "parallax_agreement": [0.8]}
    assert told["accepted_medians"]["ate_mm"] == 2.0
    assert told["accepted_scale_off"] == pytest.approx(np.log(1.1))

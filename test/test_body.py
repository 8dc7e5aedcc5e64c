"""Hands tell where the body behind them is: the more places they reach for, the better; hands that rest tell it once."""

import numpy as np
import pytest

from h2w_ros.condition import SIDES, HandPose
from h2w_ros.geometry import invert, look_at, rotation_from_axis_angle, transform
from h2w_ros.hands.body import Body
from h2w_ros.hands.grip import grips_world, middle
from h2w_ros.hands.shoulders import USUAL_M, SeenArms, usual_shoulders
from h2w_ros.world.hand_bodies import SHOULDER_M
from h2w_ros.world.spec import WorldSpec
from h2w_ros.world.view import sample_view

UP = np.array([0.0, 0.0, 1.0])
HEAD = look_at(np.array([0.0, -0.35, 0.45]), np.array([0.0, 0.05, 0.0]), UP)
NOBODY = np.full((2, 4, 4), np.nan)
RIGHT = SIDES.index("right")


def grips(shoulder: np.ndarray, wrist: np.ndarray, turned_rad: float = 0.0, slope_rad: float = 0.3) -> np.ndarray:
    """A right hand at this wrist whose fingers go on from its shoulder, turned by so much, and slope to the table by so much."""
    ahead = (wrist - shoulder) * (1, 1, 0)
    ahead = rotation_from_axis_angle(UP * turned_rad) @ ahead / max(np.linalg.norm(ahead), 1e-9)
    fingers = np.cos(slope_rad) * ahead - np.sin(slope_rad) * UP
    rest = middle("right") / np.linalg.norm(middle("right"))
    axis = np.cross(rest, fingers)
    turn = rotation_from_axis_angle(axis / np.linalg.norm(axis) * np.arccos(rest @ fingers))
    return grips_world((HandPose("right", transform(turn, wrist), np.zeros(45), np.zeros(10)),))


def reaches(shoulder: np.ndarray, noise_rad: float = 0.0, count: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-0.2, 0.25, count), rng.uniform(-0.05, 0.2, count), rng.uniform(0.02, 0.15, count)], axis=1)
    return [grips(shoulder, place, rng.normal() * noise_rad) for place in places]


def heard(body: Body, poses: list[np.ndarray]) -> Body:
    for T_world_grips in poses:
        body = body.heard(T_world_grips, HEAD)
    return body


def bearing_off(body: Body, shoulder: np.ndarray) -> float:
    """How far off [rad] the shoulder is, seen from above, for a hand in the middle of the table."""
    assert body.shoulders_world is not None
    found, true = (np.arctan2(*(place - (0.0, 0.1, 0.05))[:2]) for place in (body.shoulders_world[RIGHT], shoulder))
    return float(abs(np.angle(np.exp(1j * (found - true)))))


@pytest.mark.parametrize("shift", [(0.15, 0.0, 0.0), (-0.12, 0.05, 0.0), (0.12, -0.05, 0.1)])
def test_bearings_of_reaching_hands_find_the_shoulder(shift: tuple[float, float, float]) -> None:
    shoulder = usual_shoulders(HEAD)[RIGHT] + shift
    before = bearing_off(Body().under(HEAD), shoulder)
    assert bearing_off(heard(Body(), reaches(shoulder)), shoulder) < 0.5 * before
    assert bearing_off(heard(Body(), reaches(shoulder, noise_rad=0.2)), shoulder) < before


def test_it_is_the_same_whatever_the_worlds_axes_are() -> None:
    shoulder = usual_shoulders(HEAD)[RIGHT] + (0.1, 0.0, 0.0)
    T_other_world = transform(rotation_from_axis_angle(np.array([0.3, -1.9, 0.7])), np.array([3.0, -1.0, 2.0]))
    here, there = Body(), Body()
    for T_world_grips in reaches(shoulder, noise_rad=0.1):
        here, there = here.heard(T_world_grips, HEAD), there.heard(T_other_world @ T_world_grips, T_other_world @ HEAD)
    assert here.shoulders_world is not None
    assert there.shoulders_world is not None
    back = np.array([(invert(T_other_world) @ np.array([*point, 1.0]))[:3] for point in there.shoulders_world])
    np.testing.assert_allclose(back, here.shoulders_world, atol=1e-9)


def test_a_hand_that_rests_says_the_same_thing_once() -> None:
    pose = reaches(usual_shoulders(HEAD)[RIGHT] + (0.1, 0.0, 0.0))[0]
    once = Body().heard(pose, HEAD)
    assert heard(once, [pose] * 50).covariance_m2 is once.covariance_m2
    np.testing.assert_array_equal(heard(once, [pose] * 50).shoulders_world, once.shoulders_world)


def test_what_hands_never_tell_stays_as_unsure_as_it_usually_is() -> None:
    body = heard(Body(), reaches(usual_shoulders(HEAD)[RIGHT], noise_rad=0.2) * 40)
    deviations = np.sqrt(np.linalg.eigvalsh(body.covariance_m2))
    assert deviations.max() <= USUAL_M.max() + 1e-9  # height: no bearing tells it
    assert 0.0 < deviations.min() < 0.5 * USUAL_M.max()


def test_hands_that_nobody_knows_and_odd_poses_leave_a_body() -> None:
    shoulder = usual_shoulders(HEAD)[RIGHT]
    assert heard(Body(), [NOBODY] * 3).shoulders_world == pytest.approx(usual_shoulders(HEAD))
    below = grips(shoulder, shoulder + np.array([0.0, 0.0, -0.3]))  # straight under the shoulder no bearing means anything
    backwards = grips(shoulder, shoulder + np.array([0.0, 0.4, -0.3]), np.pi)
    body = heard(Body(), [below, backwards, *reaches(shoulder)])
    assert body.shoulders_world is not None
    assert np.isfinite(body.shoulders_world).all()
    assert np.isfinite(body.covariance_m2).all()
    assert bearing_off(body, shoulder) < 0.2


def test_shoulders_follow_a_head_that_goes_away_and_bearings_go_on_from_there() -> None:
    body = heard(Body(), reaches(usual_shoulders(HEAD)[RIGHT] + (0.1, 0.0, 0.0)))
    gone = transform(np.eye(3), np.array([3.0, 0.0, 0.0])) @ HEAD
    after = body.heard(NOBODY, gone)
    assert body.shoulders_world is not None
    assert after.shoulders_world is not None
    assert (after.shoulders_world - body.shoulders_world)[:, 0].min() > 2.0


def test_fingers_that_point_down_tell_nothing_of_where_they_come_from() -> None:
    rng, shoulder, body = np.random.default_rng(1), usual_shoulders(HEAD)[RIGHT], Body().under(HEAD)
    for place in rng.uniform((-0.2, -0.05, 0.02), (0.25, 0.2, 0.15), (20, 3)):
        body = body.heard(grips(shoulder, place, rng.uniform(-np.pi, np.pi), slope_rad=1.48), HEAD)
    assert bearing_off(body, shoulder) == 0.0


def test_one_wild_bearing_moves_the_body_no_further_than_a_wrist_can_bend() -> None:
    shoulder, wrist = usual_shoulders(HEAD)[RIGHT], np.array([0.1, 0.1, 0.1])
    moved = []
    for turned_rad in (1.2, 2.0, 3.0):
        after = Body().heard(grips(shoulder, wrist, turned_rad), HEAD).shoulders_world
        assert after is not None
        moved.append(np.linalg.norm(after[RIGHT] - shoulder))
    assert moved[1] == pytest.approx(moved[0], rel=0.02)
    assert moved[2] == pytest.approx(moved[0], rel=0.02)


class _Told(SeenArms):
    """Arms of a picture whose likelihood is known."""

    def __init__(self, steepness: float) -> None:
        self._steepness = steepness

    def log_likelihood(self, shoulders_world: np.ndarray) -> float:
        return -self._steepness * float((shoulders_world[0] - usual_shoulders(HEAD)[0])[0] ** 2)


@pytest.mark.parametrize("steepness", [0.0, 1e3, 1e6])
def test_a_picture_seen_for_ever_makes_nobody_infinitely_sure_or_unsure(steepness: float) -> None:
    body = Body().under(HEAD)
    for _ in range(300):
        body = body._explaining(_Told(steepness), (1.0,), HEAD)
    assert body.shoulders_world is not None
    deviations = np.sqrt(np.linalg.eigvalsh(body.covariance_m2))
    assert deviations.max() <= USUAL_M.max() + 1e-9
    assert deviations.min() >= 0.1 * USUAL_M.min() - 1e-9
    assert (np.abs((body.shoulders_world - usual_shoulders(HEAD))[0]) < (0.02, 0.1, 0.1)).all()
    if steepness == 0.0:
        np.testing.assert_allclose(body.covariance_m2, Body().under(HEAD).covariance_m2, rtol=1e-6)


def test_at_a_table_shoulders_are_nearer_to_the_simulated_worlds() -> None:
    off_m: dict[float | None, list[float]] = {None: [], 0.0: []}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        T_world_camera = sample_view(rng, WorldSpec()).head.T_world_camera(rng.uniform(0.0, 3.0))
        for height_m, found in off_m.items():
            found.append(float(np.linalg.norm(usual_shoulders(T_world_camera, height_m)[RIGHT] - SHOULDER_M["right"])))
    assert np.median(off_m[0.0]) < 0.8 * np.median(off_m[None])
    # what of it is up or ahead, a body at a table knows; how it is turned, only hands tell
    assert np.quantile(off_m[0.0], 0.9) < 0.2


@pytest.mark.parametrize("gaze", [(0.0, 0.05, 0.7), (0.0, 3.0, 0.8), (0.0, 0.05, 0.9), (0.0, -0.349, 0.7), (0.0, 0.05, 1.55), (0.0, 0.05, 3.0)])
def test_arms_come_from_above_the_table_wherever_the_head_looks(gaze: tuple[float, float, float]) -> None:
    shoulders = usual_shoulders(look_at(np.array([0.0, -0.35, 1.15]), np.array(gaze), UP), 0.7)
    np.testing.assert_allclose(shoulders[:, 2], 0.8)
    np.testing.assert_allclose(shoulders[:, 0], (-0.26, 0.26), atol=1e-6)
    assert (shoulders[:, 1] > -0.8).all()
    assert (shoulders[:, 1] < -0.35).all()


def test_a_body_at_a_table_is_the_same_at_another_table() -> None:
    T_other_world = transform(rotation_from_axis_angle(UP * 2.1), np.array([3.0, -1.0, 0.7]))
    here, there = Body(table_height_m=0.0), Body(table_height_m=0.7)
    for T_world_grips in reaches(usual_shoulders(HEAD, 0.0)[RIGHT] + (0.1, 0.0, 0.0), noise_rad=0.1):
        here, there = here.heard(T_world_grips, HEAD), there.heard(T_other_world @ T_world_grips, T_other_world @ HEAD)
    assert here.shoulders_world is not None
    assert there.shoulders_world is not None
    back = np.array([(invert(T_other_world) @ np.array([*point, 1.0]))[:3] for point in there.shoulders_world])
    np.testing.assert_allclose(back, here.shoulders_world, atol=1e-9)
    assert there.under(transform(np.eye(3), np.array([5.0, 0.0, 0.0])) @ T_other_world @ HEAD).table_height_m == 0.7


def test_a_body_that_had_to_follow_is_known_less_well() -> None:
    sure = heard(Body(), reaches(usual_shoulders(HEAD)[RIGHT]))
    gone = transform(np.eye(3), np.array([3.0, 0.0, 0.0])) @ HEAD
    np.testing.assert_allclose(sure.under(gone).covariance_m2, Body().under(gone).covariance_m2)
    assert sure.under(HEAD) is sure

"""A picture tells how likely shoulders are; they stay where they are, and follow a head that goes away."""

import numpy as np
import pytest

from h2w_ros.condition import Camera, HandPose
from h2w_ros.geometry import look_at, rotation_from_axis_angle, transform
from h2w_ros.hands.body import Body
from h2w_ros.hands.forearms import brightness, with_forearms
from h2w_ros.hands.grip import grips_world
from h2w_ros.hands.render import HandRenderer
from h2w_ros.hands.shoulders import LEASH_M, USUAL_M, SeenArms, followed, usual_shoulders

CAMERA = Camera(128, 128, 90.0, 110.0, 64.0, 64.0)
HEAD = look_at(np.array([0.0, -0.3, 0.45]), np.array([0.0, 0.1, 0.0]), np.array([0.0, 0.0, 1.0]))
VIEW = CAMERA, HEAD


def hands() -> tuple[HandPose, ...]:
    """Both, held out in front of the head, fingers away from it."""
    away = rotation_from_axis_angle(np.array([0.0, np.pi / 2, 0.0]))
    poses = (("left", -0.1), ("right", 0.08))
    return tuple(HandPose(side, HEAD @ transform(away, np.array([x, 0.02, 0.4])), np.zeros(45), np.zeros(10)) for side, x in poses)


RENDER, GRIPS = HandRenderer(style="solid").render(hands(), *VIEW), grips_world(hands())


def arms_from(shoulders: np.ndarray) -> np.ndarray:
    return brightness(with_forearms(RENDER, GRIPS, *VIEW, shoulders)) > 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def seen(body: Body, is_arm: np.ndarray, hands_render: np.ndarray = RENDER, grips: np.ndarray = GRIPS) -> np.ndarray:
    """Where shoulders are thought to be after such a picture."""
    shoulders = body.seen(SeenArms(is_arm, hands_render, grips, *VIEW)).shoulders_world
    assert shoulders is not None
    return shoulders


@pytest.mark.parametrize("shift", [(1.5, 0.0, 0.0), (-1.5, 0.5, 0.0), (0.8, -1.0, 1.0)])
def test_a_picture_tells_where_forearms_come_from(shift: tuple[float, float, float]) -> None:
    true = usual_shoulders(HEAD) + HEAD[:3, :3] @ (np.array(shift) * USUAL_M)
    shown = arms_from(true)
    found = seen(Body(), shown)
    assert overlap(arms_from(found), shown) > 0.9
    assert overlap(arms_from(found), shown) > overlap(arms_from(usual_shoulders(HEAD)), shown)


def test_shoulders_are_the_likelier_the_more_of_the_picture_they_explain() -> None:
    true = usual_shoulders(HEAD) + 0.05
    arms = SeenArms(arms_from(true), RENDER, GRIPS, *VIEW)
    told = [arms.log_likelihood(true + off) for off in (0.0, 0.05, 0.15)]
    assert told[0] > told[1] > told[2]


def test_a_picture_makes_surer_of_what_it_shows() -> None:
    before = Body().under(HEAD)
    after = before.seen(SeenArms(arms_from(usual_shoulders(HEAD)), RENDER, GRIPS, *VIEW))
    left = np.sort(np.linalg.eigvals(np.linalg.solve(before.covariance_m2, after.covariance_m2)))  # shares of the variances before
    assert 0.0 < left[0] < 0.3
    assert left[-1] == pytest.approx(1.0, abs=0.05)  # some way a picture tells nothing


def test_usual_arms_say_that_the_body_is_where_bodies_are() -> None:
    found = seen(Body(), arms_from(usual_shoulders(HEAD)))
    assert np.abs(found - usual_shoulders(HEAD)).max() < 0.03


def test_a_picture_without_hands_tells_nothing() -> None:
    nobody = np.full((2, 4, 4), np.nan)
    black, empty = np.zeros_like(RENDER), np.zeros(RENDER.shape[:2], bool)
    np.testing.assert_allclose(seen(Body(), empty, black, nobody), usual_shoulders(HEAD))
    known = usual_shoulders(HEAD) + 0.1
    np.testing.assert_allclose(seen(Body(known), empty, black, nobody), known)


def test_shoulders_stay_while_the_head_looks_around_and_follow_one_that_goes_away() -> None:
    known = usual_shoulders(HEAD)
    turned = look_at(np.array([0.05, -0.28, 0.46]), np.array([0.1, 0.1, 0.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(followed(known, turned), known)
    gone = transform(np.eye(3), np.array([1.0, 0.0, 0.0])) @ HEAD
    after = followed(known, gone)
    np.testing.assert_allclose(after - known, np.tile([1.0 - LEASH_M, 0.0, 0.0], (2, 1)), atol=1e-9)

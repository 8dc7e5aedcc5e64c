"""Drawing before the turn: what was drawn early is used when its turn comes, and only where it began from what has become."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from test_episodes import plain_conditions

from h2w_ros.condition import Condition, HandPose
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.presets import preset
from h2w_ros.geometry import transform
from h2w_ros.look_ahead import LookAhead

PATIENCE_S = 30.0


class Passed:
    """Who gets what was drawn early."""

    def __init__(self) -> None:
        self.drawn: DrawnCondition | None = None
        self._came = Event()

    def __call__(self, drawn: DrawnCondition) -> None:
        self.drawn = drawn
        self._came.set()

    def wait(self) -> DrawnCondition:
        assert self._came.wait(PATIENCE_S)
        assert self.drawn is not None
        return self.drawn


def drawer() -> ConditionDrawer:
    """One whose rays tell of the way since the frame before: what it draws depends on what it has drawn."""
    return ConditionDrawer(preset("tiny"), "squash", None, None)


@pytest.fixture
def moments() -> list[Condition]:
    """A head that goes faster and faster to the right."""
    return [replace(moment, T_world_camera=transform(np.eye(3), np.array([0.02 * k**2, 0.0, 0.0]))) for k, moment in enumerate(plain_conditions(3))]


@pytest.fixture
def ahead(moments: list[Condition]) -> LookAhead:
    """It has drawn the first moment."""
    begun = LookAhead(drawer())
    begun.draw(moments[0])
    return begun


def early(ahead: LookAhead, moment: Condition) -> DrawnCondition:
    passed = Passed()
    ahead.expect(moment, passed)
    return passed.wait()


def test_what_was_drawn_early_is_used_even_when_the_next_one_is_expected_before_it_is_taken(ahead: LookAhead, moments: list[Condition]) -> None:
    drawn = early(ahead, moments[1])
    ahead.expect(moments[2], Passed())
    assert ahead.draw(moments[1]) is drawn


def test_what_was_drawn_early_is_thrown_away_when_something_else_came_before(ahead: LookAhead, moments: list[Condition]) -> None:
    drawn = early(ahead, moments[2])
    ahead.draw(moments[1])
    in_turn = ahead.draw(moments[2])
    plain = drawer()
    expected = [plain.draw(moment) for moment in moments][2]
    assert np.array_equal(in_turn.rays.plucker, expected.rays.plucker)
    assert not np.array_equal(drawn.rays.plucker, expected.rays.plucker)


def reaching(moment: Condition, to: tuple[float, float, float]) -> Condition:
    """The moment with a right hand held there, its fingers pointing to the right."""
    return replace(moment, hands=(HandPose("right", transform(np.eye(3), np.array(to)), np.zeros(45), np.zeros(10)),))


def test_what_hands_tell_of_the_body_stays_with_the_future_that_they_are_in(moments: list[Condition]) -> None:
    begun = drawer()
    begun.draw(moments[0])
    before, twin = begun.so_far.body, begun.branch()
    twin.draw(reaching(moments[0], (0.4, 0.2, 0.0)))
    assert begun.so_far.body is before
    assert not np.array_equal(twin.so_far.body.covariance_m2, before.covariance_m2)


def test_a_condition_that_was_drawn_in_vain_tells_nothing_of_the_body(moments: list[Condition], ahead: LookAhead) -> None:
    early(ahead, reaching(moments[1], (0.4, 0.2, 0.0)))
    ahead.draw(reaching(moments[1], (0.0, 0.4, 0.0)))
    alone = drawer()
    alone.draw(moments[0])
    alone.draw(reaching(moments[1], (0.0, 0.4, 0.0)))
    np.testing.assert_array_equal(ahead.drawer.so_far.body.shoulders_world, alone.so_far.body.shoulders_world)
    np.testing.assert_array_equal(ahead.drawer.so_far.body.covariance_m2, alone.so_far.body.covariance_m2)

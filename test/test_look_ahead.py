"""Drawing before the turn: what was drawn early is used when its turn comes, and only where it began from what has become."""

from __future__ import annotations

from threading import Event

import numpy as np
from test_episodes import plain_conditions

from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.presets import preset
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


def drawing() -> LookAhead:
    return LookAhead(ConditionDrawer(preset("debug"), "squash", None, None))


def test_what_was_drawn_early_is_used_even_when_the_next_one_is_expected_before_it_is_taken() -> None:
    ahead, passed = drawing(), Passed()
    first, second, third = plain_conditions(3)
    ahead.draw(first)
    ahead.expect(second, passed)
    early = passed.wait()
    ahead.expect(third, Passed())
    assert ahead.draw(second) is early


def test_what_was_drawn_early_is_thrown_away_when_something_else_came_before() -> None:
    ahead, passed = drawing(), Passed()
    first, second, third = plain_conditions(3)
    ahead.draw(first)
    ahead.expect(third, passed)
    early = passed.wait()
    ahead.draw(second)
    late = ahead.draw(third)
    assert late is not early
    plain = ConditionDrawer(preset("debug"), "squash", None, None)
    assert np.array_equal([plain.draw(moment) for moment in (first, second, third)][-1].control, late.control)

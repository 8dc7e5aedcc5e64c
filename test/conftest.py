"""Fixtures that several test files use, and how often annotations are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import iscoroutinefunction, isfunction
from typing import TYPE_CHECKING, Any

import jaxtyping
import pytest

if TYPE_CHECKING:
    from ros_fixture import Ros

CHECKED_CALLS = 30
"""Of every function, so many first calls are held to its annotations: all of them would take as long as all that is tested."""
_jaxtyped = jaxtyping.jaxtyped


def _checked_at_first(*, typechecker: Any) -> Callable[[Any], Any]:
    """What jaxtyping's import hook decorates the package with, in place of its own decorator, which checks every call."""

    def decorate(decorated: Any) -> Any:
        checked = _jaxtyped(decorated, typechecker=typechecker)
        if iscoroutinefunction(decorated) or not isfunction(decorated):
            return checked
        calls_left = CHECKED_CALLS

        @wraps(decorated)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls_left
            if calls_left == 0:
                return decorated(*args, **kwargs)
            calls_left -= 1
            return checked(*args, **kwargs)

        return call

    return decorate


jaxtyping.jaxtyped = _checked_at_first


@pytest.fixture
def ros() -> Iterator[Ros]:
    """An isolated ROS graph."""
    from ros_fixture import ros_graph

    with ros_graph() as graph:
        yield graph

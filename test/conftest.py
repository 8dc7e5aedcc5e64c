"""Fixtures that several test files use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_fixture import Ros


@pytest.fixture
def ros() -> Iterator[Ros]:
    """An isolated ROS graph."""
    from ros_fixture import ros_graph

    with ros_graph() as graph:
        yield graph

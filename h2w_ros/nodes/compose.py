"""Conditioner and generator in one process: conditions pass as objects, no picture crosses DDS between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2w_ros.nodes import lifecycle
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator, GeneratorConfig, load_session
from h2w_ros.nodes.live_session import StreamingSession


def compose(load: Callable[[GeneratorConfig], StreamingSession] = load_session, **kwargs: Any) -> list[lifecycle.ManagedNode]:
    """Both nodes, generator first: it is ready before the first condition comes. `kwargs` go to both."""
    generator = Generator(load, listens=False, **kwargs)
    return [generator, Conditioner(on_moment=generator.accept, **kwargs)]


def main(args: list[str] | None = None) -> int:
    """Both nodes until Ctrl-C."""
    return lifecycle.main(compose, args)

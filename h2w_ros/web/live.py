"""Where the live pictures of a robot and the visitors who watch them meet; knows nothing of ROS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from h2w_ros.condition import Image
from h2w_ros.web.outlet import Facts


@runtime_checkable
class Controls(Protocol):
    """What visitors may ask of the live session. Each answers with what happened, in words; called on a thread that may wait."""

    def reset(self, seed: int) -> str:
        """Begins anew, from the next picture of the camera."""

    def ground(self) -> str:
        """Writes what the camera sees into the session."""


@runtime_checkable
class Viewer(Protocol):
    """Somebody who watches."""

    def show(self, stream: str, picture: Image, facts: Facts) -> None:
        """A picture of a stream, `camera` or `prediction`."""

    def tell(self, status: Mapping[str, object]) -> None:
        """How the session is."""


class LiveHub:
    """Takes pictures from any thread and shows them to all viewers; `absence` says why there are none, if so."""

    def __init__(self, absence: str = "", controls: Controls | None = None) -> None:
        self.absence, self.controls = absence, controls
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._status: Mapping[str, object] = {}

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """The event loop that viewers live on; None when it ends."""
        self._loop = loop

    @property
    def is_watched(self) -> bool:
        """Whether there is anybody to make pictures for."""
        return bool(self._viewers)

    def add(self, viewer: Viewer) -> None:
        """Somebody begins to watch."""
        self._viewers.add(viewer)
        viewer.tell(self._status)

    def remove(self, viewer: Viewer) -> None:
        """Somebody has left, or looks at something else."""
        self._viewers.discard(viewer)

    def show(self, stream: str, picture: Image, facts: Facts) -> None:
        """From any thread: a picture for all."""
        self._on_loop(lambda viewer: viewer.show(stream, picture, facts))

    def tell(self, status: Mapping[str, object]) -> None:
        """From any thread: how the session is."""
        self._status = status
        self._on_loop(lambda viewer: viewer.tell(status))

    def _on_loop(self, what: Callable[[Viewer], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._for_all, what)

    def _for_all(self, what: Callable[[Viewer], None]) -> None:
        for viewer in list(self._viewers):
            what(viewer)

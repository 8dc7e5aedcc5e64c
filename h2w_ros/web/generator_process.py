"""The generator in a process of its own: the page stays up when it dies, and no network runs on the page's thread.

Only this module's child imports torch. Requests are answered in order, one at a time; while the network, in a process of the child's,
answers one, the child draws the next.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from h2w_ros.condition import Condition, Image

log = logging.getLogger(__name__)

RESTART_S = (0.5, 2.0, 10.0)
"""How long to wait before the first, the second and every further start of a generator that died."""
READY_S = 120.0


class GeneratorGoneError(Exception):
    """The generator's process has died; another is being started."""


@dataclass(frozen=True)
class ModelInfo:
    """What the page tells about a model."""

    name: str
    width_px: int
    height_px: int
    rate_hz: float
    domain: str


@dataclass(frozen=True, eq=False)
class Begin:
    """A visitor's new session. The condition carries the photo."""

    visitor: str
    condition: Condition
    table_height_m: float | None
    seed: int


@dataclass(frozen=True, eq=False)
class Push:
    """A visitor's next moment."""

    visitor: str
    condition: Condition


@dataclass(frozen=True)
class End:
    """A visitor has left."""

    visitor: str


Request = Begin | Push | End


class GeneratorProcess:
    """Starts the process, starts it again when it dies, and carries requests to it from an event loop."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.info: ModelInfo | None = None
        self.problem = "the generator is starting"
        self.num_starts = 0
        self._lock = threading.Lock()
        self._in_turn = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[tuple[Image, ...]]] = {}
        self._number = 0
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="generator process", daemon=True)

    def start(self, timeout_s: float = READY_S) -> ModelInfo:
        """Starts it and waits until the model is loaded; ValueError with the reason when it can't be."""
        self._launch()
        info = self._connection.recv() if self._connection.poll(timeout_s) else "it did not load its model in time"
        if not isinstance(info, ModelInfo):
            self._process.kill()
            raise ValueError(str(info))
        self.info, self.problem = info, ""
        self._thread.start()
        return info

    def stop(self) -> None:
        """Ends the process."""
        self._is_stopped.set()
        self._process.terminate()
        self._process.join()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        return self._process.pid

    async def ask(self, request: Request) -> tuple[Image, ...]:
        """The pictures that answer; ValueError when the generator refuses, GeneratorGoneError when it is not there."""
        if self.problem:
            raise GeneratorGoneError(self.problem)
        answer: asyncio.Future[tuple[Image, ...]] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = answer
        try:
            async with self._in_turn:
                await asyncio.to_thread(self._send, number, request)
            return await answer
        finally:
            self._waiting.pop(number, None)

    def _send(self, number: int, request: Request) -> None:
        try:
            with self._lock:
                self._connection.send((number, request))
        except OSError as error:
            raise GeneratorGoneError("the generator has died") from error

    def _launch(self) -> None:
        """A fresh process: forking one that has threads is not safe."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self.model), name="h2w generator", daemon=True)
        self._process.start()
        theirs.close()
        self.num_starts += 1

    def _watch(self) -> None:
        """Hands answers on; begins anew when the process ends."""
        num_failures = 0
        while not self._is_stopped.is_set():
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                if self._is_stopped.is_set():
                    return
                self._lose()
                self._is_stopped.wait(RESTART_S[min(num_failures, len(RESTART_S) - 1)])
                num_failures += 1
                if not self._is_stopped.is_set():
                    self._launch()
                continue
            if isinstance(message, ModelInfo):
                self.info, self.problem, num_failures = message, "", 0
            elif isinstance(message, str):
                self.problem = f"the generator could not start again: {message}"
            else:
                self._settle(*message)

    def _lose(self) -> None:
        """Everybody who waits learns that nothing will come."""
        self.problem = "the generator has died and is being started again"
        log.warning(self.problem)
        for number in list(self._waiting):
            self._settle(number, GeneratorGoneError(self.problem))

    def _settle(self, number: int, answer: tuple[Image, ...] | Exception) -> None:
        future = self._waiting.get(number)
        if future is not None:
            future.get_loop().call_soon_threadsafe(_resolve, future, answer)


def _resolve(future: asyncio.Future[Any], answer: object) -> None:
    """Gives a future its answer, unless its owner gave up."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def work(connection: Connection, model: str) -> None:
    """Body of the child: one model, a session a visitor."""
    from h2w_ros.hardware import share_cores

    share_cores()
    try:
        sessions = _Sessions(model)
    except (ValueError, OSError, ImportError) as error:
        connection.send(str(error))
        return
    connection.send(sessions.info)
    requests: SimpleQueue[tuple[int, Request] | None] = SimpleQueue()
    threading.Thread(target=_read, args=(connection, sessions, requests), daemon=True).start()
    # The page has ended, or Ctrl-C in the terminal has reached both.
    with suppress(OSError, KeyboardInterrupt):
        while (asked := requests.get()) is not None:
            number, request = asked
            connection.send((number, sessions.answer(request)))
            sessions.settle(request)


def _read(connection: Connection, sessions: _Sessions, requests: SimpleQueue[tuple[int, Request] | None]) -> None:
    """Passes requests on as they come, so that the next moment is drawn before its turn."""
    with suppress(EOFError, OSError):
        while True:
            number, request = connection.recv()
            sessions.expect(request)
            requests.put((number, request))
    requests.put(None)


class _Sessions:
    """The sessions of all visitors, on the one thread that runs the network."""

    def __init__(self, model: str) -> None:
        from h2w_ros.generator.network_process import RemoteGenerator

        self._generator = RemoteGenerator(model)
        self._generator.stream(0)  # what keeps the model from loading is told at once
        config = self._generator.config
        self.info = ModelInfo(config.name, config.width_px, config.height_px, config.rate_hz, config.domain)
        self._sessions: dict[str, Any] = {}

    def answer(self, request: Request) -> tuple[Image, ...] | Exception:
        """Pictures, or what went wrong; a session may fail in any way that a network can, and takes no other with it."""
        try:
            return self._answer(request)
        except Exception as error:
            log.exception("a session stopped")
            self._sessions.pop(request.visitor, None)
            return ValueError(f"the generator stopped: {error}")

    def expect(self, request: Request) -> None:
        """Begins to draw a moment whose turn has not come yet; on another thread than all else."""
        session = self._sessions.get(request.visitor)
        if session is not None and isinstance(request, Push):
            session.expect(request.condition)

    def settle(self, request: Request) -> None:
        """What the next answer needs, after this one has gone out."""
        session = self._sessions.get(request.visitor)
        if session is not None:
            session.settle()

    def _answer(self, request: Request) -> tuple[Image, ...]:
        from h2w_ros.session import Session

        if isinstance(request, End):
            self._sessions.pop(request.visitor, None)
            return ()
        if isinstance(request, Begin):
            session = Session(self._generator, resize_policy="squash", table_height_m=request.table_height_m)
            session.reset(None, request.seed)
            self._sessions[request.visitor] = session
        elif request.visitor not in self._sessions:
            raise ValueError("this session is not known here: reset it")
        return tuple(frame.image for frame in self._sessions[request.visitor].push(request.condition))

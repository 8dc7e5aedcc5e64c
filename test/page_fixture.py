"""The preview page's server for tests, with a generator that answers at once."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np
from aiohttp import ClientResponse, ClientSession, ClientTimeout, ClientWebSocketResponse, CookieJar, TraceConfig, WSMsgType

from h2w_ros.condition import Image
from h2w_ros.web.generator_process import Begin, End, GeneratorGoneError, GeneratorProcess, ModelInfo, Push, Request
from h2w_ros.web.live import LiveHub
from h2w_ros.web.scenes import Scene, shipped_scenes
from h2w_ros.web.server import PageConfig, PageServer


class EchoGenerator(GeneratorProcess):
    """Answers with the photo, whose first pixel counts the frames of the visitor's session; remembers what it was asked."""

    def __init__(self, model: str = "echo", domain: str = "simulated tabletop") -> None:
        super().__init__(model)
        self.info, self.problem = ModelInfo("echo", 64, 48, 50.0, domain), ""
        self.asked: list[Request] = []
        self._sessions: dict[str, tuple[Image, int]] = {}

    def start(self, timeout_s: float = 0.0) -> ModelInfo:
        assert self.info is not None
        return self.info

    def stop(self) -> None:
        self._sessions.clear()

    async def ask(self, request: Request) -> tuple[Image, ...]:
        if self.problem:
            raise GeneratorGoneError(self.problem)
        self.asked.append(request)
        await asyncio.sleep(0)
        if isinstance(request, End):
            return ()
        if isinstance(request, Begin):
            assert request.condition.image is not None
            self._sessions[request.visitor] = (request.condition.image[::8, ::8].copy(), 0)
        picture, count = self._sessions[request.visitor]
        self._sessions[request.visitor] = (picture, count + 1)
        picture[:8, :8] = count % 256
        return (picture.copy(),)

    def pushed(self) -> list[Push]:
        return [request for request in list(self.asked) if isinstance(request, Push)]


@cache
def scenes() -> list[Scene]:
    return shipped_scenes()


@contextmanager
def served(generator: GeneratorProcess | None = None, hub: LiveHub | None = None, **config: Any) -> Iterator[str]:
    """The page's address."""
    server = PageServer(PageConfig(**{"port": 0, **config}), generator or EchoGenerator(), hub or LiveHub("no robot in this test"), scenes())
    address = server.start()
    try:
        yield address
    finally:
        server.stop()


@asynccontextmanager
async def client() -> AsyncIterator[ClientSession]:
    """A session whose cookies work for addresses of numbers, too.

    Every answer and socket that it has opened is closed with it: one that is left open warns when the garbage collector comes by, and that
    fails whatever test is running then.
    """
    answers: list[ClientResponse] = []

    async def remember(_session: object, _context: object, end: Any) -> None:
        answers.append(end.response)

    trace = TraceConfig()
    trace.on_request_end.append(remember)
    async with ClientSession(timeout=ClientTimeout(20), cookie_jar=CookieJar(unsafe=True), trace_configs=[trace]) as session:
        try:
            yield session
        finally:
            for answer in answers:
                answer.close()


def about(data: bytes) -> dict[str, Any]:
    """What comes before a picture."""
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length])


class Visitor:
    """An open page without a browser. Pictures are acknowledged unless `is_slow`."""

    def __init__(self, socket: ClientWebSocketResponse, is_slow: bool = False) -> None:
        self.socket, self.is_slow = socket, is_slow
        self.texts: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []

    async def say(self, **message: object) -> None:
        await self.socket.send_str(json.dumps(message))

    async def listen(self, seconds: float) -> None:
        """Hears everything that comes within this time."""
        deadline_s = asyncio.get_running_loop().time() + seconds
        while (left_s := deadline_s - asyncio.get_running_loop().time()) > 0 and not self.socket.closed:
            try:
                message = await asyncio.wait_for(self.socket.receive(), left_s)
            except asyncio.TimeoutError:
                return
            if message.type == WSMsgType.TEXT:
                self.texts.append(json.loads(message.data))
            elif message.type == WSMsgType.BINARY:
                self.pictures.append(about(message.data))
                if not self.is_slow:
                    with suppress(
                        ConnectionResetError
                    ):  # the server may have gone while this picture was on its way; its last word is still to be heard
                        await self.say(type="shown", stream=self.pictures[-1]["stream"], number=self.pictures[-1]["number"])

    async def hear(self, kind: str, seconds: float = 5.0) -> dict[str, Any]:
        """The first message of this kind from now on."""
        start = len(self.texts)
        for _ in range(int(seconds / 0.05)):
            await self.listen(0.05)
            found = [text for text in self.texts[start:] if text["type"] == kind]
            if found:
                return found[0]
        raise AssertionError(f"no {kind} within {seconds} s, but {[text['type'] for text in self.texts[start:]]}")


async def visit(session: ClientSession, address: str, is_slow: bool = False) -> Visitor:
    """Opens the page's socket, and the first scene."""
    visitor = Visitor(await session.ws_connect(address.partition("?")[0] + "ws"), is_slow)
    hello = await visitor.hear("hello")
    await visitor.say(type="scene", scene=hello["scenes"][0]["name"], seed=0)
    return visitor


def hand_message(**changes: float) -> dict[str, Any]:
    return {
        "type": "hand",
        "u": 0.5,
        "v": 0.5,
        "height_m": 0.1,
        "turn_rad": 0.0,
        "tilt_rad": 0.0,
        "roll_rad": 0.0,
        "grasp": 0.0,
        "sent_ms": 1.0,
    } | changes


def white(width_px: int = 80, height_px: int = 60) -> Image:
    return np.full((height_px, width_px, 3), 255, np.uint8)

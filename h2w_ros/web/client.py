"""One open page: hears what its visitor says, shows what there is to see."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import WSMsgType, web

from h2w_ros.condition import Image
from h2w_ros.web.access import Allowance
from h2w_ros.web.encoders import H264_PROFILE
from h2w_ros.web.generator_process import GeneratorProcess
from h2w_ros.web.live import LiveHub
from h2w_ros.web.outlet import Facts, Outlet
from h2w_ros.web.photo import PhotoLoop
from h2w_ros.web.puppet import describe_limits
from h2w_ros.web.scenes import Scene
from h2w_ros.web.words import Choose, Ground, Hand, Mode, Pause, Reset, Shown, Video, Word, parse

log = logging.getLogger(__name__)

STREAMS = ("prediction", "camera")
MESSAGES_HZ, MESSAGES_RESERVE = 150.0, 300.0
TOO_FAST = 1008
"""WebSocket's close code for what a server's policy does not allow."""


class Client:
    """A page's WebSocket, its streams and its session. `scene_of` finds a scene by name; `notice_of` says what a visitor should know of it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        name: str,
        generator: GeneratorProcess,
        hub: LiveHub,
        scene_of: Callable[[str], Scene],
        notice_of: Callable[[Scene], str],
    ) -> None:
        self._socket, self._generator, self._hub, self._scene_of, self._notice_of = socket, generator, hub, scene_of, notice_of
        self._outlets = {stream: Outlet(stream, socket.send_bytes) for stream in STREAMS}
        prediction = self._outlets["prediction"]
        self._photo = PhotoLoop(generator, name, prediction.offer, self._tell_phase, lambda: prediction.is_stuck)
        self._allowance = Allowance(MESSAGES_HZ, MESSAGES_RESERVE)
        self._texts: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()
        self._is_live, self._live_is_paused = False, False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, scenes: list[Scene]) -> None:
        """Until the page is closed."""
        self._say(self._hello(scenes))
        for work in (self._photo.run(), self._speak(), *(outlet.run() for outlet in self._outlets.values())):
            self._spawn(work)
        try:
            await self._listen()
        finally:
            self._hub.remove(self)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def show(self, stream: str, picture: Image, facts: Facts) -> None:
        """A picture, unless a live view is paused."""
        if not (self._is_live and self._live_is_paused):
            self._outlets[stream].offer(picture, facts)

    def tell(self, status: Mapping[str, object]) -> None:
        """How the live session is."""
        self._say({"type": "live", **status})

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                continue
            if not self._allowance.allows():
                await self._socket.close(code=TOO_FAST, message=b"too many messages")
                return
            try:
                self._do(parse(message.data))
            except ValueError as error:
                self._say({"type": "refused", "text": str(error)})

    def _do(self, word: Word) -> None:
        """What the visitor said; the ways of a session first, then those of the page."""
        match word:
            case Hand():
                self._photo.move(word)
            case Choose():
                self._choose(word)
            case Reset() if self._is_live:
                self._ask_live(lambda controls: controls.reset(word.seed))
            case Reset():
                self._say({"type": "begun", "wish": asdict(self._photo.reset(word.seed))})
            case Ground():
                self._ask_live(lambda controls: controls.ground())
            case _:
                self._do_for_page(word)

    def _do_for_page(self, word: Word) -> None:
        match word:
            case Pause() if self._is_live:
                self._live_is_paused = word.paused
            case Pause():
                self._photo.pause(word.paused)
            case Mode():
                self._look_at(word.mode)
            case Video():
                for outlet in self._outlets.values():
                    outlet.use("h264" if word.codec == "h264" else "jpeg")
            case Shown():
                self._outlets[word.stream].acknowledge(word.number)

    def _choose(self, word: Choose) -> None:
        scene = self._scene_of(word.scene)
        wish = self._photo.choose(scene, word.seed)
        about = {"name": scene.name, "title": scene.title, "side": scene.side, "notice": self._notice_of(scene)}
        self._say({"type": "begun", "wish": asdict(wish), "scene": about})

    def _look_at(self, mode: str) -> None:
        self._is_live, self._live_is_paused = mode == "live", False
        if self._is_live:
            self._photo.pause(True)
            self._hub.add(self)
        else:
            self._hub.remove(self)
            self._photo.pause(False)

    def _ask_live(self, deed: Callable[[Any], str]) -> None:
        """What waits for a robot's answer does not hold up the page."""
        controls = self._hub.controls
        if controls is None:
            raise ValueError(self._hub.absence or "there is no live session")

        async def ask() -> None:
            self._say({"type": "note", "text": await asyncio.to_thread(deed, controls)})

        self._spawn(ask())

    def _hello(self, scenes: list[Scene]) -> dict[str, object]:
        info = self._generator.info
        return {
            "type": "hello",
            "model": None if info is None else asdict(info),
            "scenes": [{"name": scene.name, "title": scene.title} for scene in scenes],
            "limits": describe_limits(),
            "live": {"absence": self._hub.absence},
            "h264": H264_PROFILE,
        }

    def _tell_phase(self, phase: str, text: str) -> None:
        self._say({"type": "phase", "phase": phase, "text": text})

    def _say(self, message: Mapping[str, object]) -> None:
        self._texts.put_nowait(message)

    async def _speak(self) -> None:
        while True:
            await self._socket.send_str(json.dumps(await self._texts.get()))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), ConnectionError):
            log.error("a part of a page stopped", exc_info=task.exception())

"""The page's server: files, scenes, uploads and WebSockets, on a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from aiohttp import web

from h2w_ros.web.access import Allowance, Doorkeeper, is_local, token_for
from h2w_ros.web.client import Client
from h2w_ros.web.generator_process import GeneratorProcess
from h2w_ros.web.live import LiveHub
from h2w_ros.web.scenes import Scene, by_name, scene_of_picture
from h2w_ros.web.uploads import MAX_BYTES, picture_of_bytes

PAGE = Path(__file__).resolve().parent / "page"
MAX_MESSAGE_BYTES = 4096
MAX_CLIENTS = 16
MAX_UPLOADS = 16
"""Visitors' pictures that are kept, in memory only; the oldest leave first."""
UPLOADS_HZ, UPLOADS_RESERVE = 0.5, 5.0
HEARTBEAT_S = 20.0
THUMBNAIL_PX = 320
RELEASE = "the released Hand2World checkpoint (preset wan2.2-5b; models/README.md says how to load it, then: h2w preview --model FOLDER)"


@dataclass(frozen=True)
class PageConfig:
    """Where the page is served, and to whom. An empty token means a fresh one for addresses that others reach."""

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be in 0 (any free one) .. 65535, got {self.port}")
        if self.token and len(self.token) < 8:
            raise ValueError(f"a token must have at least 8 characters, or nobody is kept out, got {len(self.token)}")


class PageServer:
    """Serves until it is stopped; `start` returns when the page can be opened."""

    def __init__(self, config: PageConfig, generator: GeneratorProcess, hub: LiveHub, scenes: list[Scene]) -> None:
        if not scenes:
            raise ValueError("the page needs at least one scene; models/scenes has those that come with it")
        self._config = replace(config, token=token_for(config.host, config.token))
        self._generator, self._hub, self._scenes = generator, hub, by_name(scenes)
        self._uploads: OrderedDict[str, Scene] = OrderedDict()
        self._may_upload = Allowance(UPLOADS_HZ, UPLOADS_RESERVE)
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._ready: Future[int] = Future()

    def start(self) -> str:
        """Begins to serve; the address to open. OSError when the port is taken."""
        self._thread.start()
        port = self._ready.result()
        name = "localhost" if is_local(self._config.host) else self._config.host
        return f"http://{name}:{port}/" + (f"?token={self._config.token}" if self._config.token else "")

    def stop(self) -> None:
        """Closes every page."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._ready.set_exception(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        runner = web.AppRunner(self._app(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._config.host, self._config.port)
            await site.start()
            self._hub.attach(self._loop)
            self._ready.set_result(runner.addresses[0][1])
            await self._stopping.wait()
        finally:
            self._hub.attach(None)
            for socket in list(self._sockets):
                await socket.close()
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[Doorkeeper(self._config.token).middleware()], client_max_size=MAX_BYTES)
        app.router.add_get("/", _file("index.html"))
        for path in sorted(PAGE.iterdir()):
            app.router.add_get(f"/{path.name}", _file(path.name))
        app.router.add_get("/scenes/{name}", self._thumbnail)
        app.router.add_post("/picture", self._upload)
        app.router.add_get("/ws", self._socket)
        return app

    async def _thumbnail(self, request: web.Request) -> web.Response:
        try:
            scene = self._scene(request.match_info["name"])
        except ValueError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        return web.Response(body=await asyncio.to_thread(_small_jpeg, scene), content_type="image/jpeg")

    async def _upload(self, request: web.Request) -> web.Response:
        """A visitor's own picture as the body; its scene's name comes back."""
        if not self._may_upload.allows():
            raise web.HTTPTooManyRequests(text="too many pictures in a short time; wait a little")
        try:
            data = await request.read()
            picture = await asyncio.to_thread(picture_of_bytes, data)
        except web.HTTPRequestEntityTooLarge as error:
            raise web.HTTPRequestEntityTooLarge(MAX_BYTES, text=f"a picture may have {MAX_BYTES // 2**20} MB at most") from error
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        scene = scene_of_picture(picture, next(iter(self._scenes.values())))
        scene = replace(scene, name=f"{scene.name}-{secrets.token_hex(8)}")
        self._uploads[scene.name] = scene
        while len(self._uploads) > MAX_UPLOADS:
            self._uploads.popitem(last=False)
        return web.json_response({"name": scene.name, "title": scene.title})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._sockets) >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_CLIENTS} pages are open already; close one")
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await Client(socket, secrets.token_hex(8), self._generator, self._hub, self._scene, self._notice).run(list(self._scenes.values()))
        finally:
            self._sockets.discard(socket)
        return socket

    def _scene(self, name: str) -> Scene:
        found = self._scenes.get(name) or self._uploads.get(name)
        if found is None:
            raise ValueError(f"there is no scene {name!r}; a picture of your own may have been forgotten: give it again")
        return found

    def _notice(self, scene: Scene) -> str:
        """What a visitor must know who reaches into a kind of world that the model has never seen."""
        info = self._generator.info
        if info is None or scene.domain in info.domain:
            return ""
        return (
            f"{info.name} has only seen {info.domain}: what it makes of this picture is not to be trusted, and how the picture was taken "
            f"is a guess. For real pictures there is {RELEASE}."
        )


def _file(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that serves one file of the page."""

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / name)

    return serve


def _small_jpeg(scene: Scene) -> bytes:
    photo = scene.photo
    height_px = round(THUMBNAIL_PX * photo.shape[0] / photo.shape[1])
    small = cv2.resize(photo, (THUMBNAIL_PX, height_px), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()

"""The preview page's server: who is let in, what is refused, and that visitors do not disturb one another."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from page_fixture import EchoGenerator, Visitor, client, hand_message, served, visit, white

from h2w_ros.web import photo
from h2w_ros.web.generator_process import Begin, End, GeneratorProcess
from h2w_ros.web.live import LiveHub
from h2w_ros.web.server import MAX_CLIENTS, MAX_MESSAGE_BYTES, PageConfig
from h2w_ros.web.uploads import MAX_BYTES


def browse(play: Callable[[ClientSession], Awaitable[None]]) -> None:
    """Runs it with a client's session."""

    async def run() -> None:
        async with client() as session:
            await play(session)

    asyncio.run(run())


def png() -> bytes:
    return cv2.imencode(".png", white())[1].tobytes()


def test_the_page_and_all_that_it_names_are_served_with_strict_headers() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            async with session.get(address) as response:
                text = await response.text()
                assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
            for name in re.findall(r'(?:src|href)="([^"]+)"', text):
                async with session.get(address + name) as response:
                    assert response.status == 200, name
            for outside in ("server.py", "../server.py", "%2e%2e/server.py", "page/index.html"):
                async with session.get(address + outside) as response:
                    assert response.status == 404, outside

        browse(play)


def test_by_default_nobody_outside_this_machine_is_listened_to() -> None:
    assert PageConfig().host == "127.0.0.1"
    with served() as address:
        port = int(address.rpartition(":")[2].strip("/"))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
        assert listening == [f"0100007F:{port:04X}"]


def test_a_page_of_another_origin_is_refused_everywhere() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            headers = {"Origin": "https://elsewhere.example"}
            with pytest.raises(WSServerHandshakeError) as refusal:
                await session.ws_connect(address + "ws", headers=headers)
            assert refusal.value.status == 403
            async with session.post(address + "picture", data=png(), headers=headers) as response:
                assert response.status == 403
            own = {"Origin": address.rstrip("/")}
            async with session.post(address + "picture", data=png(), headers=own) as response:
                assert response.status == 200

        browse(play)


def test_a_name_that_was_rebound_to_this_machine_is_refused() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            async with session.get(address, headers={"Host": "attacker.example"}) as response:
                assert response.status == 403
                assert "localhost only" in await response.text()

        browse(play)


def test_other_addresses_want_the_token_and_keep_it_out_of_sight() -> None:
    with served(host="0.0.0.0") as printed:
        port = printed.rpartition(":")[2].partition("/")[0]
        address, token = f"http://127.0.0.1:{port}/", printed.partition("?token=")[2]
        assert len(token) > 15

        async def play(session: ClientSession) -> None:
            for brought in ("", "?token=", f"?token={token[:-1]}"):
                async with session.get(address + brought) as response:
                    assert response.status == 403
            with pytest.raises(WSServerHandshakeError):
                await session.ws_connect(address + "ws")
            async with session.get(f"{address}?token={token}") as response:
                assert response.status == 200
                assert "token" not in str(response.url)
                assert "HttpOnly" in response.history[0].headers["Set-Cookie"]
            await (await visit(session, address)).hear("begun")

        browse(play)


def test_messages_that_are_too_long_or_too_many_end_the_connection() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            chatterbox = await visit(session, address)
            for _ in range(600):
                await chatterbox.say(**hand_message())
            await chatterbox.listen(3.0)
            assert chatterbox.socket.close_code == 1008
            windbag = await visit(session, address)
            await windbag.say(type="scene", scene="x" * MAX_MESSAGE_BYTES, seed=0)
            await windbag.listen(3.0)
            assert windbag.socket.close_code == 1009

        browse(play)


def test_what_makes_no_sense_is_refused_in_words_and_the_session_goes_on() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            visitor = await visit(session, address)
            for message in ({"type": "dance"}, {"type": "scene", "scene": "nowhere", "seed": 0}, {"type": "ground"}):
                await visitor.say(**message)
                assert (await visitor.hear("refused"))["text"]
            before = len(visitor.pictures)
            await visitor.listen(0.5)
            assert len(visitor.pictures) > before

        browse(play)


def test_uploads_are_checked_limited_and_said_to_be_out_of_domain() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            async with session.post(address + "picture", data=b"GIF89a") as response:
                assert (response.status, "JPEG or PNG" in await response.text()) == (400, True)
            async with session.post(address + "picture", data=io.BytesIO(bytes(MAX_BYTES + 1))) as response:
                assert (response.status, "12 MB" in await response.text()) == (413, True)
            async with session.post(address + "picture", data=png()) as response:
                name = (await response.json())["name"]
            visitor = await visit(session, address)
            assert (await visitor.hear("begun"))["scene"]["notice"] == ""
            await visitor.say(type="scene", scene=name, seed=0)
            notice = (await visitor.hear("begun"))["scene"]["notice"]
            assert "only seen" in notice
            assert "Hand2World" in notice
            statuses = [(await session.post(address + "picture", data=png())).status for _ in range(6)]
            assert 429 in statuses

        browse(play)


def test_there_is_room_for_so_many_pages_and_no_more() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            sockets = [await session.ws_connect(address + "ws") for _ in range(MAX_CLIENTS)]
            with pytest.raises(WSServerHandshakeError) as refusal:
                await session.ws_connect(address + "ws")
            assert refusal.value.status == 503
            await sockets[0].close()
            await asyncio.sleep(0.2)
            await (await session.ws_connect(address + "ws")).close()

        browse(play)


def test_a_slow_page_does_not_slow_the_others() -> None:
    async def rate_of(visitor: Visitor) -> float:
        visitor.pictures.clear()
        await visitor.listen(1.5)
        return len(visitor.pictures) / 1.5

    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            quick = await visit(session, address)
            alone = await rate_of(quick)
            slow = [await visit(session, address, is_slow=True) for _ in range(3)]
            await quick.listen(1.5)  # by then it is known that nobody looks there
            asked = len(generator.pushed())
            beside = await rate_of(quick)
            for visitor in slow:
                await visitor.listen(0.1)
            assert all(len(visitor.pictures) <= 2 for visitor in slow)
            assert beside > 0.6 * alone > 3.0
            assert len(generator.pushed()) - asked <= 1.5 * len(quick.pictures) + 10  # no turns for those who do not look

        browse(play)


def test_the_hand_goes_where_it_is_sent_and_the_answer_says_so() -> None:
    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            visitor = await visit(session, address)
            await visitor.hear("begun")
            await visitor.say(**hand_message(u=0.1, v=0.4, sent_ms=1234.5))
            await visitor.listen(1.0)
            assert [one["sent_ms"] for one in visitor.pictures if one["sent_ms"]] == [1234.5]
            wrists = [one["hands"][0][0][0] for one in visitor.pictures]
            assert wrists[-1] < wrists[0] - 0.1

        browse(play)
    stamps_ns = [push.condition.stamp_ns for push in generator.pushed()]
    assert {later - earlier for earlier, later in pairwise(stamps_ns)} <= {20_000_000}


def test_reset_begins_the_photo_anew_with_the_seed_and_pause_stops_everything() -> None:
    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            visitor = await visit(session, address)
            await visitor.listen(0.4)
            await visitor.say(type="reset", seed=7)
            await visitor.hear("begun")
            visitor.pictures.clear()
            await visitor.listen(0.4)
            assert 0 <= visitor.pictures[-1]["index"] < 25
            await visitor.say(type="pause", paused=True)
            await visitor.listen(0.2)
            pushed = len(generator.pushed())
            await visitor.listen(0.3)
            assert len(generator.pushed()) == pushed
            await visitor.say(type="pause", paused=False)
            await visitor.listen(0.3)
            assert len(generator.pushed()) > pushed

        browse(play)
    assert [request.seed for request in generator.asked if isinstance(request, Begin)] == [0, 7]
    assert isinstance(generator.asked[-1], End)


def test_a_page_that_vanishes_mid_stream_leaves_nothing_behind_and_disturbs_nobody() -> None:
    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            stays, vanishes = await visit(session, address), await visit(session, address)
            await vanishes.listen(0.3)
            vanishes.socket._writer.transport.abort()
            await stays.listen(0.5)
            assert sum(isinstance(request, End) for request in generator.asked) == 1
            before = len(stays.pictures)
            await stays.listen(0.5)
            assert len(stays.pictures) > before + 5

        browse(play)


def test_a_hand_that_nobody_moves_rests_until_it_is_moved_and_not_while_the_generator_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "REST_AFTER_S", 0.3)
    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            visitor = await visit(session, address)
            while (await visitor.hear("phase"))["phase"] != "resting":
                pass
            pushed = len(generator.pushed())
            await visitor.listen(0.2)
            assert len(generator.pushed()) == pushed
            generator.problem = "the generator has died"
            await visitor.say(**hand_message())
            while (await visitor.hear("phase"))["phase"] != "error":
                pass
            await visitor.listen(0.5)
            generator.problem = ""
            assert (await visitor.hear("phase"))["phase"] == "running"

        browse(play)


def test_a_generator_that_is_gone_is_told_in_words_and_its_return_begins_the_photo_anew() -> None:
    generator = EchoGenerator()
    with served(generator) as address:

        async def play(session: ClientSession) -> None:
            visitor = await visit(session, address)
            await visitor.listen(0.3)
            generator.problem = "the generator has died"
            while (told := await visitor.hear("phase"))["phase"] != "error":
                pass
            assert told["text"] == "the generator has died"
            generator.problem = ""
            assert (await visitor.hear("phase"))["phase"] == "running"

        browse(play)
    assert sum(isinstance(request, Begin) for request in generator.asked) == 2


def test_live_pictures_reach_those_who_watch_and_controls_answer_in_words() -> None:
    class Robot:
        def reset(self, seed: int) -> str:
            return f"begun with {seed}"

        def ground(self) -> str:
            return "grounded"

    hub = LiveHub(controls=Robot())
    with served(hub=hub) as address:

        async def play(session: ClientSession) -> None:
            watcher, other = await visit(session, address), await visit(session, address)
            assert not hub.is_watched
            await watcher.say(type="mode", mode="live")
            await watcher.hear("live")
            hub.tell({"problem": "", "facts": {"Model": "tiny"}})
            hub.show("camera", white(), {"hands": []})
            assert (await watcher.hear("live"))["facts"] == {"Model": "tiny"}
            await watcher.listen(0.2)
            assert "camera" in [one["stream"] for one in watcher.pictures]
            await watcher.say(type="reset", seed=3)
            assert (await watcher.hear("note"))["text"] == "begun with 3"
            await watcher.say(type="ground")
            assert (await watcher.hear("note"))["text"] == "grounded"
            await other.listen(0.1)
            assert "camera" not in [one["stream"] for one in other.pictures]
            await watcher.say(type="mode", mode="photo")
            await watcher.listen(0.2)
            assert not hub.is_watched

        browse(play)


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with served() as address:
        port = address.rpartition(":")[2].strip("/")
        with pytest.raises(OSError, match=port), served(port=int(port)):
            pass


@pytest.mark.slow
def test_a_missing_model_is_said_before_anything_is_served() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        GeneratorProcess("nowhere").start()


def test_text_and_pictures_are_all_that_a_socket_sends() -> None:
    with served() as address:

        async def play(session: ClientSession) -> None:
            socket = await session.ws_connect(address + "ws")
            await socket.send_bytes(b"\x00" * 100)  # nothing that the page ever sends: ignored
            assert (await socket.receive()).type == WSMsgType.TEXT
            await socket.close()

        browse(play)

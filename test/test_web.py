"""What the preview page is made of, without a browser and without a network."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2w_ros.camera import project
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.geometry import apply, invert
from h2w_ros.hands.grip import T_world_grip
from h2w_ros.paths import models_dir
from h2w_ros.web.access import Allowance, is_local, token_for
from h2w_ros.web.encoders import LADDER, H264Encoder, JpegEncoder
from h2w_ros.web.outlet import MAX_UNACKNOWLEDGED, Outlet
from h2w_ros.web.puppet import FASTEST, LIMITS, Puppet, Wish, followed, nearest_wish
from h2w_ros.web.scenes import Scene, scene_of_picture, scene_of_recording, shipped_scenes
from h2w_ros.web.server import PageConfig
from h2w_ros.web.skeleton import skeletons
from h2w_ros.web.uploads import KEPT_PX, picture_of_bytes
from h2w_ros.web.words import Hand, Reset, parse

SCENES = shipped_scenes()
HAND_MESSAGE = {"type": "hand", "u": 0.5, "v": 0.5, "height_m": 0.1, "turn_rad": 0, "tilt_rad": 0, "roll_rad": 0, "grasp": 0.5, "sent_ms": 1.5}
wishes = st.builds(nearest_wish, **{name: st.floats(low, high) for name, (low, high) in LIMITS.items()})


def gradient(width_px: int, height_px: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width_px), np.linspace(0, 255, height_px))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def packed_png(width_px: int, height_px: int) -> bytes:
    """A PNG that claims a size, with next to nothing in it."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_shipped_photos_are_small_and_know_their_table() -> None:
    assert len(SCENES) >= 3
    assert sum(path.stat().st_size for path in (models_dir() / "scenes").iterdir()) < 300_000
    assert all(scene.table_height_m is not None and scene.domain == "simulated tabletop" for scene in SCENES)


def test_a_recording_without_hands_is_no_scene(tmp_path: Path) -> None:
    bare = replace(SCENES[0].condition, hands=())
    write_bag(tmp_path / "bare.mcap", [bare])
    with pytest.raises(ValueError, match="nothing to reach into"):
        scene_of_recording(tmp_path / "bare.mcap")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_hand_begins_exactly_as_the_photo_shows_it(scene: Scene) -> None:
    puppet = Puppet(scene)
    hand = puppet.hand(puppet.start)
    assert np.allclose(hand.T_world_wrist, scene.hand.T_world_wrist)
    assert np.allclose(hand.joint_angles_rad, scene.hand.joint_angles_rad)


@settings(max_examples=60, deadline=None)
@given(wish=wishes)
def test_a_hand_is_where_it_is_wished_and_at_its_height_where_that_is_in_reach(wish: Wish) -> None:
    scene = SCENES[0]
    place = T_world_grip(Puppet(scene).hand(wish))[:3, 3]
    eye = scene.condition.T_world_camera[:3, 3]
    pixel = project(scene.condition.camera, apply(invert(scene.condition.T_world_camera), place[None]))[0]
    camera = scene.condition.camera
    assert np.allclose(pixel / (camera.width_px, camera.height_px), (wish.u, wish.v), atol=1e-6)
    if 0.151 < np.linalg.norm(place - eye) < 0.999:
        assert place[2] - scene.table_height_m == pytest.approx(wish.height_m, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(now=wishes, goal=wishes)
def test_a_hand_moves_towards_its_goal_and_never_faster_than_hands_do(now: Wish, goal: Wish) -> None:
    after = followed(now, goal, 1 / 16)
    for name, speed in FASTEST.items():
        before, then, end = (getattr(one, name) for one in (now, after, goal))
        assert abs(then - before) <= speed / 16 + 1e-9
        assert abs(end - then) <= abs(end - before) + 1e-9
    for _ in range(200):
        after = followed(after, goal, 1 / 16)
    assert all(getattr(after, name) == pytest.approx(getattr(goal, name), abs=1e-3) for name in FASTEST)


def test_a_closed_hand_has_its_fingertips_at_the_palm() -> None:
    puppet = Puppet(SCENES[0])
    spans = []
    for grasp in (0.0, 0.5, 1.0):
        drawn = np.array(
            skeletons([puppet.hand(replace(puppet.start, grasp=grasp))], SCENES[0].condition.camera, SCENES[0].condition.T_world_camera)[0]
        )
        spans.append(np.linalg.norm(drawn[18] - drawn[0]))
    assert spans[0] > spans[1] > spans[2]


def test_a_hand_behind_the_camera_is_not_drawn() -> None:
    condition, hand = SCENES[0].condition, SCENES[0].hand
    turned = condition.T_world_camera @ np.diag([1.0, -1.0, -1.0, 1.0])
    assert len(skeletons([hand], condition.camera, condition.T_world_camera)) == 1
    assert skeletons([hand], condition.camera, turned) == []


def test_a_visitors_picture_keeps_its_middle_and_nothing_of_the_other_scene() -> None:
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 180:220] = 255
    scene = scene_of_picture(wide, SCENES[0])
    assert scene.photo.shape == SCENES[0].photo.shape
    assert scene.photo[:, scene.photo.shape[1] // 2].min() == 255
    assert scene.photo[:, 0].max() == 0
    assert (scene.domain, len(scene.condition.hands)) == ("real", 1)


def test_words_are_understood() -> None:
    assert parse('{"type": "reset", "seed": 7}') == Reset(7)
    word = parse(json.dumps(HAND_MESSAGE | {"u": 99.0}))
    assert isinstance(word, Hand)
    assert (word.wish.u, word.sent_ms) == (LIMITS["u"][1], 1.5)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "must be JSON"),
        ("[1]", "an object with a type"),
        ('{"type": "dance"}', "type must be one of"),
        ('{"type": "reset", "seed": -1}', r"seed must be in 0\.\."),
        ('{"type": "reset", "seed": true}', "seed must be a int"),
        ('{"type": "video", "codec": "vp9"}', "codec must be one of"),
        ('{"type": "scene", "scene": "' + "x" * 100 + '", "seed": 0}', "at most 64 characters"),
        (json.dumps(HAND_MESSAGE | {"u": float("nan")}), "u must be a finite number"),
        (json.dumps(HAND_MESSAGE | {"grasp": 10**400}), "grasp must be a finite number"),
        (json.dumps(HAND_MESSAGE | {"v": None}), "v must be a finite number"),
    ],
)
def test_words_that_make_no_sense_are_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(
    kind=st.sampled_from(["hand", "scene", "reset", "pause", "ground", "video", "shown", "mode"]), values=st.dictionaries(st.text(max_size=8), JSON)
)
def test_nothing_that_a_page_says_is_worse_than_refused(kind: str, values: dict) -> None:
    try:
        parse(json.dumps({**values, "type": kind}))
    except ValueError as error:
        assert str(error)  # noqa: PT017  any word is either understood or refused


def test_pictures_of_visitors_come_upright_small_and_in_rgb() -> None:
    red = np.zeros((1500, 3000, 3), np.uint8)
    red[..., 2] = 255
    data = cv2.imencode(".png", red)[1].tobytes()
    assert picture_of_bytes(data).shape == (KEPT_PX // 2, KEPT_PX, 3)
    assert picture_of_bytes(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (packed_png(60_000, 60_000), "at most 40 megapixels"),
        (packed_png(8, 8), "at least 32 pixels"),
        (packed_png(4000, 4000)[:60], "damaged"),
        (b"<svg onload=alert(1)>", "must be a JPEG or PNG"),
        (b"", "must be a JPEG or PNG"),
    ],
)
def test_pictures_that_are_none_are_refused_before_they_cost_anything(data: bytes, rule: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(ValueError, match=rule):
        picture_of_bytes(data)
    assert time.monotonic() - began_s < 1.0


@pytest.mark.parametrize("size", [(128, 96), (641, 479)])
def test_h264_gives_every_picture_at_once_and_it_decodes_to_what_it_was(size: tuple[int, int]) -> None:
    encoder, decoder = H264Encoder(LADDER[0]), av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    picture = gradient(*size)
    for number in range(5):
        encoded = encoder.encode(np.roll(picture, 3 * number, axis=1))
        assert encoded.data
        assert encoded.is_key == (number == 0)
        shown = [frame for packet in (av.Packet(encoded.data),) for frame in decoder.decode(packet)]
    shown += decoder.decode(None)
    last = cv2.resize(shown[-1].to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_AREA)
    assert np.abs(last.astype(float) - np.roll(picture, 12, axis=1)).mean() < 6.0


def test_h264_begins_anew_when_the_size_changes() -> None:
    encoder = H264Encoder(LADDER[0])
    keys = [encoder.encode(gradient(width_px, 240)).is_key for width_px in (320, 320, 400, 400)]
    assert keys == [True, False, True, False]


def test_quality_falls_down_the_ladder() -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    sizes = [len(JpegEncoder(quality).encode(noisy).data) for quality in LADDER]
    assert sizes == sorted(sizes, reverse=True)


async def fed(outlet: Outlet, count: int) -> None:
    for number in range(count):
        outlet.offer(gradient(32, 24), {"index": number})
        await asyncio.sleep(0.01)


def number_of(message: bytes) -> tuple[int, int]:
    """The picture's number and the index that it was offered with."""
    (length,) = struct.unpack_from("<I", message)
    about = json.loads(message[4 : 4 + length])
    return about["number"], about["index"]


def test_a_browser_that_never_answers_gets_two_pictures_and_no_queue() -> None:
    sent: list[bytes] = []

    async def play() -> None:
        async def send(data: bytes) -> None:
            sent.append(data)

        outlet = Outlet("prediction", send)
        running = asyncio.ensure_future(outlet.run())
        await fed(outlet, 20)
        assert len(sent) == MAX_UNACKNOWLEDGED
        outlet.acknowledge(MAX_UNACKNOWLEDGED)
        await asyncio.sleep(0.05)
        running.cancel()

    asyncio.run(play())
    assert number_of(sent[-1]) == (3, 19)  # the newest; those between are gone


def test_a_slow_line_gets_smaller_pictures_and_a_fast_one_the_best_again() -> None:
    async def play() -> None:
        async def send(data: bytes) -> None:
            outlet.acknowledge(number_of(data)[0])

        outlet = Outlet("prediction", send)
        outlet._judge(0.6)
        outlet._judge(0.6)
        assert outlet.level == 2
        running = asyncio.ensure_future(outlet.run())
        await fed(outlet, 120)
        running.cancel()
        assert outlet.level < 2

    asyncio.run(play())


def test_an_allowance_ends_and_comes_back() -> None:
    allowance = Allowance(50.0, 5.0)
    assert [allowance.allows() for _ in range(7)] == [True] * 5 + [False] * 2
    time.sleep(0.1)
    assert allowance.allows()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_this_machines_own_addresses_need_no_token(host: str) -> None:
    assert is_local(host)
    assert token_for(host, "") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "robot.local", ""])
def test_every_other_address_gets_a_token_that_nobody_guesses(host: str) -> None:
    assert not is_local(host)
    assert len(token_for(host, "")) > 15
    assert token_for(host, "") != token_for(host, "")
    assert token_for(host, "chosen-one") == "chosen-one"


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 characters"):
        PageConfig(token="1234")

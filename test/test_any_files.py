"""Thousands of episodes, bags and manifests with damaged bytes: each is read or refused by a ValueError that names it."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_episodes import plain_conditions

from h2w_ros.episodes.bag import Bag
from h2w_ros.episodes.bag_writer import BagFormat, write_bag
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.mcap_scan import DAMAGE, scan
from h2w_ros.episodes.writer import write_episode

Damage = tuple[float, int, int]

# Where, how long, and which byte; a length of 0 cuts the file off there.
damages = st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 9), st.integers(0, 255)), min_size=1, max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=4,
)


def many(max_examples: int) -> Any:
    """As many cases, the same in every run, however long the slowest takes."""
    return settings(max_examples=max_examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def damaged(data: bytes, damages: list[Damage]) -> bytes:
    """The bytes with pieces overwritten or their end cut off."""
    changed = bytearray(data)
    for place, length, value in damages:
        at = int(place * len(changed))
        if length == 0:
            del changed[at:]
        else:
            changed[at : at + length] = bytes([value]) * min(length, len(changed) - at)
    return bytes(changed)


def outcome(path: Path, read: Any) -> str:
    """'read' or 'refused'; a refusal must name the file."""
    try:
        read()
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
    else:
        return "read"
    assert str(path) in text, "which file?"
    return "refused"


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "episode"
    write_episode(path, plain_conditions(4), 16.0)
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "cases"), [("episode.json", 600), ("frames.parquet", 600), ("image.mp4", 200)])
def test_a_damaged_file_of_an_episode_is_read_or_refused_by_name(episode: Path, name: str, cases: int) -> None:
    whole, outcomes = (episode / name).read_bytes(), Counter()

    @many(cases)
    @given(damages=damages)
    def read(damages: list[Damage]) -> None:
        (episode / name).write_bytes(damaged(whole, damages))
        outcomes[outcome(episode, lambda: list(Episode(episode).conditions()))] += 1

    try:
        read()
    finally:
        (episode / name).write_bytes(whole)
    assert outcomes["refused"] > cases / 10
    assert len(list(Episode(episode).conditions())) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_manifest_that_holds_anything_is_read_or_refused_by_name(episode: Path) -> None:
    file = episode / "episode.json"
    whole, outcomes = json.loads(file.read_text()), Counter()

    @many(500)
    @given(key=st.sampled_from(sorted(whole)), value=json_values)
    def read(key: str, value: Any) -> None:
        file.write_text(json.dumps({**whole, key: value}))
        outcomes[outcome(episode, lambda: list(Episode(episode).conditions(0, 1)))] += 1

    try:
        read()
    finally:
        file.write_text(json.dumps(whole))
    assert min(outcomes["read"], outcomes["refused"]) > 0
    assert len(list(Episode(episode).conditions())) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_damaged_bag_is_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    write_bag(path, plain_conditions(4), bag_format=BagFormat(jpeg_quality=None))
    whole, outcomes = path.read_bytes(), Counter()

    @many(150)
    @given(damages=damages)
    def read(damages: list[Damage]) -> None:
        path.write_bytes(damaged(whole, damages))
        outcomes[outcome(path, lambda: list(Bag(path).conditions()))] += 1

    @many(1200)
    @given(damages=damages)
    def look(damages: list[Damage]) -> None:
        try:
            content = scan(io.BytesIO(damaged(whole, damages)))
        except DAMAGE:
            return
        assert content.end <= len(whole)

    read()
    look()
    assert outcomes["refused"] > 10
    assert outcomes["read"] > 10


def test_a_bag_whose_messages_are_of_another_version_is_refused_by_name_and_field(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    write_bag(path, plain_conditions(4), bag_format=BagFormat(jpeg_quality=None))
    path.write_bytes(path.read_bytes().replace(b"string child_frame_id", b"string other_frame_id"))
    with pytest.raises(ValueError, match=r"bag\.mcap was recorded with another version of nav_msgs/msg/Odometry, which lacks child_frame_id"):
        Bag(path)

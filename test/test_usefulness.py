"""The proof of synthesis: its networks learn where wrists are, and are scored where they are in sight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_tiny import CAMERA, conditions

from h2w_ros.cli import main
from h2w_ros.geometry import transform
from h2w_ros.training.usefulness import HEIGHT_PX, WIDTH_PX, Pictures, errors_px, teach, wrists_of


def dots(count: int, seed: int) -> Pictures:
    """A dark picture with a bright dot where the right wrist is."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.1, 0.9, (count, 2))
    pictures = np.zeros((count, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for picture, (x, y) in zip(pictures, places, strict=True):
        column, row = int(x * WIDTH_PX), int(y * HEIGHT_PX)
        picture[row - 4 : row + 4, column - 4 : column + 4] = 255
    wrists = np.full((count, 2, 2), np.nan, np.float32)
    wrists[:, 1] = places
    return Pictures(pictures, wrists)


def test_a_network_finds_what_it_was_taught_to_find() -> None:
    taught, other = dots(64, 0), dots(32, 1)
    before, after = (errors_px(teach(taught, steps), other).mean() for steps in (2, 40))
    assert after < 0.75 * before


def test_lessons_repeat_themselves() -> None:
    first, second = (errors_px(teach(dots(40, 0), 3, seed=5), dots(8, 1)) for _ in range(2))
    assert np.array_equal(first, second)


def test_lessons_without_wrists_are_refused() -> None:
    nothing = replace(dots(4, 0), wrists=np.full((4, 2, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="nothing to learn"):
        teach(nothing, 2)


def test_a_wrist_is_where_it_projects_or_not_in_sight() -> None:
    moment = conditions(1)[0]
    ahead = wrists_of(moment)
    assert np.isnan(ahead[0]).all()  # no left hand
    assert np.allclose(ahead[1], [CAMERA.cx / CAMERA.width_px, CAMERA.cy / CAMERA.height_px])
    for point in ([0.0, 0.0, -0.4], [9.0, 0.0, 0.4]):
        away = replace(moment.hands[0], T_world_wrist=transform(np.eye(3), np.array(point)))
        assert np.isnan(wrists_of(replace(moment, hands=(away,)))).all()


@pytest.mark.slow
def test_the_command_tells_all_kinds_of_lessons(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    words = ["--episodes", "2", "--frames", "5", "--steps", "3", "--seeds", "1", "--json", str(tmp_path / "table.json")]
    assert main(["prove-synthesis", "--out", str(tmp_path / "out"), *words]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["wrists_scored"] > 0
    assert table["real"]["pictures"] == 2 * table["half"]["pictures"]

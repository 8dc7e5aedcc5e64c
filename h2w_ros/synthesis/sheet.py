"""The contact sheet of a synthesized dataset: what was predicted, and below it the hands that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from h2w_ros.condition import Condition
from h2w_ros.episodes.episode import Episode
from h2w_ros.hands.render import HandRenderer
from h2w_ros.pictures import BACKGROUND, AnySize, labelled, resized, widened
from h2w_ros.synthesis.work import PROVENANCE

SHOWN_MOMENTS = 8
MAX_ROWS = 40
CELL_HEIGHT_PX = 96


def write_sheet(path: Path, episodes: Sequence[Episode]) -> None:
    """A row an episode, evenly picked where there are too many for one picture."""
    rows = [_row(episodes[index]) for index in _spread(len(episodes), MAX_ROWS)]
    width_px = max(row.shape[1] for row in rows)
    wide = [np.pad(row, ((0, 4), (0, width_px - row.shape[1]), (0, 0)), constant_values=BACKGROUND) for row in rows]
    partial = path.with_name(f".{path.stem}.partial.png")
    if not cv2.imwrite(str(partial), np.concatenate(wide)[..., ::-1]):
        raise OSError(f"{path} can't be written")
    partial.replace(path)


def _row(episode: Episode) -> AnySize:
    """Evenly spread moments under a bar with the episode's name and what it is worth."""
    wanted = set(_spread(episode.num_frames, SHOWN_MOMENTS))
    cells = [_cell(condition) for index, condition in enumerate(episode.conditions()) if index in wanted]
    return labelled(np.concatenate(cells, axis=1), _title(episode))


def _cell(condition: Condition) -> AnySize:
    hands = condition.hand_render
    if hands is None:
        hands = HandRenderer().render(condition.hands, condition.camera, condition.T_world_camera)
    assert condition.image is not None
    aspect = condition.camera.fy / condition.camera.fx
    return np.concatenate([resized(widened(picture, aspect), CELL_HEIGHT_PX) for picture in (condition.image, hands)])


def _title(episode: Episode) -> str:
    worth = episode.description.get(PROVENANCE, {}).get("worth", {})
    told = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in worth.items() if value is not None)
    return f"{episode.path.name}   {told}"


def _spread(count: int, at_most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int)).tolist()

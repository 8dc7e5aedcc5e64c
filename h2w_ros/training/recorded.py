"""Recorded episodes as training clips: cut to the world's length, at the model's size, in the files that the stages read.

What a recording cannot know stays unknown: there is no static scene, no table, and no mask of what moves.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from h2w_ros.camera import Resize, intrinsics
from h2w_ros.condition import Camera, Condition
from h2w_ros.episodes.episode import Episode
from h2w_ros.episodes.layout import MANIFEST
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.hands.render import HandRenderer
from h2w_ros.training.cache import pixel_files, recorded_pixels
from h2w_ros.training.mixture import RECORDED, WORLD, set_weight, sources
from h2w_ros.world.spec import WorldSpec

# An episode whose clock differs by more than this share shows motion at another speed.
CLOCK_TOLERANCE = 0.1
# A step that lasts longer than so many periods is a gap: a clip ends there.
GAP_PERIODS = 1.6
# In widths and heights of the picture.
LENS_TOLERANCE = 0.005

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """What became of a folder of episodes: clips that were written now, and by reason what was left out."""

    num_clips: int
    left_out: Counter[str]


def add_recorded(folder: Path, model: GeneratorConfig, episodes: Path, weight: float) -> Added:
    """Writes clips of every episode under `episodes` that has none yet, as the source of that folder's name, with this weight.

    ValueError when there are no episodes; an episode that cannot be read is logged and does not stop the others.
    """
    found = sorted(file.parent for file in episodes.rglob(MANIFEST))
    if not found or episodes.name == WORLD:
        raise ValueError(f"{episodes} must hold episodes, as `h2w import-episodes` writes them, and have another name than {WORLD!r}")
    target, num_frames = folder / RECORDED / episodes.name, clip_length(folder)
    (target / "pixels").mkdir(parents=True, exist_ok=True)
    num_clips, left_out = 0, Counter[str]()
    for path in found:
        marker = target / f"{_number(str(path.relative_to(episodes)))}.json"
        if marker.exists():
            continue
        try:
            written = _add_episode(Episode(path), model, num_frames, target / "pixels", left_out)
        except ValueError as error:
            _log.warning("%s gives no clips: %s", path, error)
            left_out["episode_unusable"] += 1
            continue
        marker.write_text(json.dumps({"episode": str(path.relative_to(episodes)), "clips": written}) + "\n")
        num_clips += written
    set_weight(folder, episodes.name, weight)
    return Added(num_clips, left_out)


def clip_length(folder: Path) -> int:
    """How many frames every clip of a run has: those of the clips that are there, else the world's."""
    for source in sources(folder).values():
        for file in pixel_files(source)[:1]:
            with np.load(file) as pixels:
                return len(pixels["T_world_camera"])
    return WorldSpec().num_frames


def _add_episode(episode: Episode, model: GeneratorConfig, num_frames: int, pixels: Path, left_out: Counter[str]) -> int:
    """Writes the clips of one episode; returns how many."""
    if abs(episode.rate_hz / model.rate_hz - 1.0) > CLOCK_TOLERANCE:
        raise ValueError(f"its clock must be within {CLOCK_TOLERANCE:.0%} of the model's {model.rate_hz:g} Hz, it is {episode.rate_hz:g} Hz")
    renderer = HandRenderer(style=model.hand_style)
    conditions = sized(episode.conditions(), Resize(model.width_px, model.height_px), left_out)
    count = 0
    for count, clip in enumerate(clips(conditions, num_frames, GAP_PERIODS / model.rate_hz, left_out), 1):
        stem = _number(f"{episode.path.resolve()} {count}")
        part = pixels / f"{stem}.part.npz"
        np.savez(part, **cast(dict[str, Any], recorded_pixels(clip, renderer, model.codec.spatial_stride)))
        part.rename(pixels / f"{stem}.npz")
    return count


def sized(conditions: Iterable[Condition], resize: Resize, left_out: Counter[str]) -> Iterator[Condition]:
    """Moments that have a picture, at the model's size."""
    for condition in conditions:
        if condition.image is None:
            left_out["frame_without_picture"] += 1
            continue
        ready_made = None if condition.hand_render is None else resize.picture(condition.hand_render)
        image = resize.picture(condition.image)
        yield replace(condition, camera=resize.camera(condition.camera), image=image, hand_render=ready_made, static_render=None)


def clips(conditions: Iterable[Condition], num_frames: int, longest_step_s: float, left_out: Counter[str]) -> Iterator[list[Condition]]:
    """One clip after another, none across a gap or with another lens; those in which no hand is ever seen are left out, as are ends."""
    clip: list[Condition] = []
    for condition in conditions:
        if clip and (condition.stamp_ns - clip[-1].stamp_ns > 1e9 * longest_step_s or not _is_same_lens(condition.camera, clip[0].camera)):
            left_out["frame_before_gap"] += len(clip)
            clip = []
        clip.append(condition)
        if len(clip) == num_frames:
            if any(moment.hands or moment.hand_render is not None for moment in clip):
                yield clip
            else:
                left_out["clip_without_hands"] += 1
            clip = []
    if clip:
        left_out["frame_at_end"] += len(clip)


def _is_same_lens(one: Camera, other: Camera) -> bool:
    """Whether two cameras are one, give or take what a headset's own calibration changes as it warms up; a clip has the first one's."""
    return np.allclose(intrinsics(one), intrinsics(other), atol=LENS_TOLERANCE)


def _number(name: str) -> int:
    """A number that belongs to a name for ever: clip files are called by numbers."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")

"""What the estimators are asked, and the right answers: a clean picture of an episode, and a window of later or earlier ones that may be spoilt.

Generated pictures are soft, noisy and haunted by the first picture; who measures them must have seen such pictures.
Neighbouring pictures show the same hands and tables, so that single pictures of other episodes are asked about, too.
Shapes: B episodes of one clean picture and K in the window; M = 1 + K; S single pictures; h x w are the cells of 8 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from h2w_ros.evaluation.estimator_input import CELL_PX, SMALLEST_THING_PX, cell_slopes, mean_place, slopes_of, with_slopes
from h2w_ros.evaluation.estimator_network import EstimatorConfig
from h2w_ros.geometry import axis_angle_from_rotation, invert
from h2w_ros.training.augment import MIRROR, colour_matrix
from h2w_ros.training.truth_files import camera_of
from h2w_ros.world.spec import FIRST_OBJECT

GRID = (3, 4)
"""Rows and columns in which a window's contents are told."""
FARTHEST_M, NEAREST_M = 5.0, 0.05
MOTION_UNITS = (0.06, 0.06, 0.06, 0.015, 0.015, 0.015)
"""Rotation [rad] and translation [m] that count as one."""
WORST_BLUR_PX, WORST_NOISE, WORST_GHOST = 2.0, 16.0, 0.35
RECOLOURED_SHARE = 0.3
"""How often an episode has other colours: seldom, or the colours of skin would tell nothing."""
SPOILT_SHARES = (0.5, 0.4, 0.25)
"""How often windows are soft, noisy, haunted."""

Arrays = dict[str, ndarray]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Pictures and answers."""

    pictures: Tensor  # (B, M, 5, H, W): RGB in [-1, 1] and slopes; the clean one first
    hand: Tensor  # (B, M, H, W) in {0, 1}
    log_depth: Tensor  # (B, M, H, W)
    thing: Tensor  # (B, M, H/4, W/4): share of the cell that shows the thing to be found
    place: Tensor  # (B, K, 2): its mean place, as shares of width and height; nan where it is not seen
    slopes: Tensor  # (B, 2, h, w) of the cells
    seen_at: Tensor  # (B, K, 2, h, w): slopes at which the clean picture's still cells are seen in the others; nan for what moves
    clip: Tensor  # (B, answers)
    stills: Tensor  # (S, 5, H, W)
    still_hand: Tensor  # (S, H, W)
    still_log_depth: Tensor  # (S, H, W)

    def to(self, device: torch.device | str) -> Lesson:
        """The same on a device."""
        return Lesson(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def lessons(
    files: Sequence[Path], config: EstimatorConfig, batch: int, rng: np.random.Generator, spoil: bool = True, stills: int = 1
) -> Iterator[Lesson]:
    """Lessons from random episodes, without end."""
    if not files:
        raise FileNotFoundError("No episodes to train estimators on; `h2w train estimators --episodes N` simulates them first")
    while True:
        chosen = rng.integers(len(files), size=batch + stills)
        windows = [lesson(_moments(files[i], config.clip_pictures, rng), rng, spoil) for i in chosen[:batch]]
        singles = [still(_moments(files[i], 1, rng), rng, spoil) for i in chosen[batch:]]
        yield Lesson(**_stacked(windows), **_stacked(singles))


def lesson(moments: Arrays, rng: np.random.Generator, spoil: bool) -> Arrays:
    """One episode's part of a lesson, as arrays without B, from its first moment, the clean one, and those of the window."""
    first, episode = moments["image"][0], {name: array if name == "camera" else array[1:] for name, array in moments.items()}
    wrongs = _wrongs(rng, spoil)
    pictures = [episode["image"][0], *spoilt(episode["image"][1:], first, wrongs, rng)]
    slopes = slopes_of(camera_of(episode["camera"]))
    depth = np.clip(episode["depth_m"].astype(np.float32), NEAREST_M, FARTHEST_M)
    thing = _thing(episode["ids"], episode["moving"], rng)
    motions = invert(episode["T_world_camera"][0]) @ episode["T_world_camera"][1:]
    still = ~(episode["hand"][0] | episode["moving"][0])
    return {
        "pictures": with_slopes(np.stack(pictures), slopes),
        "hand": episode["hand"].astype(np.float32),
        "log_depth": np.log(depth),
        "thing": np.stack([cv2.resize(mask.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for mask in thing]),
        "place": np.stack([mean_place(mask) for mask in thing[1:]]),
        "slopes": cell_slopes(slopes),
        "seen_at": np.stack([seen_at(slopes, depth[0], still, T) for T in motions]),
        "clip": clip_answers(episode, np.log(depth[-1]), wrongs),
    }


def still(moments: Arrays, rng: np.random.Generator, spoil: bool) -> Arrays:
    """A single picture, the last of an episode's moments, as arrays without S."""
    wrongs = _wrongs(rng, spoil)
    picture = spoilt(moments["image"][-1:], moments["image"][0], wrongs, rng)
    depth = np.clip(moments["depth_m"][-1].astype(np.float32), NEAREST_M, FARTHEST_M)
    return {
        "stills": with_slopes(np.stack(picture), slopes_of(camera_of(moments["camera"])))[0],
        "still_hand": moments["hand"][-1].astype(np.float32),
        "still_log_depth": np.log(depth),
    }


def _wrongs(rng: np.random.Generator, spoil: bool) -> ndarray:
    """How soft, noisy and haunted pictures are, as shares of the worst."""
    return np.asarray(rng.uniform(size=3) * (rng.uniform(size=3) < SPOILT_SHARES) * spoil)


def motion_numbers(T_a_b: ndarray) -> ndarray:
    """Axis-angle and translation in MOTION_UNITS."""
    numbers = np.concatenate([axis_angle_from_rotation(T_a_b[:3, :3]), T_a_b[:3, 3]])
    return (numbers / MOTION_UNITS).astype(np.float32)


def seen_at(slopes: ndarray, depth_m: ndarray, still: ndarray, T_a_b: ndarray) -> ndarray:
    """(2, h, w): slopes at which camera b sees what the cells' middles show in a; nan where that moves or is behind b."""
    half = CELL_PX // 2
    middle = slopes[:, half::CELL_PX, half::CELL_PX]
    depth, standing = depth_m[half::CELL_PX, half::CELL_PX], still[half::CELL_PX, half::CELL_PX]
    points_a = np.stack([*(middle * depth), depth], axis=-1)
    T_b_a = invert(T_a_b)
    points_b = points_a @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    there = np.moveaxis(points_b[..., :2] / np.maximum(points_b[..., 2:], NEAREST_M), -1, 0)
    usable = standing & (points_b[..., 2] > NEAREST_M)
    return np.where(usable, cell_slopes(slopes) + there - middle, np.nan).astype(np.float32)


def spoilt(pictures: ndarray, first: ndarray, wrongs: ndarray, rng: np.random.Generator) -> list[ndarray]:
    """The pictures softened, made noisy and mixed with the first one, as far as `wrongs` (three shares of the worst) say."""
    blur, noise, ghost = wrongs * (WORST_BLUR_PX, WORST_NOISE, WORST_GHOST)
    result = []
    for picture in pictures:
        mixed = picture * (1 - ghost) + first * ghost
        soft = cv2.GaussianBlur(mixed, (0, 0), blur) if blur > 0.1 else mixed
        grain = cv2.resize(rng.normal(0, max(noise, 1e-6), (picture.shape[0] // 2, picture.shape[1] // 2, 3)), picture.shape[1::-1])
        result.append((soft + grain).clip(0, 255).astype(np.uint8))
    return result


def clip_answers(episode: Arrays, last_log_depth: ndarray, wrongs: ndarray) -> ndarray:
    """How the camera moved, where hands, moving things and depth are, on a coarse grid, and how the window was spoilt; all of order one."""
    T = episode["T_world_camera"]
    masks = (episode["hand"][1], episode["hand"][-1], episode["moving"][-1])
    grids = [3.0 * _coarse(mask) for mask in masks] + [_coarse(last_log_depth) + 0.7]
    return np.concatenate([motion_numbers(invert(T[1]) @ T[-1]), *grids, 2.0 * wrongs]).astype(np.float32)


def _coarse(picture: ndarray) -> ndarray:
    return cv2.resize(picture.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA).ravel()


def _thing(ids: ndarray, moving: ndarray, rng: np.random.Generator) -> ndarray:
    """(M, H, W): one of the things, or moving parts of things, that the clean picture shows; empty when it shows none."""
    parts = [(k, moves) for k in range(FIRST_OBJECT, ids[0].max() + 1) for moves in (True, False)]
    shown = [(k, moves) for k, moves in parts if ((ids[0] == k) & (moving[0] == moves)).sum() >= SMALLEST_THING_PX]
    if not shown:
        return np.zeros_like(moving)
    k, moves = shown[rng.integers(len(shown))]
    return (ids == k) & (moving == moves)


def _moments(path: Path, count: int, rng: np.random.Generator) -> Arrays:
    """Of an episode its first moment, a clean one (often the first again) and `count` in a row; other colours, half of the time mirrored."""
    with np.load(path) as file:
        arrays = dict(file)
    num_frames = len(arrays["image"])
    clean, start = int(rng.integers(num_frames)) * int(rng.random() < 0.5), int(rng.integers(num_frames - count + 1))
    frames = [0, clean, *range(start, start + count)]
    moments = {name: array if name == "camera" else array[frames] for name, array in arrays.items()}
    if rng.random() < RECOLOURED_SHARE:
        matrix = 0.5 * np.eye(3) + 0.5 * colour_matrix(rng)
        moments["image"] = np.stack([cv2.transform(picture, matrix) for picture in moments["image"]])
    return _mirrored(moments) if rng.random() < 0.5 else moments


def _mirrored(episode: Arrays) -> Arrays:
    """The episode in a world whose x points the other way."""
    width_px, height_px, fx, fy, cx, cy = episode["camera"]
    flipped = {name: np.ascontiguousarray(episode[name][:, :, ::-1]) for name in ("image", "hand", "moving", "ids", "depth_m")}
    return flipped | {
        "camera": np.array([width_px, height_px, fx, fy, width_px - cx, cy]),
        "T_world_camera": MIRROR @ episode["T_world_camera"] @ MIRROR,
    }


def _stacked(parts: Sequence[Arrays]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.stack([part[name] for part in parts])) for name in parts[0]}

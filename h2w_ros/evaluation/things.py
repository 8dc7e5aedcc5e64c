"""Things on the table over an episode: where they truly are, and where they would be had nobody touched them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.camera import project
from h2w_ros.condition import Condition
from h2w_ros.evaluation.episodes import HeldOutEpisode
from h2w_ros.evaluation.estimator_input import SMALLEST_THING_PX, mean_place
from h2w_ros.geometry import apply, invert
from h2w_ros.world.spec import FIRST_OBJECT

NEAREST_M = 0.01


@dataclass(frozen=True, eq=False)
class Thing:
    """A thing, or the part of it that moves, that the first of T pictures shows. Places are mean pixels, corner origin."""

    moves: bool
    mask: Bool[ndarray, "H W"]
    """Its pixels in the first picture."""
    place_px: Float[ndarray, "T 2"]
    """Where it is; nan where too little of it is seen."""
    unmoved_px: Float[ndarray, "T 2"]
    """Where it would be seen had it never moved; nan where more than half of it would be out of sight."""


def things_of(episode: HeldOutEpisode) -> list[Thing]:
    """What the first picture shows enough of; nothing where ids and depth are not known."""
    if episode.truth is None or episode.object_masks is None:
        return []
    ids, moving = episode.truth.ids, episode.object_masks
    parts = [(moves, (ids == k) & (moving == moves)) for k in range(FIRST_OBJECT, int(ids.max()) + 1) for moves in (True, False)]
    depth_m = episode.truth.depth_m[0]
    return [_thing(moves, part, depth_m, episode.conditions) for moves, part in parts if part[0].sum() >= SMALLEST_THING_PX]


def _thing(moves: bool, part: Bool[ndarray, "T H W"], depth_m: Float[ndarray, "H W"], conditions: Sequence[Condition]) -> Thing:
    size_px = part.shape[2], part.shape[1]
    places = np.stack([mean_place(mask) * size_px for mask in part])
    return Thing(moves, part[0], places, np.stack(list(_unmoved(part[0], depth_m, conditions))))


def _unmoved(mask: Bool[ndarray, "H W"], depth_m: Float[ndarray, "H W"], conditions: Sequence[Condition]) -> Iterator[Float[ndarray, "2"]]:
    """The mean of the points under the mask, as every camera sees them where they were at first."""
    first = conditions[0]
    v, u = np.nonzero(mask & np.isfinite(depth_m))
    depth = depth_m[v, u].astype(np.float64)
    x, y = (u + 0.5 - first.camera.cx) / first.camera.fx, (v + 0.5 - first.camera.cy) / first.camera.fy
    points_world = apply(first.T_world_camera, np.stack([x * depth, y * depth, depth], axis=-1))
    for condition in conditions:
        points = apply(invert(condition.T_world_camera), points_world)
        pixels = project(condition.camera, points[points[:, 2] > NEAREST_M])
        size_px = condition.camera.width_px, condition.camera.height_px
        inside = pixels[((pixels >= 0) & (pixels < size_px)).all(-1)]
        yield inside.mean(0) if 2 * len(inside) > len(points) else np.full(2, np.nan)

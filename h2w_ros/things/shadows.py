"""Shadows on a table: how hands and things darken it under one light from far away, and where a picture tells that light comes from.

What a hand's shadow does is half of what one sees of a hand over a table. Every shadow in a picture is cast by something whose place is
known, so lights are tried: the right one lays shadows where the picture is darker than right beside, and their edges where it becomes so. Of
100 first pictures of the simulated world, with things as they are lifted from these pictures, 85 tell of a light: 82 within 15 degrees of the
true one, 4 at the median.

Everything here is in the table's frame: z up, the table's top at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

from h2w_ros.camera import project, unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.hands.forearms import RADII_M

FINGERS = ((13, 14, 15, 16), (1, 2, 3, 17), (4, 5, 6, 18), (10, 11, 12, 19), (7, 8, 9, 20))
PALM = (0, 1, 4, 7, 10, 13)
"""Of a hand's joints and tips in smplx's order."""
FINGER_M, PALM_M, FOREARM_SHARE = 0.0085, 0.012, 0.8
"""Radii; a forearm's shadow is that of the arm within its sleeve."""
FOREARM_PIECES = 6
"""A forearm is laid piece by piece: of its shadow, the part that falls behind the camera is not seen."""
CIRCLE = np.stack([wave(np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)) for wave in (np.cos, np.sin)], axis=1)
CLOSING_PX, SUBPIXEL_BITS = 5, 4
NEAREST_M, REACH_M = 0.05, 1.6

NUM_AZIMUTHS, ELEVATIONS_RAD = 16, (0.9, 1.1, 1.3)
"""Lights that are tried at first; then those between them."""
ROUNDS, STARTS, APART_RAD = 3, 3, 0.35
"""Rounds of halved steps around each of the best lights of those, which are at least this far apart: a table's pattern may look like a shadow."""
EDGE_PX = 2
RING_PX = 14
"""A shadow is darker than what is this near. Farther away, tables have patterns."""
LEAST_FIT, DARKEST, LIGHTEST = 0.3, 0.3, 0.75
"""Correlation of shadow and darkness below which no light is told, and the brightness in shadows, of that beside them, that is believed."""
SLOPE_PX = 2.0
"""Slopes are told of pictures that are blurred so much."""
LEAST_PX = 20
LIT, BRIGHTER, BRIGHTER_BY = 0.1, 1.03, 3.0
"""Less shadow is none; and what would be brighter than all the lit table beside it, by a factor and in grey levels, was in no shadow."""
DARK = 4.0
"""Added to brightness before its logarithm: the noise of black pixels says nothing."""

Direction = Float[ndarray, "3"]
Solid = Float[ndarray, "_ 4"]
Shadow = Float32[ndarray, "H W"]
Seen = tuple[Camera, Transform]
"""A camera, and T_camera_table."""
Angles = tuple[float, float]
"""Azimuth and elevation [rad] of where light comes from."""


@dataclass(frozen=True, eq=False)
class Casters:
    """What stands between light and table: solids as hulls of balls (x, y, z, radius [m]), and points of things."""

    solids: Sequence[Solid]
    points: Float[ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Light:
    """A unit vector to where it comes from, and how bright the table stays without it: the same for all colours, which a table of few
    colours could not tell apart."""

    direction: Direction
    in_shadow: float

    def share(self, shadow: Shadow) -> Shadow:
        """What is left of the table's brightness under a shadow."""
        return (1.0 - shadow * (1.0 - self.in_shadow)).astype(np.float32)


def hand_solids(joints: Float[ndarray, "2 21 3"], forearms: Sequence[Float[ndarray, "2 3"]]) -> list[Solid]:
    """Fingers, palms and forearms; hands that are not there are NaN."""
    solids = []
    for hand in joints[np.isfinite(joints).all(axis=(1, 2))]:
        solids += [_balls(hand[[a, b]], FINGER_M) for finger in FINGERS for a, b in pairwise(finger)]
        solids.append(_balls(hand[list(PALM)], PALM_M))
    for ends in forearms:
        shares = np.linspace(0.0, 1.0, FOREARM_PIECES + 1)[:, None]
        balls = _balls(ends[0] + shares * (ends[1] - ends[0]), FOREARM_SHARE * np.interp(shares[:, 0], (0.0, 1.0), RADII_M))
        solids += [balls[k : k + 2] for k in range(FOREARM_PIECES)]
    return solids


def dimmed(picture: Image, share: Shadow) -> Image:
    """So much of each pixel's brightness."""
    return np.minimum(picture * share[..., None] + np.float32(0.5), 255.0).astype(np.uint8)


def shadow_of(casters: Casters, light_from: Direction, seen: Seen) -> Shadow:
    """How much of each pixel's table lies in these casters' shadows, 0..1."""
    camera, _ = seen
    mask = np.zeros((camera.height_px, camera.width_px), np.uint8)
    _mark_points(mask, casters.points, light_from, seen)
    if casters.solids:
        rims_px, is_before = _projected(_rims(np.concatenate(casters.solids), light_from).reshape(-1, 3), seen)
        ends = np.cumsum([len(CIRCLE) * len(solid) for solid in casters.solids])
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            if is_before[start:end].all():
                hull = cv2.convexHull(rims_px[start:end])
                cv2.fillConvexPoly(mask, np.round(hull * (1 << SUBPIXEL_BITS)).astype(np.int32), (255,), cv2.LINE_AA, SUBPIXEL_BITS)
    return cv2.blur(mask, (3, 3)).astype(np.float32) * np.float32(1 / 255)


def edges(shadow: Shadow) -> Bool[ndarray, "H W"]:
    """Where a shadow that is a little elsewhere than it should be differs from it."""
    around = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    return np.asarray(cv2.dilate(shadow, around) - cv2.erode(shadow, around) > 0.5)


def lit_again(picture: Image, hidden: Bool[ndarray, "H W"], shadow: Shadow, light: Light, seen: Seen) -> tuple[Image, Bool[ndarray, "H W"]]:
    """The picture with its table as if nothing stood in the light; and where that is not to be believed: at the shadow's edges.

    `hidden`: what shows no table. What would become brighter than all the lit table beside it was lit, and stays as it is.
    """
    lit = dimmed(picture, 1.0 / light.share(shadow))
    before, after = (image.astype(np.float32).mean(axis=-1) for image in (picture, lit))
    ring = np.ones((2 * RING_PX + 1, 2 * RING_PX + 1), np.uint8)
    brightest = cv2.dilate(np.where(_table(seen) & ~hidden & (shadow < LIT), before, 0.0), ring)
    was_lit = (shadow >= LIT) & (brightest > 0.0) & (after > BRIGHTER * brightest + BRIGHTER_BY)
    return np.where(was_lit[..., None], picture, lit), edges(shadow) & ~was_lit


def seen_light(picture: Image, hidden: Bool[ndarray, "H W"], casters: Casters, seen: Seen, before: Light | None) -> Light | None:
    """The light that explains where this picture's table is dark; `before` where none does. `hidden`: what shows no table.

    Where a light is known, only those near it are tried.
    """
    table = _Table.of(picture, _table(seen) & ~hidden)
    steps = 2.0 * np.pi / NUM_AZIMUTHS, ELEVATIONS_RAD[1] - ELEVATIONS_RAD[0]

    @cache
    def fit(azimuth: float, elevation: float) -> float:
        return _fit(shadow_of(casters, _direction(azimuth, elevation), seen), table)

    tried = [(k * steps[0], e) for k in range(NUM_AZIMUTHS) for e in ELEVATIONS_RAD] if before is None else [_angles(before.direction)]
    best = max((_climbed(fit, start, steps) for start in _starts(fit, tried)), key=lambda angles: fit(*angles))
    in_shadow = _in_shadow(shadow_of(casters, _direction(*best), seen), table)
    if in_shadow is None or in_shadow > LIGHTEST or fit(*best) < LEAST_FIT:
        return before
    return Light(_direction(*best), max(in_shadow, DARKEST))


def _starts(fit: Callable[[float, float], float], tried: Sequence[Angles]) -> list[Angles]:
    """The best of them that are well apart."""
    starts: list[Angles] = []
    for angles in sorted(tried, key=lambda each: -fit(*each)):
        if all(_direction(*angles) @ _direction(*other) < np.cos(APART_RAD) for other in starts):
            starts.append(angles)
    return starts[:STARTS]


def _climbed(fit: Callable[[float, float], float], start: Angles, steps: Angles) -> Angles:
    """From a light to the best one near it."""
    best = start
    for halvings in range(1, ROUNDS + 1):
        azimuth_step, elevation_step = (step / 2**halvings for step in steps)
        (azimuth, elevation), around = best, ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
        near = [(azimuth + a * azimuth_step, elevation + e * elevation_step) for a, e in around]
        best = max(near, key=lambda angles: fit(*angles))
    return best


def _balls(middles: Float[ndarray, "k 3"], radii_m: float | Float[ndarray, "k"]) -> Solid:
    return np.concatenate([middles, np.broadcast_to(radii_m, len(middles))[:, None]], axis=1)


def _laid(points: Float[ndarray, "n 3"], light_from: Direction) -> Float[ndarray, "n 3"]:
    """Where the shadows of points fall on the table."""
    return points - np.maximum(points[:, 2:], 0.0) / light_from[2] * light_from - np.minimum(points[:, 2:], 0.0) * (0.0, 0.0, 1.0)


def _rims(balls: Float[ndarray, "n 4"], light_from: Direction) -> Float[ndarray, "n c 3"]:
    """The edges of balls' shadows: ellipses, longer the lower the light."""
    level = np.hypot(light_from[0], light_from[1])
    along = light_from[:2] / max(level, 1e-9) if level > 0 else np.array([1.0, 0.0])
    edge = CIRCLE[:, :1] * along / light_from[2] + CIRCLE[:, 1:] * np.array([-along[1], along[0]])
    rims = np.repeat(_laid(balls[:, :3], light_from)[:, None], len(CIRCLE), axis=1)
    rims[..., :2] += balls[:, 3, None, None] * edge
    return rims


def _projected(points: Float[ndarray, "n 3"], seen: Seen) -> tuple[Float32[ndarray, "n 2"], Bool[ndarray, "n"]]:
    """Pixel indices, and which points are before the camera."""
    camera, T_camera_table = seen
    in_camera = apply(T_camera_table, points)
    is_before = in_camera[:, 2] > NEAREST_M
    in_camera[:, 2] = np.maximum(in_camera[:, 2], NEAREST_M)
    return (project(camera, in_camera) - 0.5).clip(-1e4, 1e4).astype(np.float32), is_before


def _mark_points(mask: ndarray, points: Float[ndarray, "n 3"], light_from: Direction, seen: Seen) -> None:
    """Shadows of points, and what is between them."""
    if not len(points):
        return
    height, width = mask.shape
    places, is_before = _projected(_laid(points, light_from), seen)
    columns, rows = np.floor(places + 0.5).astype(np.int64).T
    inside = is_before & (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    mask[rows[inside], columns[inside]] = 255
    cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((CLOSING_PX, CLOSING_PX), np.uint8), dst=mask)


def _table(seen: Seen) -> Bool[ndarray, "H W"]:
    """Pixels whose rays meet the table within reach."""
    camera, T_camera_table = seen
    T_table_camera = invert(T_camera_table)
    falls = unit_rays_camera(camera) @ T_table_camera[2, :3].astype(np.float32)
    with np.errstate(divide="ignore"):
        distance_m = -np.float32(T_table_camera[2, 3]) / falls
    return ((distance_m > 0) & (distance_m < REACH_M)).reshape(camera.height_px, camera.width_px)


@dataclass(frozen=True, eq=False)
class _Table:
    """How dark a picture's table is, and how fast that changes to the right and downwards."""

    log_colours: Float32[ndarray, "H W 3"]
    darkness: Float32[ndarray, "H W"]
    slopes: Float32[ndarray, "H W 2"]
    is_seen: Bool[ndarray, "H W"]

    @classmethod
    def of(cls, picture: Image, is_seen: Bool[ndarray, "H W"]) -> _Table:
        log_colours = np.log(cv2.GaussianBlur(picture, (0, 0), 0.8).astype(np.float32) + DARK)
        darkness = -log_colours.mean(axis=-1)
        return cls(log_colours, darkness, _slopes(darkness), is_seen)

    def beside(self, shadow: Shadow) -> Bool[ndarray, "H W"] | None:
        """Pixels in a shadow and right beside it; None for too few of either."""
        near = self.is_seen & (cv2.dilate(shadow, np.ones((2 * RING_PX + 1, 2 * RING_PX + 1), np.uint8)) > 0.3)
        in_shadow = float(shadow[near].sum())
        return near if min(in_shadow, near.sum() - in_shadow) >= LEAST_PX else None


def _fit(shadow: Shadow, table: _Table) -> float:
    """Correlation of shadow and darkness, in the shadow and right beside it: the mean of that of both and that of their slopes, in which
    the table's own pattern weighs less."""
    near = table.beside(shadow)
    if near is None:
        return 0.0
    within = cv2.erode(near.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inside, darkness = (each[near] - each[near].mean() for each in (shadow, table.darkness))
    return (_cosine(inside, darkness) + _cosine(_slopes(shadow)[within], table.slopes[within])) / 2.0


def _slopes(image: Float32[ndarray, "H W"]) -> Float32[ndarray, "H W 2"]:
    blurred = cv2.GaussianBlur(image, (0, 0), SLOPE_PX)
    return np.stack([cv2.Sobel(blurred, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1))], axis=-1)


def _cosine(a: ndarray, b: ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9))


def _in_shadow(shadow: Shadow, table: _Table) -> float | None:
    """Brightness in shadows, of that beside them."""
    near = table.beside(shadow)
    if near is None:
        return None
    inside, colours = shadow[near], table.log_colours[near]
    is_dark, is_lit = inside > max(0.5, 0.9 * inside.max()), inside < LIT
    if not is_dark.any() or not is_lit.any():
        return None
    dark, lit = ((np.exp(colours[chosen].mean(axis=0)) - DARK).sum() for chosen in (is_dark, is_lit))
    return float(dark / max(lit, 1.0))


def _direction(azimuth: float, elevation: float) -> Direction:
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def _angles(direction: Direction) -> Angles:
    return float(np.arctan2(direction[1], direction[0])), float(np.arcsin(np.clip(direction[2], -1.0, 1.0)))

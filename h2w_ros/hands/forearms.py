"""Where forearms probably are. MANO ends at the wrist, yet forearms cover more of a first-person picture than hands do.

A forearm goes from the wrist towards the shoulder and yields to the hand, since wrists bend only so far. Where the shoulder is, is
known roughly: it goes along with a head that looks down at its hands. Against the simulated world's arms, whose shoulders stay while
the head moves, the direction is 10 degrees off at the median; going straight on from the hand would be 25 degrees off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from h2w_ros.camera import project, unit_rays_camera
from h2w_ros.condition import SIDES, Camera, Image, Side
from h2w_ros.geometry import Transform, apply, cross_matrix, invert
from h2w_ros.hands.grip import middle

SHOULDERS_CAMERA_M: Mapping[Side, tuple[float, float, float]] = {"left": (-0.25, 0.37, 0.13), "right": (0.25, 0.37, 0.13)}
"""From the eyes in the optical frame: beside, below and, because the gaze is lowered by some forty degrees, before them."""
YIELDS = 0.37
"""How much the direction follows the hand's instead of the shoulder's."""
LENGTH_M = 0.5
RADII_M = (0.024, 0.041)
"""Half-widths at the wrist and at the other end."""
COLOURS: Mapping[Side, tuple[int, int, int]] = {"left": (0, 100, 100), "right": (100, 100, 0)}
"""RGB: some of the hand's own colour, and green, which no hand picture has."""
SEGMENTS = 4
"""Parts of a forearm from the wrist on, which may differ in colour: skin, then a sleeve."""
NEAREST_M = 0.05
SUBPIXEL_BITS = 4
RIM = np.stack([wave(np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)) for wave in (np.cos, np.sin, np.zeros_like)], axis=1)
"""Points on the edge of a disc that faces the camera."""

Ends = Float[ndarray, "2 3"]
Shoulders = Float[ndarray, "2 3"]


def with_forearms(
    hands: Image, T_world_grips: Float[ndarray, "2 4 4"], camera: Camera, T_world_camera: Transform, shoulders_world: Shoulders | None = None
) -> Image:
    """A hand picture with probable forearms behind its hands. `T_world_grips` as `grip.grips_world` gives them: NaN where a hand is unknown.

    `shoulders_world` [m]: left and right, where they are known (`shoulders`).
    """
    arms = np.zeros_like(hands)
    for side, ends in _forearms_camera(T_world_grips, T_world_camera, shoulders_world):
        arm = np.zeros_like(arms)
        fill_limb(arm, ends, RADII_M, camera, COLOURS[side])
        np.maximum(arms, arm, out=arms)
    cv2.copyTo(hands, brightness(hands), arms)
    return arms


@dataclass(frozen=True, eq=False)
class ForearmSurface:
    """What of probable forearms each pixel shows: a segment, 1 .. SEGMENTS from the wrist on, 0 for none; and unit normals, zero for none."""

    segments: UInt8[ndarray, "H W"]
    normals_camera: Float32[ndarray, "H W 3"]


def forearm_surface(
    T_world_grips: Float[ndarray, "2 4 4"], camera: Camera, T_world_camera: Transform, shoulders_world: Shoulders | None = None
) -> ForearmSurface:
    """Probable forearms as `with_forearms` draws them, in parts and round."""
    size = camera.height_px, camera.width_px
    segments, normals = np.zeros(size, np.uint8), np.zeros((*size, 3), np.float32)
    shares = np.linspace(0.0, 1.0, SEGMENTS + 1)
    radii_m = RADII_M[0] + shares * (RADII_M[1] - RADII_M[0])
    for _, (wrist, end) in _forearms_camera(T_world_grips, T_world_camera, shoulders_world):
        joints, own = wrist + shares[:, None] * (end - wrist), np.zeros(size, np.uint8)
        for k in reversed(range(SEGMENTS)):  # what is nearer to the hand hides the rest
            fill_limb(own, joints[k : k + 2], (radii_m[k], radii_m[k + 1]), camera, k + 1)
        shown = np.flatnonzero(own)
        segments.ravel()[shown] = own.ravel()[shown]
        normals.reshape(-1, 3)[shown] = _round_normals(unit_rays_camera(camera)[shown], wrist, end)
    return ForearmSurface(segments, normals)


def _round_normals(rays: Float32[ndarray, "n 3"], wrist: Float[ndarray, "3"], end: Float[ndarray, "3"]) -> Float[ndarray, "n 3"]:
    """Which way a round forearm faces where these rays meet it. The farther a ray passes its axis, the more it faces sideways."""
    axis = _unit(end - wrist)
    along = rays @ axis
    nearest_m = (along * (rays @ wrist) - axis @ wrist) / np.maximum(1.0 - along * along, 1e-9)  # from the wrist
    radii_m = np.interp(nearest_m, (0.0, LENGTH_M), RADII_M)
    cross_axis = cross_matrix(axis)  # v x axis = v @ cross_axis
    sideways = rays @ cross_axis
    sideways /= np.maximum(np.linalg.norm(sideways, axis=1, keepdims=True), 1e-9)
    off = np.clip(-(sideways @ wrist) / radii_m, -1.0, 1.0)[:, None]
    forward = sideways @ cross_axis
    forward *= -np.sign((forward * rays).sum(axis=1, keepdims=True))
    return off * sideways + np.sqrt(1.0 - off * off) * forward


def brightness(picture: Image) -> UInt8[ndarray, "H W"]:
    """Each pixel's brightest channel: in a hand picture, 0 where there is no hand. Ten times as fast as NumPy over the last axis."""
    red, green, blue = cv2.split(picture)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _forearms_camera(
    T_world_grips: Float[ndarray, "2 4 4"], T_world_camera: Transform, shoulders_world: Shoulders | None
) -> Iterator[tuple[Side, Ends]]:
    """The forearm of every hand that is known, in the camera's frame."""
    T_camera_world = invert(T_world_camera)
    shoulders: Sequence[Float[ndarray, "3"] | None] = (None, None) if shoulders_world is None else list(apply(T_camera_world, shoulders_world))
    for side, T_camera_grip, shoulder in zip(SIDES, T_camera_world @ T_world_grips, shoulders, strict=True):
        if np.isfinite(T_camera_grip).all():
            yield side, forearm_camera(side, T_camera_grip, shoulder)


def forearms_world(
    T_world_grips: Float[ndarray, "2 4 4"], T_world_camera: Transform, shoulders_world: Shoulders | None = None
) -> Float[ndarray, "n 2 3"]:
    """Both ends of the probable forearm of every hand that is known [m]."""
    ends = [apply(T_world_camera, own) for _, own in _forearms_camera(T_world_grips, T_world_camera, shoulders_world)]
    return np.array(ends).reshape(-1, 2, 3)


def forearm_camera(side: Side, T_camera_grip: Transform, shoulder: Float[ndarray, "3"] | None = None) -> Ends:
    """Wrist and the other end of the probable forearm in the camera's frame [m]; `shoulder`, where it is known, in that frame, too."""
    wrist = wrist_camera(side, T_camera_grip)
    to_shoulder = (np.array(SHOULDERS_CAMERA_M[side]) if shoulder is None else shoulder) - wrist
    direction = _unit(_unit(to_shoulder) - YIELDS * _unit(T_camera_grip[:3, 3] - wrist))
    return np.stack([wrist, wrist + LENGTH_M * direction])


def wrist_camera(side: Side, T_camera_grip: Transform) -> Float[ndarray, "3"]:
    """The wrist of a hand with this grip [m]."""
    return apply(T_camera_grip, -middle(side)[None])[0]


def fill_limb(
    picture: UInt8[ndarray, "H W *c"], ends: Ends, radii_m: tuple[float, float], camera: Camera, colour: int | tuple[int, int, int]
) -> None:
    """Fills a limb's outline: two discs and what lies between them; what is behind the camera is cut off."""
    (start, end), (start_m, end_m) = ends, radii_m
    if start[2] < NEAREST_M:
        return
    if end[2] < NEAREST_M:
        share = (start[2] - NEAREST_M) / (start[2] - end[2])
        end, end_m = start + share * (end - start), start_m + share * (end_m - start_m)
    rims = [_rim_px(centre, radius_m, camera) for centre, radius_m in ((start, start_m), (end, end_m))]
    outline = cv2.convexHull(np.concatenate(rims).astype(np.float32))
    fixed = np.round(outline.clip(-1e4, 1e4) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(picture, fixed, colour, cv2.LINE_8, SUBPIXEL_BITS)


def _rim_px(centre: Float[ndarray, "3"], radius_m: float, camera: Camera) -> Float[ndarray, "16 2"]:
    """The edge of a disc that faces the camera, in pixel indices: the centre of the first pixel is (0, 0)."""
    return project(camera, centre + radius_m * RIM) - 0.5


def _unit(vector: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)

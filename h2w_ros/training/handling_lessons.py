"""What the handling network learns from: simulated episodes as parts that hands move, and what each hand does to each part in each frame."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from numpy import ndarray

from h2w_ros.condition import Camera
from h2w_ros.geometry import Transform, invert
from h2w_ros.scene.depth import points_of
from h2w_ros.things.handling import FINGERTIPS, body_of_links
from h2w_ros.things.parts import MIN_PIXELS
from h2w_ros.world.spec import FIRST_OBJECT

POINTS = 128
GOES_M = 5e-4
"""What moves less within a frame rests."""
FOLLOWS_SHARE, FOLLOWS_M = 0.15, 1e-3
"""What goes along with a hand misses it by no more than this share of its way, or this."""
HOLDING_M = 0.05
"""Hands hold nothing that is farther from all their joints."""
USUAL_STEP_M = 0.005
"""A mistake over a step of this length has weight 1."""


@dataclass(frozen=True, eq=False)
class HandledEpisode:
    """m parts of the first picture and the hands that move them, T frames, in the world [m]."""

    points: Float32[ndarray, "m n 3"]
    """Seen points of each part in the first frame."""
    T_now_start: Float32[ndarray, "m T 4 4"]
    is_link: Bool[ndarray, "m"]
    body: Int[ndarray, "m"]
    """What each link opens on, -1 for what is no link or stands alone."""
    joints: Float32[ndarray, "T 2 21 3"]
    """Joints and tips of the left and right hand, nan for one that is not there."""
    T_world_grips: Float32[ndarray, "T 2 4 4"]

    def save(self, path: Path) -> None:
        """Writes it as npz."""
        np.savez(path, **{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, path: Path) -> HandledEpisode:
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{each.name: arrays[each.name] for each in fields(cls)})


@dataclass(frozen=True, eq=False)
class FirstLook:
    """What the first picture shows, pixel by pixel; ids as in `GroundTruth`, objects from 3."""

    ids: UInt8[ndarray, "H W"]
    links: Bool[ndarray, "H W"]
    depth_m: Float[ndarray, "H W"]
    camera: Camera
    T_world_camera: Transform

    def points_world(self, mask: Bool[ndarray, "H W"]) -> Float[ndarray, "n 3"]:
        """The surface under a mask [m]."""
        known = np.where(mask, self.depth_m, 0.0).astype(np.float32)
        return points_of(known, self.camera, self.T_world_camera)[mask]


def parts_of(
    look: FirstLook, T_world_object: Float[ndarray, "T o 4 4"], T_world_link: Float[ndarray, "T o 4 4"], rng: np.random.Generator
) -> dict[str, ndarray]:
    """The parts' fields of a HandledEpisode: of each object its body and what opens on it, as far as they are seen."""
    points: list[ndarray] = [np.zeros((0, POINTS, 3))]
    motions: list[ndarray] = [np.zeros((0, len(T_world_object), 4, 4))]
    is_link: list[bool] = []
    for thing in range(T_world_object.shape[1]):
        for link, poses in ((False, T_world_object), (True, T_world_link)):
            mask = (look.ids == FIRST_OBJECT + thing) & (look.links == link) & np.isfinite(look.depth_m)
            if mask.sum() < MIN_PIXELS:
                continue
            seen = look.points_world(mask)
            points.append(seen[rng.choice(len(seen), POINTS, replace=len(seen) < POINTS)][None])
            motions.append((poses[:, thing] @ invert(poses[0, thing]))[None])
            is_link.append(link)
    clouds, links = np.concatenate(points), np.array(is_link, dtype=bool)
    moved = np.concatenate(motions).astype(np.float32)
    return {"points": clouds.astype(np.float32), "T_now_start": moved, "is_link": links, "body": body_of_links(clouds, links)}


@dataclass(frozen=True, eq=False)
class Acts:
    """What really happens to each part within each frame (nothing in the first), and how much it matters."""

    what: Int[ndarray, "m T"]
    """0 rests, 1 and 2 goes with the left or right hand, 3 and 4 is pushed by it, or falls or rolls near it."""
    weight: Float32[ndarray, "m T"]
    """0 where there is nothing to learn: a lid on a body that moves."""
    distance_m: Float32[ndarray, "m T 2"]
    """From each hand's joints to the part; 9 where there is no hand."""


def steps_of(T_now_start: Float[ndarray, "*m T 4 4"]) -> Float[ndarray, "*m T 4 4"]:
    """Each frame's motion since the frame before; none in the first."""
    before = np.concatenate([T_now_start[..., :1, :, :], T_now_start[..., :-1, :, :]], axis=-3)
    return T_now_start @ invert(before)


def acts_of(episode: HandledEpisode) -> Acts:
    """What the hands do, told from how the parts go."""
    each = [_acts_of_part(episode, part) for part in range(len(episode.points))]
    what, weight, distance = (np.stack([acts[k] for acts in each]) for k in range(3))
    return Acts(what, weight.astype(np.float32), distance.astype(np.float32))


def _acts_of_part(episode: HandledEpisode, part: int) -> tuple[ndarray, ndarray, ndarray]:
    T, body = episode.T_now_start[part].astype(np.float64), episode.body[part]
    steps, points = steps_of(T), _along(T, episode.points[part, ::4])
    before = np.concatenate([points[:1], points[:-1]])
    way = _mean_m(points - before)
    distance = np.concatenate([np.full((1, 2), 9.0), hand_distance(episode.joints, points)[:-1]])
    with_hands = hand_steps(episode.T_world_grips)
    carried = np.stack([_along(with_hands[:, side], before) for side in range(2)], axis=1)  # (T, 2, n, 3)
    misses = _follows_opening(episode, part, steps) if episode.is_link[part] else _mean_m(carried - points[:, None])
    misses = np.where(np.isfinite(misses) & (distance < HOLDING_M), misses, np.inf)
    goes, nearest = way > GOES_M, distance.argmin(1)
    follows = misses.min(1) < np.maximum(FOLLOWS_M, FOLLOWS_SHARE * way)
    what = np.where(goes, np.where(follows, 1 + misses.argmin(1), 3 + nearest), 0)
    would_go = np.where(distance < 3 * HOLDING_M, np.nan_to_num(_mean_m(carried - before[:, None])), 0.0).max(1)
    weight = np.clip(np.where(goes, way, would_go) / USUAL_STEP_M, 0.1, 2.0)
    what, weight = _keep_holding(what, weight, would_go, distance)
    if body >= 0:
        body_way = _mean_m(_along(steps_of(episode.T_now_start[body].astype(np.float64)), before) - before)
        weight = np.where(body_way > GOES_M, 0.0, weight)
    return what, weight, distance


def _keep_holding(what: ndarray, weight: ndarray, would_go: ndarray, distance: ndarray) -> tuple[ndarray, ndarray]:
    """A hand that waits with something in it still holds it, though nothing tells; to take and to let go in time matters most."""
    what, weight = what.copy(), weight.copy()
    for frame in range(1, len(what)):
        held = what[frame - 1]
        if what[frame] == 0 and held in (1, 2) and would_go[frame] < 2 * GOES_M and distance[frame, held - 1] < HOLDING_M:
            what[frame], weight[frame] = held, 0.05
    holds = (what == 1) | (what == 2)
    for frame in range(1, len(what)):
        recent = holds[max(0, frame - 4) : frame]
        if weight[frame] > 0.05 and holds[frame]:
            weight[frame] = max(weight[frame], 1.0 if recent.all() else 2.0)
        elif weight[frame] > 0.05 and recent.any():
            weight[frame] = max(weight[frame], 1.5)
    return what, weight


def hand_steps(T_world_grips: Float[ndarray, "T 2 4 4"]) -> Float[ndarray, "T 2 4 4"]:
    """How each hand has moved since the frame before; nan where it was not there."""
    T = np.asarray(T_world_grips, dtype=np.float64)
    there = np.asarray(np.isfinite(T).all((2, 3)))[..., None, None]
    before = np.where(there[:-1], T[:-1], np.eye(4))
    steps = np.where(there[:-1] & there[1:], np.where(there[1:], T[1:], np.eye(4)) @ invert(before), np.nan)
    return np.concatenate([np.full((1, 2, 4, 4), np.nan), steps])


def hand_distance(joints: Float[ndarray, "T 2 21 3"], points: Float[ndarray, "T n 3"]) -> Float[ndarray, "T 2"]:
    """From each hand's nearest joint to the nearest point [m]; 9 where there is no hand."""
    apart = np.linalg.norm(joints[:, :, :, None] - points[:, None, None], axis=-1).min((2, 3))
    return np.where(np.isfinite(apart), apart, 9.0)


def opening_axis(T_body_link: Float[ndarray, "T 4 4"]) -> tuple[bool, Float[ndarray, "3"], Float[ndarray, "3"]] | None:
    """Whether a link turned, and the axis (unit) and a point of it [m], in the first frame's world; None for what hardly turned or slid."""
    turned = np.arccos(np.clip((np.trace(T_body_link[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    most = int(turned.argmax())
    if turned[most] < 0.1:
        slid = T_body_link[np.linalg.norm(T_body_link[:, :3, 3], axis=-1).argmax(), :3, 3]
        return (False, slid / np.linalg.norm(slid), np.zeros(3)) if np.linalg.norm(slid) > 0.01 else None
    R, t = T_body_link[most, :3, :3], T_body_link[most, :3, 3]
    axis = np.linalg.svd(R - np.eye(3))[2][2]  # what the turn leaves where it is
    return True, axis, np.linalg.pinv(np.eye(3) - R, rcond=1e-3) @ t


def T_body_link(episode: HandledEpisode, link: int) -> Float[ndarray, "T 4 4"]:
    """How a link has moved on its body, in the first frame's world."""
    T, body = episode.T_now_start[link].astype(np.float64), episode.body[link]
    return T if body < 0 else invert(episode.T_now_start[body].astype(np.float64)) @ T


def _follows_opening(episode: HandledEpisode, link: int, steps: Float[ndarray, "T 4 4"]) -> Float[ndarray, "T 2"]:
    """By how much each hand's finger tips miss what a link's opening would do to them [m]; inf for a link that never opens."""
    if opening_axis(T_body_link(episode, link)) is None:
        return np.full((len(steps), 2), np.inf)
    tips = episode.joints[:, :, list(FINGERTIPS)].astype(np.float64)
    before = np.concatenate([tips[:1], tips[:-1]])
    led = np.stack([_along(steps, before[:, side]) for side in range(2)], axis=1)
    return np.linalg.norm((led - tips).mean(2), axis=-1)


def _along(T: Float[ndarray, "T 4 4"], points: ndarray) -> Float[ndarray, "T n 3"]:
    """Points (n, 3), or (T, n, 3), moved by each of T motions."""
    return points @ T[:, :3, :3].swapaxes(-1, -2) + T[:, None, :3, 3]


def _mean_m(steps: Float[ndarray, "*b n 3"]) -> ndarray:
    return np.asarray(np.linalg.norm(steps, axis=-1).mean(-1))

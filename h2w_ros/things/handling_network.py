"""What a hand does to a part beside it in one frame: leaves it, takes it along, or pushes it. Learned from the simulated world.

Every pair of a part and a hand is seen from a frame of its own: origin under the part's middle on the table, y along the
hand's fingers, level; left hands are mirrored to right ones. So one small network knows all places, turns and both hands.

Shapes: P parts, n points of each, 2 hands (left, right), 21 joints of each, f features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from h2w_ros.hands.skinning import Array, array_namespace

WRIST, MIDDLE_KNUCKLE = 0, 4
"""Of MANO's joints: their difference is where the fingers point."""
NEAR_M = 0.15
"""Hands farther than this from a part do nothing to it."""
TINY_M2 = 1e-12
FAR_M = 0.3
"""Joints are told no farther from a part's surface than this."""
STEP_M, STEP_RAD = 0.01, 0.1
"""Units in which the network is told, and tells, what happens within a frame."""
PLACE_M = 0.1
"""Unit of places."""
JOINTS = 21
FEATURES = 10 * JOINTS + 15
"""Each joint's place, step and way to the part, and how near it is; the cloud's bounds; how the part went; three flags."""


@dataclass(frozen=True)
class HandlingConfig:
    """The network's sizes."""

    width: int = 256
    points: int = 64
    """Of a part's cloud that are looked at."""
    hinge_width: int = 96


@dataclass(frozen=True, eq=False)
class Moment:
    """P parts and two hands at the end of one frame, in the world [m]; the parts still stand where they were at its start."""

    points: Array  # (P, n, 3)
    joints: Array  # (P, 2, 21, 3), nan where there is no hand
    joints_before: Array  # (P, 2, 21, 3), a frame ago
    went: Array  # (P, 6), how the part moved a frame ago: its middle [m], rotation vector [rad]
    held: Array  # (P, 2), 1 where the hand took it along a frame ago
    is_link: Array  # (P,), 1 for lids, drawers and covers


@dataclass(frozen=True, eq=False)
class Frames:
    """The frame of each pair: its axes are the rows of `R` (P, 2, 3, 3), the x axis mirrored for left hands; `middle` (P, 3) is the part's."""

    R: Array
    middle: Array
    distance_m: Array  # (P, 2) from the hand to the part, inf where there is no hand


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the network thinks of each pair."""

    logits: Array  # (P, 5): rests, goes with the left, the right hand, is pushed by the left, the right hand
    twists: Array  # (P, 2, 6): how the part would be pushed: its middle [m], rotation vector [rad], in the world


class HandlingNetwork(nn.Module):
    """Judges pairs, and guesses the hinges of what opens."""

    def __init__(self, config: HandlingConfig | None = None) -> None:
        super().__init__()
        self.config = config or HandlingConfig()
        width, hinge = self.config.width, self.config.hinge_width
        self.decides = nn.Sequential(nn.Linear(FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))
        self.pushes = nn.Sequential(nn.Linear(FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * JOINTS + 7))
        self.hinge_points = nn.Sequential(nn.Linear(7, hinge), nn.SiLU(), nn.Linear(hinge, hinge))
        self.hinge = nn.Sequential(nn.Linear(2 * hinge + 63, hinge), nn.SiLU(), nn.Linear(hinge, hinge), nn.SiLU(), nn.Linear(hinge, 6))

    def forward(self, moment: Moment) -> tuple[Verdict, Frames]:
        """The verdict on each part, and the frames it was found in."""
        features, frames = seen(moment)
        return verdict_of(self.decides(features), self.pushes(features), features, frames), frames

    def plain(self) -> Callable[[Moment], Verdict]:
        """The same judgement of NumPy arrays, by these weights as they are now: torch's calls cost more than so small a network's work."""
        decides, pushes = _plain_layers(self.decides), _plain_layers(self.pushes)

        def judge(moment: Moment) -> Verdict:
            features, frames = seen(moment)
            return verdict_of(_through(decides, features), _through(pushes, features), features, frames)

        return judge

    def joint(self, link: Float[Tensor, "P n 3"], body: Float[Tensor, "P m 3"], joints: Float[Tensor, "P 21 3"], R: Float[Tensor, "P 3 3"]) -> Joint:
        """How links open, seen from the frame of the hand that takes them, in the world; a body that is not known is nan."""
        middle = link.mean(1) * link.new_tensor((1.0, 1.0, 0.0))
        cloud = torch.cat([link, body], dim=1)
        ours = ((cloud - middle[:, None]) @ R.swapaxes(-1, -2) / PLACE_M).nan_to_num(0.0)
        which = torch.cat([torch.ones_like(link[..., :1]), torch.zeros_like(body[..., :1])], dim=1)
        known = cloud.isfinite().all(-1, keepdim=True)
        points = self.hinge_points(torch.cat([ours, ours * ours, which], dim=-1)).masked_fill(~known, -10.0)
        n = link.shape[1]
        told = torch.cat(
            [points[:, :n].amax(1), points[:, n:].amax(1), ((joints - middle[:, None]) @ R.swapaxes(-1, -2) / PLACE_M).flatten(1)], dim=-1
        )
        answer = self.hinge(told)
        axis = (F.normalize(F.pad(answer[:, 1:3], (0, 1)), dim=-1, eps=1e-6)[:, None] @ R)[:, 0]
        anchor = (answer[:, None, 3:] * PLACE_M @ R)[:, 0] + middle
        return Joint(answer[:, 0], axis, anchor)


@dataclass(frozen=True, eq=False)
class Joint:
    """How P links open: about a level axis (unit, of either sign) through an anchor in the world [m], or, as drawers, straight with the hand."""

    hinge_logit: Tensor  # (P,)
    axis: Tensor  # (P, 3)
    anchor: Tensor  # (P, 3)


def seen(moment: Moment) -> tuple[Array, Frames]:
    """The features of every pair, (P, 2, f), and the frames that they are told in; NumPy or torch, as the moment is."""
    xp = array_namespace(moment.points)
    here = xp.isfinite(moment.joints).all(-1).all(-1)  # (P, 2)
    joints = xp.where(here[..., None, None], moment.joints, FAR_M * 10)
    before = xp.where(xp.isfinite(moment.joints_before), moment.joints_before, joints)
    middle = moment.points.mean(1)
    R = _axes(joints, here)
    ground = xp.stack([middle[:, 0], middle[:, 1], 0 * middle[:, 2]], axis=-1)[:, None, None]
    points = (moment.points[:, None] - ground) @ R.swapaxes(-1, -2)  # (P, 2, n, 3)
    ours = (joints - ground) @ R.swapaxes(-1, -2)  # (P, 2, 21, 3)
    nearest = _nearest(ours, points) - ours
    distance = xp.sqrt((nearest * nearest).sum(-1))
    steps = (joints - before) @ R.swapaxes(-1, -2) / STEP_M
    places = [xp.clip(ours / PLACE_M, -3, 3), xp.clip(steps, -6, 6), xp.clip(nearest, -FAR_M, FAR_M) / PLACE_M]
    flags = xp.stack([moment.is_link[:, None] + 0 * moment.held, moment.held, moment.held[:, [1, 0]]], axis=-1)
    bounds = [xp.amin(points, 2) / PLACE_M, xp.amax(points, 2) / PLACE_M]
    flat = [each.reshape(*each.shape[:2], -1) for each in places]
    features = xp.concatenate([*flat, xp.exp(-distance / 0.02), *bounds, to_frames(R, moment.went), flags], axis=-1)
    return features, Frames(R, middle, xp.where(here, xp.amin(distance, -1), xp.inf))


def verdict_of(decided: Array, pushed: Array, features: Array, frames: Frames) -> Verdict:
    """What two networks' answers (P, 2, 2) and (P, 2, 49) mean."""
    xp = array_namespace(features)
    far = (frames.distance_m > NEAR_M) & (features[..., -2] < 0.5)
    takes, pushes = (xp.where(far, -30.0, decided[..., k]) for k in (0, 1))
    logits = xp.concatenate([0 * takes[:, :1], takes, pushes], axis=1)
    steps = features[..., 3 * JOINTS : 6 * JOINTS].reshape(*features.shape[:2], JOINTS, 3)
    weights = xp.exp(pushed[..., :JOINTS] - xp.amax(pushed[..., :JOINTS], -1)[..., None])
    shares = weights / weights.sum(-1)[..., None] * _sigmoid(pushed[..., JOINTS : 2 * JOINTS])
    with_joints = (shares[..., None] * steps).sum(-2)
    goes_on = features[..., -9:-3] * _sigmoid(pushed[..., -7:-6])
    twists = pushed[..., -6:] + goes_on + xp.concatenate([with_joints, 0 * with_joints], axis=-1)
    return Verdict(logits, to_world(frames, twists))


def level_axes(joints: Array) -> Array:
    """Of hands (..., 21, 3) the rows (..., 3, 3) across, along the fingers, up; the same for both hands."""
    xp = array_namespace(joints)
    along = joints[..., MIDDLE_KNUCKLE, :] - joints[..., WRIST, :]
    x, y = along[..., 0], along[..., 1]
    length = xp.sqrt(x * x + y * y + TINY_M2)
    x, y, zero = x / length, y / length, 0 * x
    axes = [xp.stack(axis, axis=-1) for axis in ((y, -x, zero), (x, y, zero), (zero, zero, zero + 1))]
    return xp.stack(axes, axis=-2)


def _axes(joints: Array, here: Array) -> Array:
    """(P, 2, 3, 3), the rows across mirrored for left hands; hands that are not there point nowhere."""
    xp = array_namespace(joints)
    R = xp.where(here[..., None, None], level_axes(joints), 0.0)
    across = xp.stack([-R[:, 0, 0], R[:, 1, 0]], axis=1)
    return xp.concatenate([across[..., None, :], R[..., 1:, :]], axis=-2)


def _nearest(joints: Array, points: Array) -> Array:
    """Of points (P, 2, n, 3) the nearest to each joint (P, 2, j, 3)."""
    xp = array_namespace(points)
    apart = (points * points).sum(-1)[..., None, :] - 2 * joints @ points.swapaxes(-1, -2)  # less each joint's own square
    return points[xp.arange(len(points))[:, None, None], xp.arange(2)[:, None], apart.argmin(-1)]


def to_frames(R: Array, twist_world: Array) -> Array:
    """Motions (P, 6) as the pairs see them, (P, 2, 6), in the network's units."""
    xp = array_namespace(R)
    step = (R @ twist_world[:, None, :3, None])[..., 0] / STEP_M
    turn = (R @ twist_world[:, None, 3:, None])[..., 0] / STEP_RAD
    return xp.clip(xp.concatenate([step, _handed(turn)], axis=-1), -6, 6)


def to_world(frames: Frames, twist: Array) -> Array:
    """Motions (P, 2, 6) that pairs told in the network's units, in the world [m, rad]."""
    back = frames.R.swapaxes(-1, -2)
    step = (back @ twist[..., :3, None])[..., 0] * STEP_M
    turn = (back @ _handed(twist[..., 3:])[..., None])[..., 0] * STEP_RAD
    return array_namespace(twist).concatenate([step, turn], axis=-1)


def _handed(turn: Array) -> Array:
    """Rotation vectors are pseudovectors: a mirrored frame, the left hand's, sees them with the other sign."""
    return array_namespace(turn).stack([-turn[:, 0], turn[:, 1]], axis=1)


def _sigmoid(x: Array) -> Array:
    xp = array_namespace(x)
    return 1 / (1 + xp.exp(-xp.clip(x, -30, 30)))


def _plain_layers(network: nn.Sequential) -> list[tuple[ndarray, ndarray]]:
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    return [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()) for layer in linear]


def _through(layers: list[tuple[ndarray, ndarray]], x: ndarray) -> ndarray:
    """Linear layers with SiLU between them."""
    for weight, bias in layers[:-1]:
        x = x @ weight + bias
        x = x * _sigmoid(x)
    return np.asarray(x @ layers[-1][0] + layers[-1][1])

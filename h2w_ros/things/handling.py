"""Moves parts of a scene as hands do: what is held goes with its hand, what is pushed slides, lids and drawers open, the rest stays."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from h2w_ros.generator.small_files import load_small, save_small
from h2w_ros.geometry import Transform, apply, axis_angle_from_rotation, invert, rotation_from_axis_angle, transform
from h2w_ros.paths import models_dir
from h2w_ros.things.handling_network import NEAR_M, HandlingConfig, HandlingNetwork, Moment, level_axes

FILE = "handling.safetensors"
JUMP_M = 0.3
"""A hand that goes farther within a frame is taken for another one: it takes nothing along."""
FORGOTTEN_FRAMES = 8
"""A hand that is away for longer holds nothing when it comes back."""
FINGERTIPS = (16, 17, 18)
"""Thumb, index and middle: what holds the grip of a lid or drawer."""
OWN_BODY_M, NEAREST_SHARE = 0.04, 0.1
"""A lid, drawer or cover belongs to the body that this share of its points is nearest to, if any is this near."""
CAUTION = 2.0
"""Logits by which a hand must be surer that it moves a part than that it leaves it. The network learned from questions in which things
move several times as often as they do, and what is moved once by mistake stays where it was moved to."""
REST, HOLD, PUSH = 0, (1, 2), (3, 4)


class Handling:
    """The trained network; streams keep what they have seen, this does not."""

    def __init__(self, network: HandlingNetwork) -> None:
        self.network = network.eval().requires_grad_(False)
        self.judge = network.plain()

    def begin(
        self, points_world: Sequence[Float[ndarray, "_ 3"]], is_link: Bool[ndarray, "m"], body_of_link: Int[ndarray, "m"] | None = None
    ) -> HandledParts:
        """Parts that stand still, each known by the points of it that are seen [m] (table at z = 0, z up); `is_link`: lids, drawers, covers.

        `body_of_link`: the part that each link opens on, -1 for none and for what is no link; None: by nearness.
        """
        if len(points_world) != len(is_link):
            raise ValueError(f"is_link must say of each of {len(points_world)} parts whether it opens, got {len(is_link)}")
        num_points = self.network.config.points
        points = np.zeros((len(is_link), num_points, 3))
        for part, cloud in enumerate(points_world):
            if len(cloud) == 0:
                raise ValueError(f"part {part} must have points, got none; leave it out")
            points[part] = cloud[np.linspace(0, len(cloud) - 1, num_points).round().astype(int)]
        body = body_of_links(points, is_link) if body_of_link is None else np.asarray(body_of_link, dtype=int)
        return HandledParts(self, points, np.asarray(is_link, dtype=bool), body)


@dataclass(frozen=True, eq=False)
class HandsSeen:
    """Both hands when each was last seen, and how many frames ago; nan for one that was never seen, or is forgotten."""

    joints: Float[ndarray, "2 21 3"] = field(default_factory=lambda: np.full((2, 21, 3), np.nan))
    T_world_grips: Float[ndarray, "2 4 4"] = field(default_factory=lambda: np.full((2, 4, 4), np.nan))
    age: Int[ndarray, "2"] = field(default_factory=lambda: np.zeros(2, dtype=int))

    def then(self, joints: Float[ndarray, "2 21 3"], T_world_grips: Float[ndarray, "2 4 4"]) -> HandsSeen:
        """A frame later; a hand that is missing now is remembered for a while."""
        here = np.isfinite(joints).all((1, 2)) & np.isfinite(T_world_grips).all((1, 2))
        age = np.where(here, 0, self.age + 1)
        forgotten = np.where(age > FORGOTTEN_FRAMES, np.nan, 1.0)[:, None, None]
        seen = here[:, None, None]
        return HandsSeen(np.where(seen, joints, self.joints * forgotten), np.where(seen, T_world_grips, self.T_world_grips * forgotten), age)

    def goes_on(self, after: HandsSeen) -> Bool[ndarray, "2"]:
        """Hands that are seen after this and are still the same ones; comparisons with nan are false."""
        gone_m = np.linalg.norm(after.T_world_grips[:, :3, 3] - self.T_world_grips[:, :3, 3], axis=-1)
        return (after.age == 0) & (gone_m < JUMP_M * (1 + self.age))


@dataclass(frozen=True, eq=False)
class Opens:
    """How a link opens: about an axis (unit) through an anchor in the world [m], or, as drawers, straight and level with the hand."""

    turns: bool
    axis: Float[ndarray, "3"]
    anchor: Float[ndarray, "3"]

    def after(self, start: Float[ndarray, "3"], end: Float[ndarray, "3"]) -> Transform:
        """The motion that follows a grip from here to there [m]."""
        if not self.turns:
            return transform(np.eye(3), (end - start) * (1, 1, 0))
        arms = [point - self.anchor - self.axis * (self.axis @ (point - self.anchor)) for point in (start, end)]
        R = rotation_from_axis_angle(self.axis * np.arctan2(np.cross(*arms) @ self.axis, arms[0] @ arms[1]))
        return transform(R, self.anchor - R @ self.anchor)

    def moved(self, T: Transform) -> Opens:
        """The same on a body that was moved."""
        return Opens(self.turns, T[:3, :3] @ self.axis, apply(T, self.anchor))


class HandledParts:
    """m parts under way in one stream. Copies are cheap and go their own ways."""

    def __init__(self, handling: Handling, points: Float[ndarray, "m n 3"], is_link: Bool[ndarray, "m"], body: Int[ndarray, "m"]) -> None:
        count = len(points)
        self._handling, self._points, self._is_link, self._body = handling, points, is_link, body
        self._whole = _with_links(body, points.shape[1])
        self._T = np.tile(np.eye(4), (count, 1, 1))
        self._went = np.zeros((count, 6))
        self._does = np.zeros(count, dtype=int)
        self._opens: dict[int, Opens] = {}
        self._hands = HandsSeen()

    def copy(self) -> HandledParts:
        """The same moment, to go on from in another way."""
        other = copy.copy(self)
        other._opens = dict(self._opens)
        return other

    @property
    def holding(self) -> Int[ndarray, "m"]:
        """What happened to each part in the last frame: 0 rests, 1 and 2 goes with the left or right hand, 3 and 4 is pushed by it."""
        return self._does

    def advance(self, joints_world: Float[ndarray, "2 21 3"], T_world_grips: Float[ndarray, "2 4 4"]) -> Float[ndarray, "m 4 4"]:
        """T_now_start of every part in the world frame, a frame later. Joints and tips of the left and right hand [m], nan for one that is
        not there. The first call is the moment of `begin`."""
        before, self._hands = self._hands, self._hands.then(np.asarray(joints_world, float), np.asarray(T_world_grips, float))
        goes_on = before.goes_on(self._hands)
        if len(self._T) and goes_on.any():
            self._move(before, goes_on)
        elif self._hands.age.min(initial=0) > FORGOTTEN_FRAMES or len(self._T) == 0:
            self._does, self._went = np.zeros_like(self._does), np.zeros_like(self._went)
        return self._T.copy()

    def _move(self, before: HandsSeen, goes_on: Bool[ndarray, "2"]) -> None:
        """Decides what the hands do to each part, and does it."""
        points = (self._points @ self._T[:, :3, :3].swapaxes(1, 2) + self._T[:, None, :3, 3]).reshape(-1, 3)[self._whole]
        waits = ((self._does[:, None] == HOLD) & (self._hands.age > 0) & (self._hands.age <= FORGOTTEN_FRAMES)).any(1)
        asked = np.flatnonzero((self._in_reach(points) | (self._does != REST)) & ~waits)
        steps, went = np.tile(np.eye(4), (len(waits), 1, 1)), np.zeros_like(self._went)
        does = self._does * waits  # REST is 0
        if len(asked):
            does[asked], twists = self._judge(asked, points, before, goes_on)
            for part, twist in zip(asked.tolist(), twists, strict=True):
                if does[part] != REST:
                    steps[part] = self._step(part, int(does[part]), points, before, twist)
                    went[part] = _twist(steps[part], points[part].mean(0))
            self._follow(steps)
        self._does, self._went = does, went

    def _in_reach(self, points: Float[ndarray, "m n 3"]) -> Bool[ndarray, "m"]:
        """Parts whose bounding box comes near that of a hand: the network need not be asked about the others."""
        low, high = points.min(1)[:, None], points.max(1)[:, None]
        gap = np.maximum(low - self._hands.joints.max(1), self._hands.joints.min(1) - high)  # (m, 2, 3)
        return (gap < NEAR_M).all(2).any(1)

    def _judge(
        self, asked: Int[ndarray, "a"], points: Float[ndarray, "m n 3"], before: HandsSeen, goes_on: Bool[ndarray, "2"]
    ) -> tuple[Int[ndarray, "a"], Float[ndarray, "a 2 6"]]:
        """What becomes of the parts that are asked about; and how they would be pushed."""
        there = np.where(goes_on, 1.0, np.nan)[:, None, None]
        hands = [np.broadcast_to(joints * there, (len(asked), 2, 21, 3)) for joints in (self._hands.joints, before.joints)]
        did = self._does[asked]
        told = (points[asked], *hands, self._went[asked], did[:, None] == HOLD, self._is_link[asked])
        verdict = self._handling.judge(Moment(*(each.astype(np.float32) for each in told)))
        logits = verdict.logits
        logits[:, REST] += CAUTION
        logits[:, 1:][:, ~np.tile(goes_on, 2)] = -np.inf
        return logits.argmax(1), verdict.twists.astype(np.float64)

    def _step(self, part: int, does: int, points: Float[ndarray, "m n 3"], before: HandsSeen, twists: Float[ndarray, "2 6"]) -> Transform:
        """What one part does within this frame, in the world."""
        side = (does - 1) % 2
        if does in PUSH:
            return _pushed(points[part], twists[side])
        if not self._is_link[part]:
            return self._hands.T_world_grips[side] @ invert(before.T_world_grips[side])
        if self._does[part] != does or part not in self._opens:
            self._opens[part] = self._guess(part, points, before.joints[side])
        return self._opens[part].after(*(hands.joints[side][list(FINGERTIPS)].mean(0) for hands in (before, self._hands)))

    def _guess(self, part: int, points: Float[ndarray, "m n 3"], joints: Float[ndarray, "21 3"]) -> Opens:
        """How a link opens that this hand has just taken."""
        body = self._body[part]
        own = points[body][: points.shape[1] // 2] if body >= 0 else np.full((points.shape[1] // 2, 3), np.nan)
        link, body_points, hand = (torch.from_numpy(each[None].astype(np.float32)) for each in (points[part], own, joints))
        with torch.inference_mode():
            joint = self._handling.network.joint(link, body_points, hand, level_axes(hand))
        return Opens(float(joint.hinge_logit[0]) > 0, joint.axis[0].double().numpy(), joint.anchor[0].double().numpy())

    def _follow(self, steps: Float[ndarray, "m 4 4"]) -> None:
        """Moves the parts, and links with their bodies."""
        carried = np.where((self._body >= 0)[:, None, None], steps[self._body], np.eye(4))
        self._opens = {part: opens.moved(carried[part]) for part, opens in self._opens.items()}
        self._T = carried @ steps @ self._T


def load_handling(folder: Path | None = None) -> Handling:
    """The shipped handling, or that of a folder; FileNotFoundError tells how to make it."""
    return Handling(load_small((folder or models_dir() / "things") / FILE, HandlingConfig, HandlingNetwork, "h2w train things"))


def save_handling(folder: Path, network: HandlingNetwork, training: dict[str, object]) -> Path:
    """Writes weights with their config and what made them; the file's path."""
    return save_small(folder / FILE, network, network.config, training)


def body_of_links(points: Float[ndarray, "m n 3"], is_link: Bool[ndarray, "m"]) -> Int[ndarray, "m"]:
    """Which part each link belongs to, by nearness [m]; -1 for what is no link, or stands alone."""
    body, others = np.full(len(points), -1), np.flatnonzero(~np.asarray(is_link))
    for link in np.flatnonzero(is_link):
        gaps = [np.quantile(np.linalg.norm(points[link][:, None] - points[other][None], axis=-1).min(1), NEAREST_SHARE) for other in others]
        if gaps and min(gaps) < OWN_BODY_M:
            body[link] = others[int(np.argmin(gaps))]
    return body


def _with_links(body: Int[ndarray, "m"], num_points: int) -> Int[ndarray, "m n"]:
    """Places in all parts' points (m * n) of those that each part is judged by: its own, half of them its link's where it has one."""
    count = len(body)
    whole = np.arange(count * num_points).reshape(count, num_points)
    for link in np.flatnonzero(body >= 0):
        half = num_points // 2
        whole[body[link], :half], whole[body[link], half:] = np.arange(half) * 2 + body[link] * num_points, np.arange(half) * 2 + link * num_points
    return whole


def _pushed(points: Float[ndarray, "n 3"], twist: Float[ndarray, "6"]) -> Transform:
    """The motion by a twist (step of the middle [m], rotation vector [rad]), raised so far that it brings nothing deeper into the table."""
    middle, R = points.mean(0), rotation_from_axis_angle(twist[3:])
    T = transform(R, middle + twist[:3] - R @ middle)
    T[2, 3] += max(0.0, min(0.0, points[:, 2].min()) - apply(T, points)[:, 2].min())
    return T


def _twist(T: Transform, middle: Float[ndarray, "3"]) -> Float[ndarray, "6"]:
    """How far a motion takes this point [m], and its rotation vector [rad]."""
    return np.concatenate([apply(T, middle) - middle, axis_angle_from_rotation(T[:3, :3])])

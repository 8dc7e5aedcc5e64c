"""A detector that knows the hands of a simulated episode, and errs as networks do: for measuring what comes after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.lift import ray_to, turn_to_ray
from h2w_ros.annotate.sighting import HandSighting, Sightings
from h2w_ros.camera import project
from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.geometry import apply, invert
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

NEAREST_M = 0.1
# Of the hand's points, in the picture; with fewer no network finds it.
LEAST_IN_PICTURE = 0.7


@dataclass(frozen=True)
class DetectorErrors:
    """Standard deviations of what MediaPipe gets wrong, each half from picture to picture and half of a whole clip.

    `point`: of a point in the picture, as a share of the hand's size there; `depth_m`: of a point's depth in the hand's shape;
    `size`: of that shape's size, as a share. `missed`: share of pictures in which a hand is not found.
    """

    point: float = 0.03
    depth_m: float = 0.01
    size: float = 0.1
    missed: float = 0.05

    def __post_init__(self) -> None:
        if min(self.point, self.depth_m, self.size) < 0.0 or not 0.0 <= self.missed < 1.0:
            raise ValueError(f"errors must not be negative, and missed in [0, 1), got {self}")


@dataclass(frozen=True)
class TrueHands:
    """The detector: the hands of these conditions, one for every frame of the clip."""

    conditions: Sequence[Condition]
    seed: int = 0
    errors: DetectorErrors = field(default_factory=DetectorErrors)
    name: str = "truth"

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The hands that are in the picture; what the clip and its camera are said to be changes nothing."""
        del clip, camera
        return self.told()

    def told(self) -> Iterator[Sightings]:
        """The sightings of every condition."""
        rng = np.random.default_rng(self.seed)
        lasting = {side: rng.normal(size=(21, 3)) for side in ("left", "right")}
        size = float(np.exp(self.errors.size * rng.normal()))
        for moment in self.conditions:
            seen = (self._seen(hand, moment, size, 0.7 * (lasting[hand.side] + rng.normal(size=(21, 3)))) for hand in moment.hands)
            yield tuple(hand for hand in seen if hand is not None and rng.uniform() >= self.errors.missed)

    def _seen(self, hand: HandPose, moment: Condition, size: float, noise: np.ndarray) -> HandSighting | None:
        points = apply(invert(moment.T_world_camera), hand_joints_and_tips_world(load_hand_model(hand.side), hand))
        if points[:, 2].min() < NEAREST_M:
            return None
        places = project(moment.camera, points)
        is_inside = (places > 0.0).all(axis=1) & (places < (moment.camera.width_px, moment.camera.height_px)).all(axis=1)
        if is_inside.mean() < LEAST_IN_PICTURE:
            return None
        extent_px = float(np.linalg.norm(np.ptp(places, axis=0)))
        turned = points @ turn_to_ray(ray_to(moment.camera, places.mean(axis=0)))
        turned[:, 2] += self.errors.depth_m * noise[:, 2]
        return HandSighting(hand.side, places + self.errors.point * extent_px / np.sqrt(2.0) * noise[:, :2], size * turned, confidence=0.9)

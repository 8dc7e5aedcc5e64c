"""What any hand detector says of one hand in one picture: the noun between detection and fitting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Camera, Side
from h2w_ros.hands.skeleton import NUM_POINTS

if TYPE_CHECKING:
    from h2w_ros.annotate.clip import Clip

# Wrist and the first joint of index, pinky, ring and middle finger: the part of a hand that keeps its shape.
PALM = np.array([0, 1, 4, 7, 10])


@dataclass(frozen=True, eq=False)
class HandSighting:
    """One hand as a detector saw it; points are smplx's 21 (16 joints of MANO, then the five tips).

    `points_px`: in the picture, origin at its corner; missing ones are NaN. `points_hand_m`: the hand's own shape in the
    camera's axes about any origin, its size only roughly known. `along_ray`: that shape is as seen along the ray to the
    hand (detectors that work on a crop), not along the optical axis. `side_confidence` is how sure the side is, and
    `confidence` that there is a hand. `point_noise`: standard deviation of a point as a share of the hand's size in the
    picture; `depth_noise_m`: that of the shape's depths.
    """

    side: Side
    points_px: Float[ndarray, "21 2"]
    points_hand_m: Float[ndarray, "21 3"]
    confidence: float = 1.0
    side_confidence: float = 1.0
    along_ray: bool = True
    point_noise: float = 0.04
    depth_noise_m: float = 0.015

    def __post_init__(self) -> None:
        if self.side not in ("left", "right"):
            raise ValueError(f"a hand's side must be 'left' or 'right', got {self.side!r}")
        for name, width in (("points_px", 2), ("points_hand_m", 3)):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (NUM_POINTS, width):
                raise ValueError(f"{name} must have shape ({NUM_POINTS}, {width}), got {value.shape}")
            value[~np.isfinite(value).all(axis=1)] = np.nan
            object.__setattr__(self, name, value)
        if not (0.0 <= self.confidence <= 1.0 and 0.0 <= self.side_confidence <= 1.0):
            raise ValueError(f"confidences must be in [0, 1], got {self.confidence} and {self.side_confidence}")
        if not (self.point_noise > 0.0 and self.depth_noise_m > 0.0):
            raise ValueError(f"noises must be positive, got {self.point_noise} and {self.depth_noise_m}")

    @property
    def size_px(self) -> float:
        """How large the hand is in the picture: the diagonal of its points' box; NaN without points."""
        seen = self.points_px[np.isfinite(self.points_px).all(axis=1)]
        return float(np.linalg.norm(np.ptp(seen, axis=0))) if len(seen) else float("nan")


Sightings = tuple[HandSighting, ...]


@runtime_checkable
class HandDetector(Protocol):
    """Where sightings come from: a network that looks at pictures, or saved results of one."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The hands of every frame of a clip, in order; an empty tuple where none is seen."""
        ...


def distance(a: HandSighting, b: HandSighting) -> float:
    """Mean distance of the points that both have, in sizes of the larger hand; infinite where they share none."""
    gaps = np.linalg.norm(a.points_px - b.points_px, axis=1)
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.mean() / max(a.size_px, b.size_px, 1e-9)) if len(gaps) else float("inf")

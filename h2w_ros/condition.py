"""The nouns that every part shares: a pinhole camera's numbers, one hand, and one moment of input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from h2w_ros.geometry import Transform, check_transform

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
Image = UInt8[ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion, in pixels.

    The origin of (cx, cy) is the top-left *corner* of the picture, so the centre of the first pixel is (0.5, 0.5) and
    resizing scales all four numbers. ROS and OpenCV put the origin at the first pixel's centre: use
    `camera.from_pixel_centres`.
    """

    width_px: int
    height_px: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if self.width_px <= 0 or self.height_px <= 0:
            raise ValueError(f"a camera's size must be positive, got {self.width_px}x{self.height_px}")
        if not np.isfinite((self.fx, self.fy, self.cx, self.cy)).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive and finite, got fx={self.fx} fy={self.fy} cx={self.cx} cy={self.cy}")

    @property
    def K(self) -> Float[ndarray, "3 3"]:
        """The calibration matrix, corner origin."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class HandPose:
    """One hand in MANO's parameters, in the world frame.

    `T_world_wrist`: rotation is MANO's global orientation, translation is where joint 0 (the wrist) stands [m]; the
    rotation turns about the wrist. `joint_angles_rad`: 15 axis-angle rotations in MANO's joint order (index, middle,
    pinky, ring, thumb; three each), relative to the flat hand (no mean pose added). `betas`: shape coefficients.
    """

    side: Side
    T_world_wrist: Transform
    joint_angles_rad: Float[ndarray, "45"]
    betas: Float[ndarray, "10"]
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if self.side not in ("left", "right"):
            raise ValueError(f"a hand's side must be 'left' or 'right', got {self.side!r}")
        object.__setattr__(self, "T_world_wrist", check_transform(self.T_world_wrist, "T_world_wrist"))
        for name, size in (("joint_angles_rad", 45), ("betas", 10)):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != (size,) or not np.isfinite(value).all():
                raise ValueError(f"{name} must be {size} finite numbers, got shape {value.shape}: {value}")
            object.__setattr__(self, name, value)
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")


@dataclass(frozen=True, eq=False)
class Condition:
    """One moment of input: where the camera is, where the hands are, and any picture that came ready-made.

    `T_world_camera` is the optical frame (x right, y down, z forward). `hands` holds at most one hand a side; an empty
    tuple means that no hand is known at this moment. The pictures, RGB uint8, all have the camera's size: `hand_render`
    replaces our own drawing of the hands; `static_render` is the untouched scene from this camera; `image` is what the
    camera really saw. `static_known` says where `static_render` shows the scene, None: everywhere; its holes mean nothing,
    and it comes and goes with the render.
    """

    stamp_ns: int
    camera: Camera
    T_world_camera: Transform
    hands: tuple[HandPose, ...] = ()
    hand_render: Image | None = None
    static_render: Image | None = None
    image: Image | None = None
    static_known: Bool[ndarray, "_ _"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "T_world_camera", check_transform(self.T_world_camera, "T_world_camera"))
        sides = [hand.side for hand in self.hands]
        if len(set(sides)) != len(sides):
            raise ValueError(f"a condition holds at most one hand a side, got {sides}")
        expected = (self.camera.height_px, self.camera.width_px, 3)
        for name in ("hand_render", "static_render", "image"):
            picture = getattr(self, name)
            if picture is not None and (picture.shape != expected or picture.dtype != np.uint8):
                raise ValueError(f"{name} must be uint8 {expected} like its camera, got {picture.dtype} {picture.shape}")
        if self.static_render is None:
            object.__setattr__(self, "static_known", None)
        known = self.static_known
        if known is not None and (known.shape != expected[:2] or known.dtype != np.bool_):
            raise ValueError(f"static_known must be bool {expected[:2]} like its camera, got {known.dtype} {known.shape}")

    def hand(self, side: Side) -> HandPose | None:
        """The hand of this side, if it is known."""
        return next((hand for hand in self.hands if hand.side == side), None)

    def without_pictures(self) -> Condition:
        """The same moment, numbers only."""
        return replace(self, hand_render=None, static_render=None, image=None)

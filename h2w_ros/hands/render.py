"""Draws hands as the generator wants to see them: on black, complete, right red and left blue.

Nothing in the scene hides a hand here. A hand picture says what the hands do; the generator works out what is seen.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from h2w_ros.condition import Camera, HandPose, Image, Side
from h2w_ros.geometry import Transform
from h2w_ros.hands.drawing import HandView, hand_view
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.styles import STYLES, coloured

# Where the pictures of a batch are made: name -> module with `render_batch`. Imported on use, as pytorch3d is optional.
BACKENDS: Mapping[str, str] = {"opencv": "h2w_ros.hands.render", "pytorch3d": "h2w_ros.hands.render_pytorch3d"}

Moment = tuple[Sequence[HandPose], Camera, Transform]
Normals = Float32[ndarray, "H W 3"]


@dataclass(frozen=True)
class HandRenderer:
    """Hands to pictures, in one style.

    `style`: a name of `styles.STYLES`; it belongs to the checkpoint that was trained with it. `backend`: 'opencv' on the
    CPU, or 'pytorch3d' for batches on a GPU. `hand_models`: the user's MANO files (see `load_hand_model`), None for the
    shipped stand-in.
    """

    style: str = "silhouette_wireframe"
    backend: str = "opencv"
    hand_models: Path | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style of hand pictures must be one of {', '.join(STYLES)}, got {self.style!r}")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend for hand pictures must be one of {', '.join(BACKENDS)}, got {self.backend!r}")

    def render(self, hands: Sequence[HandPose], camera: Camera, T_world_camera: Transform) -> Image:
        """The picture of these hands from this camera; where hands overlap, the per-pixel maximum."""
        return self.render_batch([(hands, camera, T_world_camera)])[0]

    def render_batch(self, moments: Sequence[Moment]) -> list[Image]:
        """One picture for each (hands, camera, T_world_camera)."""
        pictures: list[Image] = importlib.import_module(BACKENDS[self.backend]).render_batch(self, moments)
        return pictures

    def render_with_normals(self, hands: Sequence[HandPose], camera: Camera, T_world_camera: Transform) -> tuple[Image, Normals]:
        """The picture, and which way the surface at each pixel faces in the camera's frame: unit vectors out of the hand that is nearer.

        Zero where there is no hand, or where one sees into it through its open wrist.
        """
        moment = hands, camera, T_world_camera
        views = self.views(moment)
        picture = _picture(self.style, camera, views) if self.backend == "opencv" else self.render_batch([moment])[0]
        return picture, _normals(camera, views)

    def silhouette(self, hands: Sequence[HandPose], camera: Camera, T_world_camera: Transform) -> Bool[ndarray, "H W"]:
        """The pixels whose centres any of these hands covers, drawn on the CPU."""
        mask = np.zeros((camera.height_px, camera.width_px), dtype=bool)
        for view in self.views((hands, camera, T_world_camera)):
            mask[view.window.slices] |= view.silhouette
        return mask

    def model(self, side: Side) -> HandModel:
        """The model that hands of this side are drawn with."""
        return load_hand_model(side, self.hand_models)

    def views(self, moment: Moment) -> list[HandView]:
        """The hands of which anything may be seen."""
        hands, camera, T_world_camera = moment
        views = (hand_view(self.model(hand.side), hand, camera, T_world_camera) for hand in hands)
        return [view for view in views if view.in_sight]


def render_batch(renderer: HandRenderer, moments: Sequence[Moment]) -> list[Image]:
    """The pictures, one after another on the CPU."""
    return [_picture(renderer.style, moment[1], renderer.views(moment)) for moment in moments]


def _picture(style: str, camera: Camera, views: Sequence[HandView]) -> Image:
    picture = np.zeros((camera.height_px, camera.width_px, 3), dtype=np.uint8)
    for view in views:
        part = picture[view.window.slices]
        np.maximum(part, coloured(style, view), out=part)
    return picture


def _normals(camera: Camera, views: Sequence[HandView]) -> Normals:
    normals = np.zeros((camera.height_px, camera.width_px, 3), dtype=np.float32)
    for view in sorted(views, key=lambda view: -float(view.vertices_camera[:, 2].mean())):
        own = np.concatenate([np.zeros((1, 3)), view.normals_camera * view.shows_outside[:, None]]).astype(np.float32)
        part = normals[view.window.slices]
        np.copyto(part, own[view.nearest], where=view.nearest[..., None] > 0)
    return normals

"""From one picture of a table to the parts that stand on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from h2w_ros.camera import scaled, unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.generator.small_files import load_small, save_small
from h2w_ros.geometry import Transform
from h2w_ros.paths import models_dir
from h2w_ros.things.lifting_network import LiftingConfig, LiftingNetwork, Surfaces, mirrored
from h2w_ros.things.outlines import outlined
from h2w_ros.things.parts import MIN_PIXELS, Part, grouped

FILE = "lifting.safetensors"
THINGS, HAND = (1, 2), 3
"""Of `lifting_network.KINDS`: what becomes parts, and what hides them."""
FARTHEST_M = 2.5
"""The table's depth where a ray meets it farther away, or never."""
HIGHEST_M = 0.6
"""Points that would be higher over the table are mistakes at outlines."""
COVERING = 0.75
"""Discs of this share of the spacing leave no gaps in a square grid (half its diagonal is 0.71)."""


@dataclass(frozen=True, eq=False)
class Look:
    """What one picture shows."""

    parts: list[Part]
    is_hand: Bool[ndarray, "H W"]
    """Its pixels of hands and forearms."""


class Lifter:
    """The trained network; it keeps nothing of what it has seen."""

    def __init__(self, network: LiftingNetwork) -> None:
        self.config = network.config
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # forgotten in stubs

    def look(self, picture: Image, is_hand: Bool[ndarray, "H W"], camera: Camera, T_table_camera: Transform) -> Look:
        """What stands on the table, and where hands are. The table's frame is any whose z axis points up from the table's top, at z = 0.

        `is_hand`, where hands are drawn, and `camera` are of the picture's size; parts are in the table's frame.
        """
        size = self.config.width_px, self.config.height_px
        small = scaled(camera, *size)
        shown, drawn = (cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA) for image in (picture, is_hand.astype(np.float32)))
        surfaces = self.surfaces(shown, drawn > 0.5, small, T_table_camera)
        logits = surfaces.kinds[0].numpy()
        hands = (drawn > 0.5) | (logits.argmax(0) == HAND)
        points, radii_m = points_of(surfaces.log_nearer[0].numpy(), small, T_table_camera)
        kinds = _things(logits, shown, hands)
        parts = []
        for kind in THINGS:
            groups = grouped((kinds == kind) & (points[..., 2] < HIGHEST_M), surfaces.offsets_px[0].numpy())
            masks = [groups == group for group in range(int(groups.max()) + 1)]
            parts += [Part(points[mask], shown[mask], radii_m[mask], kind == THINGS[1]) for mask in masks if mask.sum() >= MIN_PIXELS]
        whole = cv2.resize(hands.astype(np.uint8), (camera.width_px, camera.height_px), interpolation=cv2.INTER_NEAREST)
        return Look(parts, is_hand | (whole > 0))

    @torch.inference_mode()
    def surfaces(self, picture: Image, is_hand: Bool[ndarray, "H W"], camera: Camera, T_table_camera: Transform) -> Surfaces:
        """What the network makes of a picture of its own size, and of the mirrored one: their mean is better than either."""
        shown = torch.from_numpy(network_input(picture, is_hand, camera, T_table_camera))[None]
        one, other = (self._network(x.contiguous(memory_format=torch.channels_last)) for x in (shown, mirrored(shown)))
        other = other.mirrored()
        pairs = ((one.kinds, other.kinds), (one.log_nearer, other.log_nearer), (one.offsets_px, other.offsets_px))
        return Surfaces(*((a + b) / 2.0 for a, b in pairs))


def _things(logits: Float32[ndarray, "4 H W"], picture: Image, hands: Bool[ndarray, "H W"]) -> Int[ndarray, "H W"]:
    """Which pixels show things, with sharp outlines, and of which kind; 0 elsewhere."""
    seems, which = logits.argmax(0), THINGS[0] + logits[list(THINGS)].argmax(0)
    return np.where(outlined(picture, np.isin(seems, THINGS) & ~hands, hands), which, 0)


def rays_of(camera: Camera) -> Float32[ndarray, "H W 3"]:
    """The ray through every pixel, at depth 1."""
    rays = unit_rays_camera(camera).reshape(camera.height_px, camera.width_px, 3)
    return np.asarray(rays / rays[..., 2:], np.float32)


def table_depth_m(rays: Float[ndarray, "H W 3"], T_table_camera: Transform) -> tuple[Float32[ndarray, "H W"], Bool[ndarray, "H W"]]:
    """How far along the optical axis each ray meets the table's plane, and whether it does within reach."""
    downwards = rays @ T_table_camera[2, :3]
    with np.errstate(divide="ignore"):
        depth = -T_table_camera[2, 3] / downwards
    meets = (depth > 0) & (depth < FARTHEST_M)
    return np.where(meets, depth, FARTHEST_M).astype(np.float32), meets


def network_input(picture: Image, is_hand: Bool[ndarray, "H W"], camera: Camera, T_table_camera: Transform) -> Float32[ndarray, "8 H W"]:
    """What the network is shown: `lifting_network.PICTURE_CHANNELS`."""
    rays = rays_of(camera)
    depth, meets = table_depth_m(rays, T_table_camera)
    colours = np.moveaxis(np.asarray(picture, np.float32) / 127.5 - 1.0, -1, 0)
    return np.concatenate([colours, np.moveaxis(rays[..., :2], -1, 0), np.log(depth)[None], meets[None], is_hand[None]]).astype(np.float32)


def points_of(
    log_nearer: Float32[ndarray, "H W"], camera: Camera, T_table_camera: Transform
) -> tuple[Float32[ndarray, "H W 3"], Float32[ndarray, "H W"]]:
    """Where every pixel's surface is in the table's frame, never below the table, and the radius that it covers [m]."""
    rays = rays_of(camera)
    depth = table_depth_m(rays, T_table_camera)[0] * np.exp(np.minimum(log_nearer, 0.0))
    points = rays * depth[..., None] @ T_table_camera[:3, :3].T + T_table_camera[:3, 3]
    radii = COVERING * depth / min(camera.fx, camera.fy)
    return points.astype(np.float32), radii.astype(np.float32)


def load_lifter(folder: Path | None = None) -> Lifter:
    """The shipped network, or that of a folder; FileNotFoundError tells how to make it."""
    return Lifter(load_small((folder or models_dir() / "things") / FILE, LiftingConfig, LiftingNetwork, "h2w train things"))


def save_lifter(folder: Path, network: LiftingNetwork, training: dict[str, object]) -> Path:
    """Writes weights with their config and what made them; the file's path."""
    return save_small(folder / FILE, network, network.config, training)

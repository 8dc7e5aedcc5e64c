"""From one picture of a table to the parts that stand on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from h2w_ros.camera import scaled, unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.generator.config import from_json
from h2w_ros.generator.tensors import fill, read_file, write_file
from h2w_ros.geometry import Transform
from h2w_ros.paths import models_dir
from h2w_ros.things.lifting_network import LiftingConfig, LiftingNetwork, Surfaces
from h2w_ros.things.outlines import outlined
from h2w_ros.things.parts import MIN_PIXELS, Part, grouped

FILE = "lifting.safetensors"
FARTHEST_M = 2.5
"""The table's depth where a ray meets it farther away, or never."""
HIGHEST_M = 0.6
"""Points that would be higher over the table are mistakes at outlines."""
COVERING = 0.75
"""Discs of this share of the spacing leave no gaps in a square grid (half its diagonal is 0.71)."""


class Lifter:
    """The trained network; one thread uses it at a time."""

    def __init__(self, network: LiftingNetwork) -> None:
        self.config = network.config
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # forgotten in stubs

    def lift(self, picture: Image, is_hand: Bool[ndarray, "H W"], camera: Camera, T_table_camera: Transform) -> list[Part]:
        """What stands on the table, without hands. The table's frame is any whose z axis points up from the table's top, at z = 0.

        `is_hand` and `camera` are of the picture's size; parts are in the table's frame.
        """
        size = self.config.width_px, self.config.height_px
        small = scaled(camera, *size)
        shown, hands = (cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA) for image in (picture, is_hand.astype(np.float32)))
        surfaces = self.surfaces(shown, hands > 0.5, small, T_table_camera)
        kinds = _kinds(surfaces, shown, hands > 0.5)
        points, radii_m = points_of(surfaces.log_nearer[0].numpy(), small, T_table_camera)
        offsets = surfaces.offsets_px[0].numpy()
        parts = []
        for kind in (1, 2):
            groups = grouped((kinds == kind) & (points[..., 2] < HIGHEST_M), offsets)
            masks = [groups == group for group in range(int(groups.max()) + 1)]
            parts += [Part(points[mask], shown[mask], radii_m[mask], kind == 2) for mask in masks if mask.sum() >= MIN_PIXELS]
        return parts

    @torch.inference_mode()
    def surfaces(self, picture: Image, is_hand: Bool[ndarray, "H W"], camera: Camera, T_table_camera: Transform) -> Surfaces:
        """What the network makes of a picture of its own size."""
        shown = network_input(picture, is_hand, camera, T_table_camera)
        return self._network(torch.from_numpy(shown)[None].contiguous(memory_format=torch.channels_last))


def _kinds(surfaces: Surfaces, picture: Image, hidden: Bool[ndarray, "H W"]) -> Int[ndarray, "H W"]:
    """What each pixel shows, as numbers of KINDS, things with sharp outlines."""
    logits = surfaces.kinds[0].numpy()
    seems = logits.argmax(0)
    is_thing = outlined(picture, (seems > 0) & ~hidden, hidden)
    return np.where(is_thing, np.where(seems > 0, seems, 1 + logits[1:].argmax(0)), 0)


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
    path = (folder or models_dir() / "things") / FILE
    if not path.is_file():
        raise FileNotFoundError(f"No network that lifts things at {path}; `h2w train things --out {path.parent}` makes it")
    state, metadata = read_file(path)
    with torch.device("meta"):
        network = LiftingNetwork(from_json(LiftingConfig, metadata.get("config", "{}"), str(path)))
    fill(network, {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, str(path))
    return Lifter(network)


def save_lifter(folder: Path, network: LiftingNetwork, training: dict[str, object]) -> Path:
    """Writes weights (half precision) with their config and what made them."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"config": json.dumps(asdict(network.config)), "training": json.dumps(training)}
    state = {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in network.state_dict().items()}
    write_file(folder / FILE, state, metadata)
    return folder / FILE

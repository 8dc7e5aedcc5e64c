"""Other looks of the same episodes, as they are read: mirrored worlds and other colours, exact in geometry.

What a small generator learns by heart is how few episodes look, not how they move. Folded latents are pictures, so that a look costs
next to nothing, and no episode need ever be seen twice in the same one.

Legend: B streams, Z latent channels, n frames, h w latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from h2w_ros.condition import Camera
from h2w_ros.generator.folded_codec import LATENT_SCALE
from h2w_ros.generator.motion import Moment
from h2w_ros.geometry import Transform

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
LUMA = np.array([0.299, 0.587, 0.114])
MIRRORED_SHARE = 0.5
RECOLOURED_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Looks:
    """How each of B streams looks: a matrix that its RGB are multiplied with, and whether its world is mirrored.

    In a mirror x points the other way: left hands become right ones, poses and camera follow.
    """

    colours: Float[Tensor, "B 3 3"]
    is_mirrored: Bool[Tensor, "B"]

    def picture(self, latents: Float[Tensor, "B Z n h w"]) -> Float[Tensor, "B Z n h w"]:
        """What a camera saw."""
        rgb = latents.unflatten(1, (3, -1))
        recoloured = torch.einsum("bij,bjknhw->biknhw", self.colours, rgb + LATENT_SCALE) - LATENT_SCALE
        return self._where_mirrored(recoloured.clamp(-LATENT_SCALE, LATENT_SCALE).flatten(1, 2), mirrored)

    def hands(self, latents: Float[Tensor, "B Z n h w"]) -> Float[Tensor, "B Z n h w"]:
        """Hand renders: red is right, blue is left."""
        return self._where_mirrored(latents, lambda seen: mirrored(seen).unflatten(1, (3, -1)).flip(1).flatten(1, 2))

    def map(self, values: Float[Tensor, "B 1 n h w"]) -> Float[Tensor, "B 1 n h w"]:
        """Numbers of places."""
        return self._where_mirrored(values, lambda of_places: of_places.flip(-1))

    def moment(self, moment: Moment) -> Moment:
        """Where camera and hands are."""
        mirror = torch.from_numpy(MIRROR).to(moment.T_world_camera)
        fx, fy, cx, cy = moment.intrinsics.unbind(1)
        intrinsics = self._where_mirrored(moment.intrinsics, lambda _: torch.stack([fx, fy, 1.0 - cx, cy], 1))
        T_world_camera = self._where_mirrored(moment.T_world_camera, lambda T: mirror @ T @ mirror)
        T_world_grips = self._where_mirrored(moment.T_world_grips, lambda T: (mirror @ T @ mirror).flip(1))
        return replace(moment, intrinsics=intrinsics, T_world_camera=T_world_camera, T_world_grips=T_world_grips)

    def view(self, stream: int, camera: Camera, T_world_camera: Transform) -> tuple[Camera, Transform]:
        """One stream's camera, and where it is."""
        if not self.is_mirrored[stream]:
            return camera, T_world_camera
        return replace(camera, cx=camera.width_px - camera.cx), MIRROR @ T_world_camera @ MIRROR

    def _where_mirrored(self, plain: Tensor, mirror: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.where(self.is_mirrored.view(-1, *[1] * (plain.ndim - 1)), mirror(plain), plain)


def draw_looks(rng: np.random.Generator, num_streams: int, device: torch.device | str = "cpu") -> Looks:
    """Looks to train on; some keep their colours."""
    colours = [colour_matrix(rng) if rng.uniform() < RECOLOURED_SHARE else np.eye(3) for _ in range(num_streams)]
    is_mirrored = torch.from_numpy(rng.uniform(size=num_streams) < MIRRORED_SHARE)
    return Looks(torch.from_numpy(np.stack(colours)).float().to(device), is_mirrored.to(device))


def plain_looks(num_streams: int, device: torch.device | str = "cpu") -> Looks:
    """Everything as it is."""
    return Looks(torch.eye(3, device=device).expand(num_streams, 3, 3), torch.zeros(num_streams, dtype=torch.bool, device=device))


def mirrored(latents: Float[Tensor, "B Z n h w"]) -> Float[Tensor, "B Z n h w"]:
    """Folded pictures in a mirror: the order of places turns about, within latents too."""
    fold = math.isqrt(latents.shape[1] // 3)
    return latents.unflatten(1, (3, fold, fold)).flip(3, -1).flatten(1, 3)


def colour_matrix(rng: np.random.Generator) -> Float[ndarray, "3 3"]:
    """A random change of RGB: saturation, hue (a turn about grey), light of another colour and strength."""
    saturation, angle, gain = rng.uniform(0.5, 1.4), rng.normal(0, 0.3), np.exp(rng.normal(0, 0.1, 3) + rng.normal(0, 0.12))
    x, y, z = np.full(3, np.sin(angle) / np.sqrt(3))
    turn = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) / 3 + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    grey = np.tile(LUMA, (3, 1))
    return np.diag(gain) @ (grey + saturation * (turn - grey))

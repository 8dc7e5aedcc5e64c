"""Where everything stood a moment ago: what rests in the world, and what goes along with a hand.

A network that must redraw what a hand carries blurs it. So the last frame is moved for it, twice: as if all of it rested on the
table and only the head had moved, and as if all of it were held by the nearest hand. Which of the two holds where, and what is
new, is the network's to say (`schedule.composite`).

Legend: B streams, h w places of a picture, V = 2 ways to move: resting, carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

WAYS = 2
REACH_M = 1.3
"""What lies farther, or not on the table, is taken to stand at this distance."""
NEAREST_M = 0.05
FARTHEST = 4.0
"""Places outside the last picture, in its half-widths, are pulled in to here: what is not seen continues the edge."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Where the camera and the hands of B streams are, float32.

    `intrinsics`: fx, fy, cx, cy in widths and heights of the picture, origin at its corner. `T_world_grips`: left and right hand, in a
    frame whose origin is what the hand holds; NaN where no hand is known. `table_height_m`: in a world whose z axis points up; NaN
    where no table is known.
    """

    intrinsics: Float[Tensor, "B 4"]
    T_world_camera: Float[Tensor, "B 4 4"]
    T_world_grips: Float[Tensor, "B 2 4 4"]
    table_height_m: Float[Tensor, "B"]  # a shape

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes from process to process as arrays: a few numbers, for which tensors bring much ceremony."""
        return _moment_of_arrays, tuple(getattr(self, name).numpy() for name in self.__dataclass_fields__)

    @classmethod
    def together(cls, moments: Sequence[Moment]) -> Moment:
        """The streams of several moments as one batch."""
        parts = ([getattr(m, name) for m in moments] for name in cls.__dataclass_fields__)
        return cls(*(torch.cat(part) for part in parts))

    def part(self, streams: slice) -> Moment:
        """Some of the streams."""
        return Moment(*(getattr(self, name)[streams] for name in self.__dataclass_fields__))


def _moment_of_arrays(*arrays: ndarray) -> Moment:
    return Moment(*map(torch.from_numpy, arrays))


def places_before(now: Moment, before: Moment, size: tuple[int, int]) -> Float[Tensor, "B V h w 2"]:
    """For every place of a picture of this size, where it stood in the picture before, in [-1, 1] from edge to edge."""
    return torch.stack(_places_before(now, before, size)[0], 1).unflatten(2, size)


def places_since(now: Moment, before: Moment, first: Moment, size: tuple[int, int]) -> Float[Tensor, "B N h w 2"]:
    """`places_before`, and after them (N = V + 1) where each place stood in the first picture, had all rested since."""
    places, resting = _places_before(now, before, size)
    return torch.stack([*places, _places(first, resting)], 1).unflatten(2, size)


def _places_before(now: Moment, before: Moment, size: tuple[int, int]) -> tuple[list[Tensor], Float[Tensor, "B N 3"]]:
    """The places of all ways, and the resting points in the world."""
    rays = _rays_camera(now.intrinsics, size)
    resting = _resting_points_world(now, rays)
    return [_places(before, points) for points in (resting, _carried_points_world(now, before, rays, resting))], resting


def moved(latents: Float[Tensor, "B Z n h w"], places: Float[Tensor, "B n N H W 2"], fold: int) -> Float[Tensor, "V B Z n h w"]:
    """Latents read at the first V places of each. `fold`: a latent holds so many by so many places of a small picture (see `FoldedCodec`)."""
    places = places[:, :, :WAYS]
    small = F.pixel_shuffle(latents.transpose(1, 2).float(), fold)  # (B, n, z, H, W)
    pictures = small[:, :, None].expand(-1, -1, WAYS, -1, -1, -1).flatten(0, 2)
    read = F.grid_sample(pictures, places.flatten(0, 2), mode="bicubic", padding_mode="border", align_corners=False)
    return F.pixel_unshuffle(read, fold).unflatten(0, places.shape[:3]).permute(2, 0, 3, 1, 4, 5)


def _rays_camera(intrinsics: Tensor, size: tuple[int, int]) -> Float[Tensor, "B N 3"]:
    """A vector of depth one through the middle of every place, row by row."""
    height, width = size
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    middles = torch.stack([x, y], -1).flatten(0, 1).to(intrinsics)
    slopes = (middles - intrinsics[:, None, 2:]) / intrinsics[:, None, :2]
    return F.pad(slopes, (0, 1), value=1.0)


def _resting_points_world(now: Moment, rays: Tensor) -> Float[Tensor, "B N 3"]:
    """Where rays meet the table, or stand at reach."""
    directions = F.normalize(rays, dim=-1) @ now.T_world_camera[:, :3, :3].mT
    eye = now.T_world_camera[:, None, :3, 3]
    distance = (now.table_height_m[:, None] - eye[..., 2]) / directions[..., 2]
    meets = (distance > 0) & (distance < REACH_M)  # false for a table that is not known
    return eye + directions * torch.where(meets, distance, REACH_M)[..., None]


def _carried_points_world(now: Moment, before: Moment, rays: Tensor, resting: Tensor) -> Float[Tensor, "B N 3"]:
    """Where the nearest hand had what it now holds up at its own depth; resting points where no hand is known at both moments."""
    depth, off = _beside_hands(now, rays)
    is_known = (depth > NEAREST_M) & before.T_world_grips.isfinite().flatten(2).all(-1)
    grips_now, grips_before = (torch.where(is_known[..., None, None], m.T_world_grips, torch.eye(4).to(depth)) for m in (now, before))
    T_before_now = grips_before @ torch.linalg.inv(grips_now)
    nearest = torch.where(is_known[:, None], off, torch.inf).argmin(-1)  # (B, N)
    held = now.T_world_camera[:, None, :3, 3] + (rays * depth.gather(1, nearest)[..., None]) @ now.T_world_camera[:, :3, :3].mT
    was = held[:, None] @ T_before_now[..., :3, :3].mT + T_before_now[..., None, :3, 3]  # (B, 2, N, 3)
    own = was.take_along_dim(nearest[:, None, :, None], 1)[:, 0]
    return torch.where(is_known.any(-1)[:, None, None], own, resting)


def _beside_hands(now: Moment, rays: Tensor) -> tuple[Float[Tensor, "B 2"], Float[Tensor, "B N 2"]]:
    """The depth of both hands, and how far from each a ray passes at depth one, squared; NaN for a hand that is not known."""
    centres = (torch.linalg.inv(now.T_world_camera)[:, None] @ now.T_world_grips)[..., :3, 3]
    depth = centres[..., 2]
    slopes = centres[..., :2] / depth[..., None]
    return depth, (rays[:, :, None, :2] - slopes[:, None]).square().sum(-1)


def _places(before: Moment, points_world: Tensor) -> Float[Tensor, "B N 2"]:
    """Points in the picture of that moment, in [-1, 1] from edge to edge."""
    points = (points_world - before.T_world_camera[:, None, :3, 3]) @ before.T_world_camera[:, :3, :3]
    slopes = points[..., :2] / points[..., 2:].clamp(min=NEAREST_M)
    shares = slopes * before.intrinsics[:, None, :2] + before.intrinsics[:, None, 2:]
    return (2.0 * shares - 1.0).clamp(-FARTHEST, FARTHEST)

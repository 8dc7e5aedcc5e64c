"""Pinhole cameras: pixel conventions, resizing with intrinsics, projection, Plücker rays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, cross_matrix, invert

ResizePolicy = Literal["squash", "crop"]
PluckerMap = Float32[ndarray, "H W 6"]


def from_pixel_centres(width_px: int, height_px: int, fx: float, fy: float, cx: float, cy: float) -> Camera:
    """A camera from numbers whose origin is the first pixel's centre, as ROS's CameraInfo and OpenCV count."""
    return Camera(width_px, height_px, fx, fy, cx + 0.5, cy + 0.5)


def intrinsics(camera: Camera) -> Float[ndarray, "4"]:
    """fx, fy, cx, cy in widths and heights of the picture, origin at its corner."""
    width, height = camera.width_px, camera.height_px
    return np.array([camera.fx / width, camera.fy / height, camera.cx / width, camera.cy / height])


def project(camera: Camera, points_camera: Float[ndarray, "n 3"]) -> Float[ndarray, "n 2"]:
    """Pixel positions (u, v), corner origin, of points in the camera's optical frame; z must be positive."""
    u = camera.fx * points_camera[:, 0] / points_camera[:, 2] + camera.cx
    v = camera.fy * points_camera[:, 1] / points_camera[:, 2] + camera.cy
    return np.stack([u, v], axis=1)


def scaled(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The camera after its picture was resized to this size: each axis scales by itself."""
    x, y = width_px / camera.width_px, height_px / camera.height_px
    return Camera(width_px, height_px, camera.fx * x, camera.fy * y, camera.cx * x, camera.cy * y)


def scaled_as_released(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The rule of Hand2World's offline tool (from CameraCtrl): the axis that shrinks more keeps the other axis's scale for its focal length.

    Only for checkpoints trained with it; see `RaysConfig.aspect`.
    """
    per_axis = scaled(camera, width_px, height_px)
    if camera.width_px / camera.height_px > width_px / height_px:
        return replace(per_axis, fx=camera.fx * height_px / camera.height_px)
    return replace(per_axis, fy=camera.fy * width_px / camera.width_px)


@dataclass(frozen=True)
class Resize:
    """How pictures of one size become pictures of another, and what that does to their camera.

    'squash' stretches the whole picture; 'crop' keeps the aspect and cuts the longer side around the centre.
    """

    width_px: int
    height_px: int
    policy: ResizePolicy = "squash"

    def __post_init__(self) -> None:
        if self.policy not in ("squash", "crop"):
            raise ValueError(f"resize policy must be 'squash' or 'crop', got {self.policy!r}")

    def window(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """The part of the source that is kept: left, top, width, height [px]."""
        if self.policy == "squash":
            return 0, 0, width_px, height_px
        scale = min(width_px / self.width_px, height_px / self.height_px)
        kept_w, kept_h = min(width_px, round(self.width_px * scale)), min(height_px, round(self.height_px * scale))
        return (width_px - kept_w) // 2, (height_px - kept_h) // 2, kept_w, kept_h

    def pixel_aspect(self, width_px: int, height_px: int) -> Fraction:
        """How much wider than high a pixel of the resized picture is to be shown, if the source's are square."""
        _, _, kept_w, kept_h = self.window(width_px, height_px)
        return Fraction(kept_w * self.height_px, kept_h * self.width_px)

    def kept(self, camera: Camera) -> Camera:
        """The camera of the part that is kept, before it is scaled."""
        left, top, kept_w, kept_h = self.window(camera.width_px, camera.height_px)
        return replace(camera, width_px=kept_w, height_px=kept_h, cx=camera.cx - left, cy=camera.cy - top)

    def camera(self, camera: Camera) -> Camera:
        """The camera of the resized picture."""
        return scaled(self.kept(camera), self.width_px, self.height_px)

    def picture(self, picture: Image) -> Image:
        """The resized picture; shrinking averages areas."""
        left, top, kept_w, kept_h = self.window(picture.shape[1], picture.shape[0])
        cut = picture[top : top + kept_h, left : left + kept_w]
        if cut.shape[:2] == (self.height_px, self.width_px):
            return np.ascontiguousarray(cut)
        shrinks = kept_w > self.width_px or kept_h > self.height_px
        return cv2.resize(cut, (self.width_px, self.height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def partial(self, picture: Image, known: Bool[ndarray, "_ _"]) -> tuple[Image, Bool[ndarray, "_ _"]]:
        """A resized picture that shows something in some places only, and those places; its holes don't bleed into it."""
        if known.all():
            return self.picture(picture), np.ones((self.height_px, self.width_px), bool)
        share = self.picture(np.where(known[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2))
        shown = share[..., 0] >= 128
        colors = self.picture(np.where(known[..., None], picture, np.uint8(0))).astype(np.float32) * (255.0 / np.maximum(share, 1))
        return np.where(shown[..., None], colors.round().clip(0, 255), 0).astype(np.uint8), shown


@lru_cache(maxsize=16)
def unit_rays_camera(camera: Camera) -> Float32[ndarray, "HW 3"]:
    """Unit direction through every pixel centre in the optical frame, row by row. Cached, therefore read-only."""
    u = (np.arange(camera.width_px) + 0.5 - camera.cx) / camera.fx
    v = (np.arange(camera.height_px) + 0.5 - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(u, v), np.ones((camera.height_px, camera.width_px))], axis=-1).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    cached = rays.astype(np.float32)
    cached.setflags(write=False)
    return cached


def plucker_rays(camera: Camera, T_anchor_camera: Transform) -> PluckerMap:
    """Ray through every pixel centre in the anchor frame, as (moment o x d [m], unit direction d).

    One matrix product a frame: moment and direction are both linear in the camera-frame direction.
    """
    rays = unit_rays_camera(camera) @ plucker_matrix(T_anchor_camera).T.astype(np.float32)
    return rays.reshape(camera.height_px, camera.width_px, 6)


def plucker_matrix(T_anchor_camera: Transform) -> Float[ndarray, "6 3"]:
    """What makes (moment, direction) in the anchor frame of a direction in the camera's."""
    R, o = T_anchor_camera[:3, :3], T_anchor_camera[:3, 3]
    return np.concatenate([cross_matrix(o) @ R, R], axis=0)


def relative_to(T_world_anchor: Transform, T_world_camera: Transform) -> Transform:
    """T_anchor_camera; exactly the identity when both are the same pose."""
    if np.array_equal(T_world_anchor, T_world_camera):
        return np.eye(4)
    return invert(T_world_anchor) @ T_world_camera


def pack_plucker(plucker: Float[ndarray, "F H W 6"], temporal_stride: int) -> Float[ndarray, "C L H W"]:
    """Rays of F frames as channels of L latents: stride 1 gives 6 channels, stride 4 gives 24, component-major.

    With stride s the first latent holds frame 0 s times and latent k the frames s(k-1)+1 .. sk (Hand2World's packing),
    so F must be 1 + s n.
    """
    num_frames = plucker.shape[0]
    if (num_frames - 1) % temporal_stride:
        raise ValueError(f"frames must number 1 + {temporal_stride} n to pack by {temporal_stride}, got {num_frames}")
    padded = np.concatenate([np.repeat(plucker[:1], temporal_stride - 1, axis=0), plucker])
    grouped = padded.reshape(-1, temporal_stride, *plucker.shape[1:])  # (L, s, H, W, 6)
    return np.ascontiguousarray(grouped.transpose(4, 1, 0, 2, 3)).reshape(6 * temporal_stride, -1, *plucker.shape[1:3])

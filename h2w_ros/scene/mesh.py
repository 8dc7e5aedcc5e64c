"""A static scene as triangles with colors or textures, unlit: colors are drawn as they are.

Both sides of a triangle are seen, because scans and room models are seldom closed. What no triangle covers is a hole.

Legend: V vertices, F triangles, P pixels that show a triangle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8
from numpy import ndarray

from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.rasterize import Window, pixel_runs, pixels_of
from h2w_ros.scene.near_plane import Clipped, clip
from h2w_ros.scene.view import SceneView

SMALLEST_TEXTURE_PX = 2


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles [m] in the world's frame.

    `texture_of_face` says which of `textures` a triangle shows, at its vertices' `uv` (0..1, v upwards, beyond that repeated); -1 is none,
    and then its vertices' colors are blended.
    """

    vertices_world: Float32[ndarray, "V 3"]
    faces: Int32[ndarray, "F 3"]
    colors: UInt8[ndarray, "V 3"]
    uv: Float32[ndarray, "V 2"]
    texture_of_face: Int32[ndarray, "F"]
    textures: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        num_vertices, num_faces = len(self.vertices_world), len(self.faces)
        if not num_faces or self.faces.min() < 0 or self.faces.max() >= num_vertices:
            raise ValueError(f"a mesh must hold triangles of its {num_vertices} vertices, got {num_faces} triangles")
        if not np.isfinite(self.vertices_world).all() or not np.isfinite(self.uv).all():
            raise ValueError("a mesh must have finite vertices and texture coordinates")
        if len(self.colors) != num_vertices or len(self.uv) != num_vertices or len(self.texture_of_face) != num_faces:
            raise ValueError(
                f"a mesh needs colors and texture coordinates of {num_vertices} vertices, and a texture's number of {num_faces} triangles"
            )
        if self.texture_of_face.min() < -1 or self.texture_of_face.max() >= len(self.textures):
            raise ValueError(f"triangles must show one of the mesh's {len(self.textures)} textures, or -1 for none")

    def __len__(self) -> int:
        return len(self.faces)

    def moved(self, T_new_world: Transform) -> Mesh:
        """The same mesh in another frame."""
        return replace(self, vertices_world=apply(T_new_world, self.vertices_world).astype(np.float32))

    def render(self, camera: Camera, T_world_camera: Transform) -> SceneView:
        """What this camera sees of the mesh, one triangle a pixel: edges are as sharp as the picture."""
        seen = clip(apply(invert(T_world_camera), self.vertices_world)[self.faces])
        shown, pixels, shares = _front_faces(seen, camera)
        picture = np.zeros((camera.height_px * camera.width_px, 3), np.uint8)
        picture[pixels] = self._colors(seen, shown, shares, camera)
        known = np.zeros(len(picture), bool)
        known[pixels] = True
        shape = camera.height_px, camera.width_px
        return SceneView(picture.reshape(*shape, 3), known.reshape(shape))

    def colors_at(self, faces: Int[ndarray, "n"], shares: Float32[ndarray, "n 3"]) -> UInt8[ndarray, "n 3"]:
        """The color at places of triangles, given as shares of their corners."""
        colors = np.empty((len(faces), 3), np.uint8)
        textures = self.texture_of_face[faces]
        for index in np.unique(textures):
            at = np.flatnonzero(textures == index)
            if index < 0:
                colors[at] = _blended(self.colors[self.faces], faces[at], shares[at]).round()
            else:
                uv = _blended(self.uv[self.faces], faces[at], shares[at])
                colors[at] = _looked_up(self._pyramids[index], uv, np.zeros(len(at), np.int64))
        return colors

    def _colors(self, seen: Clipped, shown: Int[ndarray, "P"], shares: Float32[ndarray, "P 3"], camera: Camera) -> UInt8[ndarray, "P 3"]:
        """The color at every pixel: `shares` say how much of each corner of its triangle it has."""
        colors = np.empty((len(shown), 3), np.uint8)
        texture_of_pixel = self.texture_of_face[seen.faces][shown]
        level = self._levels_of(seen, camera)
        for index in np.unique(texture_of_pixel):
            at = np.flatnonzero(texture_of_pixel == index)
            if index < 0:
                colors[at] = _blended(_at_corners(self.colors, self, seen), shown[at], shares[at]).round()
            else:
                uv = _blended(_at_corners(self.uv, self, seen), shown[at], shares[at])
                colors[at] = _looked_up(self._pyramids[index], uv, level[shown[at]])
        return colors

    def _levels_of(self, seen: Clipped, camera: Camera) -> Int[ndarray, "S"]:
        """How often each drawn triangle's texture is halved, so that about one of its pixels falls on one of the picture."""
        if not self.textures:
            return np.zeros(len(seen.faces), np.int64)
        sizes = np.array([(1, 1), *((texture.shape[1], texture.shape[0]) for texture in self.textures)])[self.texture_of_face[seen.faces] + 1]
        uv = _at_corners(self.uv, self, seen) * sizes[:, None]
        texels, pixels = _double_area(uv), _double_area(_pixels_of_corners(seen, camera))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.nan_to_num(0.5 * np.log2(texels / pixels), nan=0.0, posinf=20.0, neginf=0.0)
        return level.round().clip(0, 20).astype(np.int64)

    @cached_property
    def _pyramids(self) -> list[list[Image]]:
        return [_pyramid(texture) for texture in self.textures]


def _at_corners(values: ndarray, mesh: Mesh, seen: Clipped) -> Float32[ndarray, "S 3 x"]:
    """What the mesh's vertices have, at the corners of what is left of its triangles."""
    return np.asarray(seen.corners @ values[mesh.faces[seen.faces]], dtype=np.float32)


def _blended(corners: ndarray, triangles: Int[ndarray, "P"], shares: Float32[ndarray, "P 3"]) -> Float32[ndarray, "P x"]:
    """What each pixel has between the corners of its triangle."""
    first, second, third = (shares[:, k, None] * corners[triangles, k] for k in range(3))
    total: ndarray = first + second + third
    return total


def _pixels_of_corners(seen: Clipped, camera: Camera) -> Float[ndarray, "S 3 2"]:
    return seen.points_camera[..., :2] / seen.points_camera[..., 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def _front_faces(seen: Clipped, camera: Camera) -> tuple[Int[ndarray, "P"], Int[ndarray, "P"], Float32[ndarray, "P 3"]]:
    """Which triangle each pixel that shows one shows, and its shares of that triangle's corners."""
    window = Window(0, camera.height_px, 0, camera.width_px)
    corners_px = _pixels_of_corners(seen, camera)
    triangles, pixels = pixels_of(pixel_runs(corners_px, window), window)
    row, column = np.divmod(pixels, camera.width_px)
    x, y = column.astype(np.float32) + np.float32(0.5), row.astype(np.float32) + np.float32(0.5)
    # On the picture 1/depth is linear, and so is everything divided by depth.
    planes = (_planes(corners_px) / seen.points_camera[..., 2:]).astype(np.float32)
    nearness = _at_pixels(planes.sum(1), triangles, x, y)
    front = np.zeros(camera.width_px * camera.height_px, np.float32)
    np.maximum.at(front, pixels, nearness)
    winners = np.full(len(front), -1)
    in_front = np.flatnonzero(nearness >= front[pixels])
    winners[pixels[in_front]] = in_front  # of two that touch, the later one
    shown = winners[winners >= 0]
    triangles, pixels, x, y, nearness = (column[shown] for column in (triangles, pixels, x, y, nearness))
    shares = np.stack([_at_pixels(planes[:, k], triangles, x, y) / nearness for k in range(3)], axis=1)
    return triangles, pixels, shares


def _at_pixels(planes: Float32[ndarray, "S 3"], triangles: Int[ndarray, "P"], x: Float32[ndarray, "P"], y: Float32[ndarray, "P"]) -> ndarray:
    """a x + b y + c of each pixel's triangle."""
    a, b, c = planes.T
    total: ndarray = a[triangles] * x + b[triangles] * y + c[triangles]
    return total


def _planes(corners_px: Float[ndarray, "S 3 2"]) -> Float[ndarray, "S 3 3"]:
    """For every corner of every triangle the a, b, c of a x + b y + c, its share of the pixel (x, y) on the picture."""
    x, y = corners_px[..., 0], corners_px[..., 1]
    following, last = np.roll(x, -1, 1), np.roll(x, -2, 1)
    following_y, last_y = np.roll(y, -1, 1), np.roll(y, -2, 1)
    planes = np.stack([following_y - last_y, last - following, following * last_y - last * following_y], -1)
    double_area = planes[..., 2].sum(1)
    return planes / np.where(np.abs(double_area) > 1e-12, double_area, np.inf)[:, None, None]


def _double_area(corners: Float[ndarray, "S 3 2"]) -> Float[ndarray, "S"]:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _pyramid(texture: Image) -> list[Image]:
    """The texture and its halves, down to few pixels."""
    levels = [texture]
    while min(levels[-1].shape[:2]) >= 2 * SMALLEST_TEXTURE_PX:
        height_px, width_px = levels[-1].shape[:2]
        levels.append(np.asarray(cv2.resize(levels[-1], (width_px // 2, height_px // 2), interpolation=cv2.INTER_AREA), dtype=np.uint8))
    return levels


def _looked_up(pyramid: list[Image], uv: Float32[ndarray, "P 2"], level: Int[ndarray, "P"]) -> UInt8[ndarray, "P 3"]:
    """The texture's colors, each at its level of the pyramid."""
    colors = np.empty((len(uv), 3), np.uint8)
    level = np.minimum(level, len(pyramid) - 1)
    for number in np.unique(level):
        at, texture = np.flatnonzero(level == number), pyramid[number]
        height_px, width_px = texture.shape[:2]
        column = np.minimum((uv[at, 0] % 1.0 * width_px).astype(np.int64), width_px - 1)
        row = np.minimum((-uv[at, 1] % 1.0 * height_px).astype(np.int64), height_px - 1)
        colors[at] = texture[row, column]
    return colors

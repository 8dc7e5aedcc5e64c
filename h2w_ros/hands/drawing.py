"""A hand in front of a camera, ready to be drawn: projected, cut to what can be seen, its mesh lines as ink."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from h2w_ros.condition import Camera, HandPose, Side
from h2w_ros.geometry import Transform, apply, invert
from h2w_ros.hands.model import HandModel
from h2w_ros.hands.skinning import skin
from h2w_ros.rasterize import Runs, Window, covered, painted, pixel_runs, window_around

# Faces with a vertex nearer than this are not drawn: their projection runs away (Hand2World's release does the same).
NEAR_M = 0.05
# Lines are drawn one dot wide on a canvas with about this many rows and averaged down: pictures of any size are
# reductions of one another, and small ones keep the hand's colour.
INK_ROWS = 960
INK_SCALES = (2, 8)
# OpenCV's fixed point: coordinates are sent in sixteenths of a dot, cut to this distance around the canvas [dots].
SHIFT = 4
INK_MARGIN = 64.0


@dataclass(frozen=True, eq=False)
class HandView:
    """One hand in the optical frame of one camera; its pixels are those of `window`."""

    model: HandModel
    camera: Camera
    vertices_camera: Float[ndarray, "778 3"]

    @property
    def side(self) -> Side:
        """The hand's side."""
        return self.model.side

    @cached_property
    def in_front(self) -> Bool[ndarray, "778"]:
        """Vertices far enough before the camera."""
        return self.vertices_camera[:, 2] > NEAR_M

    @cached_property
    def faces(self) -> Int[ndarray, "F 3"]:
        """The faces that lie wholly before the camera."""
        return self.model.faces if self.in_front.all() else self.model.faces[self.in_front[self.model.faces].all(axis=1)]

    @cached_property
    def vertices_px(self) -> Float[ndarray, "778 2"]:
        """Projected vertices, corner origin; those that are not in front have no meaning."""
        depths_m = np.where(self.in_front, self.vertices_camera[:, 2], 1.0)
        focal = (self.camera.fx, self.camera.fy)
        return self.vertices_camera[:, :2] / depths_m[:, None] * focal + (self.camera.cx, self.camera.cy)

    @cached_property
    def window(self) -> Window:
        """The part of the picture that the hand may cover; empty when it is out of sight."""
        seen = self.vertices_px if self.in_front.all() else self.vertices_px[self.faces.ravel()]
        return window_around(seen, self.camera.width_px, self.camera.height_px)

    @property
    def in_sight(self) -> bool:
        """Whether any pixel may show this hand."""
        return self.window.bottom > self.window.top and self.window.right > self.window.left

    @cached_property
    def runs(self) -> Runs:
        """The pixels of every face, in the order of `faces`."""
        return pixel_runs(self.vertices_px[self.faces], self.window)

    @cached_property
    def silhouette(self) -> Bool[ndarray, "h w"]:
        """The window's pixels whose centres the hand covers.

        Summed over all faces, an edge between two that face the same way cancels out: the outline is what is left.
        """
        a, b, c = (self.vertices_px[self.model.faces[:, k]] for k in range(3))
        turns = np.sign((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])).astype(np.int64)
        if not self.in_front.all():
            turns *= self.in_front[self.model.faces].all(axis=1)
        edges, sides = self.model.edges.vertices, np.append(turns, 0)[self.model.edges.faces]
        counts = sides[:, 0] - sides[:, 1]
        outline = np.flatnonzero(counts)
        return covered(self.vertices_px[edges[outline, 0]], self.vertices_px[edges[outline, 1]], counts[outline], self.window)

    @cached_property
    def normals_camera(self) -> Float[ndarray, "F 3"]:
        """Every face's unit normal, out of the hand."""
        a, b, c = (self.vertices_camera[self.faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    @cached_property
    def facing(self) -> Float[ndarray, "F"]:
        """How squarely each face looks along the optical axis, |n.z| in 0..1."""
        return np.abs(self.normals_camera[:, 2])

    @cached_property
    def shows_outside(self) -> Bool[ndarray, "F"]:
        """Faces whose outer side is turned to the camera; through the open wrist some show their inner one."""
        return (self.normals_camera * self.vertices_camera[self.faces[:, 0]]).sum(axis=1) < 0

    @cached_property
    def far_to_near(self) -> Int[ndarray, "F"]:
        """The order in which a painter lays the faces."""
        return np.argsort(-self.vertices_camera[:, 2][self.faces].sum(axis=1), kind="stable")

    @cached_property
    def nearest(self) -> Int[ndarray, "h w"]:
        """The face that is seen at each pixel of the window, counted from 1 in the order of `faces`; 0 where there is none."""
        return painted(self.runs, np.arange(1, len(self.faces) + 1), self.window, self.far_to_near)

    @cached_property
    def ink(self) -> Float32[ndarray, "h w 1"]:
        """How much of each pixel of the window the mesh lines cover, 0..1; hidden lines show too."""
        top, bottom, left, right = self.window
        scale = ink_scale(self.camera)
        canvas = np.zeros(((bottom - top) * scale, (right - left) * scale), dtype=np.uint8)
        dots = (self.vertices_px - (left, top)) * scale - 0.5  # OpenCV counts from the first dot's centre
        cv2.polylines(canvas, self._lines(dots, canvas.shape), False, (255,), 1, cv2.LINE_8, SHIFT)
        ink = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        return ink[..., None] * np.float32(1 / 255)

    def _lines(self, dots: Float[ndarray, "778 2"], canvas_shape: tuple[int, ...]) -> list[Int[ndarray, "n 2"]]:
        """The mesh's edges as polylines in OpenCV's fixed point: long trails, or cut pieces where some leave the safe range."""
        limit = np.array(canvas_shape[::-1]) + INK_MARGIN
        if self.in_front.all() and (dots > -INK_MARGIN).all() and (dots < limit).all():
            fixed = np.rint(dots * 2**SHIFT).astype(np.int32)
            stations = fixed[self.model.edge_walks.vertices]
            return [stations[start:end] for start, end in self.model.edge_walks.ranges]
        edges = self.model.edges.vertices
        edges = edges[self.in_front[edges].all(axis=1)]
        pieces = clipped_segments(dots[edges], np.full(2, -INK_MARGIN), limit)
        return list(np.rint(pieces * 2**SHIFT).astype(np.int32))


def hand_view(model: HandModel, hand: HandPose, camera: Camera, T_world_camera: Transform) -> HandView:
    """The hand as this camera sees it."""
    # float32 in the wrist frame is exact to 1e-8 m, and twice as fast.
    wrist = skin(model, hand.joint_angles_rad.astype(np.float32), hand.betas.astype(np.float32))
    return HandView(model, camera, apply(invert(T_world_camera) @ hand.T_world_wrist, wrist.vertices))


def ink_scale(camera: Camera) -> int:
    """How many dots of the line canvas make a pixel of this camera's picture."""
    return int(np.clip(-(-INK_ROWS // camera.height_px), *INK_SCALES))


def clipped_segments(segments: Float[ndarray, "n 2 2"], low: Float[ndarray, "2"], high: Float[ndarray, "2"]) -> Float[ndarray, "m 2 2"]:
    """The parts of straight segments within a box (Liang and Barsky, 1984); those outside are gone."""
    start, way = segments[:, 0], segments[:, 1] - segments[:, 0]
    still = way == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - start) / way, (high - start) / way
    inside = (start >= low) & (start <= high)
    enter = np.where(still, np.where(inside, 0.0, 2.0), np.minimum(to_low, to_high)).max(axis=1).clip(0.0)
    leave = np.where(still, 1.0, np.maximum(to_low, to_high)).min(axis=1).clip(max=1.0)
    seen = enter < leave
    enter, leave = enter[seen, None], leave[seen, None]
    return np.stack([start[seen] + enter * way[seen], start[seen] + leave * way[seen]], axis=1)

"""Pictures and ground-truth masks of a scene, through any pinhole camera, without a display."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from types import TracebackType

import cv2
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32
from numpy import ndarray

from h2w_ros.condition import Camera, Image, Side
from h2w_ros.geometry import Transform

HandVertices = Mapping[Side, Float[ndarray, "778 3"]]
"""The skins of the hands to draw, in the world [m]."""

NEAR_M, FAR_M = 0.03, 12.0
GL_REMEDY = "the simulated world draws with OpenGL: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6, with MUJOCO_GL=osmesa)"


@lru_cache(maxsize=1)
def _gl_context() -> object:
    """This process's one GL context, made current: EGL without a display, or OSMesa where MUJOCO_GL asks for it."""
    platform = os.environ.get("MUJOCO_GL") or "egl"
    if platform not in ("egl", "osmesa"):
        raise ValueError(f"MUJOCO_GL must be 'egl' or 'osmesa' (nothing else draws without a display), got {platform!r}")
    _load_triton()
    try:
        context = importlib.import_module(f"mujoco.{platform}").GLContext(1, 1)  # pictures go to a framebuffer of their own
        context.make_current()
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise OSError(f"{GL_REMEDY} [{error}]") from error
    return context


def _load_triton() -> None:
    """PyTorch for GPUs brings Triton, which anything may import later. Its LLVM must be there before software GL's: the other way round, the
    process ends in a segmentation fault."""
    if find_spec("triton") is not None:
        with suppress(ImportError):
            importlib.import_module("triton")


class SceneRenderer:
    """Draws one compiled model; a context manager, because the model's textures live on the GL side."""

    def __init__(self, model: mujoco.MjModel, width_px: int, height_px: int, supersampling: int) -> None:
        self.model, self.width_px, self.height_px = model, width_px, height_px
        model.vis.global_.offwidth, model.vis.global_.offheight = width_px * supersampling, height_px * supersampling
        _gl_context()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._large = mujoco.MjrRect(0, 0, width_px * supersampling, height_px * supersampling)
        self._exact = mujoco.MjrRect(0, 0, width_px, height_px)
        self._with_hands, self._without_hands = _options(hands=True), _options(hands=False)
        self._only_hands = _options(hands=True, scene=False)

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.free()

    def image(self, data: mujoco.MjData, camera: Camera, T_world_camera: Transform, hands: HandVertices | None = None) -> Image:
        """What the camera sees, with these hands and their forearms, or with none."""
        self._look(data, camera, T_world_camera, hands, self._without_hands if hands is None else self._with_hands)
        self._set_flags(segmentation=False)
        return cv2.resize(self._read(self._large), (self.width_px, self.height_px), interpolation=cv2.INTER_AREA)

    def bodies(self, data: mujoco.MjData, camera: Camera, T_world_camera: Transform, hands: HandVertices) -> Int32[ndarray, "H W"]:
        """Id of the body that each pixel shows; hands' skins count as their first bone's body; -1 is nothing."""
        self._look(data, camera, T_world_camera, hands, self._with_hands)
        return self._segments(None)

    def bodies_and_depth(
        self, data: mujoco.MjData, camera: Camera, T_world_camera: Transform, hands: HandVertices
    ) -> tuple[Int32[ndarray, "H W"], Float32[ndarray, "H W"]]:
        """`bodies`, and how far along the optical axis each pixel's surface is [m], inf where there is none."""
        self._look(data, camera, T_world_camera, hands, self._with_hands)
        depth = np.empty((self.height_px, self.width_px), dtype=np.float32)
        bodies = self._segments(depth)
        return bodies, _metres(depth[::-1], bodies >= 0)

    def complete_hands(self, data: mujoco.MjData, camera: Camera, T_world_camera: Transform, hands: HandVertices) -> Bool[ndarray, "H W"]:
        """Pixels where a hand or forearm is, seen or hidden behind something."""
        self._look(data, camera, T_world_camera, hands, self._only_hands)
        return self._segments(None) >= 0

    def _segments(self, depth: Float32[ndarray, "H W"] | None) -> Int32[ndarray, "H W"]:
        """The body of every pixel of what is looked at; fills `depth`, upside down, with what OpenGL holds."""
        self._set_flags(segmentation=True)
        code = self._read(self._exact, depth).astype(np.int32)
        return self._body_of_segment()[code[..., 0] + (code[..., 1] << 8) + (code[..., 2] << 16)]

    def _body_of_segment(self) -> Int32[ndarray, "s"]:
        table = np.full(self._scene.ngeom + 1, -1, dtype=np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                table[geom.segid + 1] = self.model.geom_bodyid[geom.objid]
            elif geom.objtype == mujoco.mjtObj.mjOBJ_SKIN:
                table[geom.segid + 1] = self.model.skin_bonebodyid[self.model.skin_boneadr[geom.objid]]
        return table

    def _look(self, data: mujoco.MjData, camera: Camera, T_world_camera: Transform, hands: HandVertices | None, option: mujoco.MjvOption) -> None:
        mujoco.mjv_updateScene(self.model, data, option, None, mujoco.MjvCamera(), mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        for eye in self._scene.camera:
            _aim(eye, camera, T_world_camera)
        for name, vertices in (hands or {}).items():
            self._set_skin(name, vertices)

    def _set_skin(self, name: str, vertices: Float[ndarray, "v 3"]) -> None:
        """Puts the hand model's own vertices, pose corrections included, in place of MuJoCo's blend of its bones."""
        skin = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SKIN, name)
        start, count = 3 * self._scene.skinvertadr[skin], 3 * self._scene.skinvertnum[skin]
        self._scene.skinvert[start : start + count] = vertices.ravel()

    def _set_flags(self, segmentation: bool) -> None:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = segmentation

    def _read(self, viewport: mujoco.MjrRect, depth: Float32[ndarray, "H W"] | None = None) -> Image:
        mujoco.mjr_render(viewport, self._scene, self._context)
        pixels = np.empty((viewport.height, viewport.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, depth, viewport, self._context)
        return pixels[::-1]


def hand_mask(model: mujoco.MjModel, bodies: Int32[ndarray, "*t H W"]) -> Bool[ndarray, "*t H W"]:
    """Pixels that show a hand or forearm: the bodies that mocap drives."""
    driven = np.append(model.body_mocapid >= 0, False)  # index -1, nothing seen, finds the last entry
    return driven[bodies]


def _metres(depth: Float32[ndarray, "H W"], is_surface: Bool[ndarray, "H W"]) -> Float32[ndarray, "H W"]:
    """OpenGL's depth 0..1 as a distance along the optical axis [m]."""
    distance = NEAR_M * FAR_M / (FAR_M - depth * (FAR_M - NEAR_M))
    return np.where(is_surface, distance, np.float32(np.inf)).astype(np.float32)


def _options(hands: bool, scene: bool = True) -> mujoco.MjvOption:
    """Geoms of groups 0 (room, objects) with the scene, 1 (forearms) and the skins with hands."""
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[0], option.geomgroup[1] = scene, hands
    option.skingroup[:] = hands
    option.flags[mujoco.mjtVisFlag.mjVIS_SKIN] = hands
    return option


def _aim(eye: mujoco.MjvGLCamera, camera: Camera, T_world_camera: Transform) -> None:
    """Sets OpenGL's eye to the pinhole camera, its frustum cut off-centre and anisotropic."""
    eye.pos, eye.forward, eye.up = T_world_camera[:3, 3], T_world_camera[:3, 2], -T_world_camera[:3, 1]
    eye.frustum_near, eye.frustum_far = NEAR_M, FAR_M
    eye.frustum_width = NEAR_M * camera.width_px / (2 * camera.fx)
    eye.frustum_center = NEAR_M * (camera.width_px / 2 - camera.cx) / camera.fx
    eye.frustum_top = NEAR_M * camera.cy / camera.fy
    eye.frustum_bottom = NEAR_M * (camera.cy - camera.height_px) / camera.fy

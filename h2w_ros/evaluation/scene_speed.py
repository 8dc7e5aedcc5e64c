"""How long static scenes take: drawn along a path, and fused from depth images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from h2w_ros.camera import unit_rays_camera
from h2w_ros.condition import Camera, Image
from h2w_ros.geometry import Transform, look_at
from h2w_ros.scene.along import WIDTH_PX
from h2w_ros.scene.depth import DepthMap
from h2w_ros.scene.fusion import Fusion
from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.points import Points

UP = np.array([0.0, 0.0, 1.0])
DEPTH_SIZE = 640, 480


@dataclass(frozen=True)
class ScenePlan:
    """What is measured: pictures of this many sizes of the scene, from as many places, after a few that warm up."""

    sizes_px: tuple[tuple[int, int], ...] = ((128, 96), (WIDTH_PX, WIDTH_PX * 3 // 4))
    num_pictures: int = 60
    num_depths: int = 12
    rate_hz: float = 16.0

    def __post_init__(self) -> None:
        if min(self.num_pictures, self.num_depths) < 2:
            raise ValueError(f"pictures and depth images must be at least 2, got {self.num_pictures} and {self.num_depths}")


def measure_scene(plan: ScenePlan, scene: Points | Mesh | None = None, advanced: Callable[[], object] = lambda: None) -> dict[str, object]:
    """Median times of one core [ms]: of a scene fused here, of one with as many triangles, or of the given one."""
    fusion, fusing_ms = _fused(plan, advanced)
    fused = fusion.scene()
    scenes: dict[str, Points | Mesh] = {"given": scene} if scene is not None else {"triangles": _bumpy_table(100)}
    if scene is None and fused is not None:
        scenes["points"] = fused
    report: dict[str, object] = {"fuse_ms_640x480": round(fusing_ms, 1), "fused_points": len(fusion)}
    for name, one in scenes.items():
        times_ms = {f"draw_ms_{w}x{h}": round(_draw_ms(one, plan, w, h, advanced), 2) for w, h in plan.sizes_px}
        report[name] = {"size": len(one), **times_ms}
    return report | {"period_ms": 1e3 / plan.rate_hz}


def _place(number: int) -> Transform:
    """A head that sways over a table."""
    return look_at(np.array([0.15 * np.sin(0.3 * number), -0.45, 0.4]), np.zeros(3), UP)


def _draw_ms(scene: Points | Mesh, plan: ScenePlan, width_px: int, height_px: int, advanced: Callable[[], object]) -> float:
    camera = Camera(width_px, height_px, 0.8 * width_px, 0.8 * width_px, width_px / 2, height_px / 2)
    scene.render(camera, _place(0))
    times_ms = []
    for number in range(plan.num_pictures):
        began_s = time.process_time()
        scene.render(camera, _place(number))
        times_ms.append(1e3 * (time.process_time() - began_s))
        advanced()
    return float(np.median(times_ms))


def _fused(plan: ScenePlan, advanced: Callable[[], object]) -> tuple[Fusion, float]:
    """A table, seen by a depth camera from everywhere along the path."""
    width_px, height_px = DEPTH_SIZE
    camera = Camera(width_px, height_px, 0.8 * width_px, 0.8 * width_px, width_px / 2, height_px / 2)
    fusion, times_ms = Fusion(), []
    for number in range(plan.num_depths):
        image, depth_m = _table(camera, _place(2 * number))
        began_s = time.process_time()
        fusion.add_depth(image, depth_m, camera, _place(2 * number))
        times_ms.append(1e3 * (time.process_time() - began_s))
        advanced()
    return fusion, float(np.median(times_ms))


def _table(camera: Camera, T_world_camera: Transform) -> tuple[Image, DepthMap]:
    """What is seen and measured of an endless chequered table at height zero."""
    rays = unit_rays_camera(camera)
    directions = (rays / rays[:, 2:]) @ T_world_camera[:3, :3].T
    depth_m = np.where(directions[:, 2] < -0.05, -T_world_camera[2, 3] / np.minimum(directions[:, 2], -0.05), 0.0)
    x, y = (T_world_camera[:2, 3, None] + (directions[:, :2] * depth_m[:, None]).T).round(1) * 10
    image = np.where((x + y)[:, None] % 2 < 1, np.uint8(200), np.uint8(60)).repeat(3, axis=1)
    shape = camera.height_px, camera.width_px
    return image.reshape(*shape, 3), depth_m.reshape(shape).astype(np.float32)


def _bumpy_table(num_rows: int) -> Mesh:
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, num_rows), np.linspace(-0.6, 0.6, num_rows // 2))
    vertices = np.stack([x, y, 0.01 * np.sin(20 * x)], axis=-1).reshape(-1, 3).astype(np.float32)
    index = np.arange(len(vertices), dtype=np.int32).reshape(x.shape)
    first, right, below, last = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((first, below, right), (last, right, below))])
    colors = (127 + 100 * np.sin(9 * vertices)).astype(np.uint8)
    return Mesh(vertices, faces, colors, np.zeros((len(vertices), 2), np.float32), np.full(len(faces), -1, np.int32))

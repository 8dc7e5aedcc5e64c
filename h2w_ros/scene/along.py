"""A static scene seen along a camera's path: what conditions carry of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from h2w_ros.camera import Resize, scaled
from h2w_ros.condition import Condition
from h2w_ros.scene.view import StaticScene

WIDTH_PX = 256
"""Twice that of the shipped model: pictures that are resized to it are then smooth."""


def with_scene(condition: Condition, scene: StaticScene, width_px: int = WIDTH_PX) -> Condition:
    """The condition with the scene as its camera sees it, drawn at most this wide and enlarged; holes are marked, not filled."""
    camera = condition.camera
    width_px = min(width_px, camera.width_px)
    view = scene.render(scaled(camera, width_px, max(1, round(camera.height_px * width_px / camera.width_px))), condition.T_world_camera)
    picture, known = Resize(camera.width_px, camera.height_px).partial(view.picture, view.known)
    return replace(condition, static_render=picture, static_known=known)


def along(conditions: Iterable[Condition], scene: StaticScene, width_px: int = WIDTH_PX) -> Iterator[Condition]:
    """Every condition with the scene as its camera sees it."""
    return (with_scene(condition, scene, width_px) for condition in conditions)

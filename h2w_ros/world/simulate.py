"""A seed becomes an episode: hands act on a table, a head looks on, and everything is known about every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32
from numpy import ndarray

from h2w_ros.condition import Condition
from h2w_ros.world.happenings import world_of
from h2w_ros.world.physics import World
from h2w_ros.world.render import SceneRenderer, hand_mask
from h2w_ros.world.spec import TABLE_HEIGHT_M, WORLD_VERSION, WorldSpec
from h2w_ros.world.truth import FrameTruth, GroundTruth, frame_truth, ground_truth
from h2w_ros.world.view import View


@dataclass(frozen=True, eq=False)
class WorldEpisode:
    """One simulated episode of T frames."""

    conditions: list[Condition]
    """Each with camera, head and hands, its `image`, and its `static_render`: the untouched scene without hands from the same camera, or,
    where the camera is fixed, the first image (`description["static_render"]` says which)."""
    hand_masks: Bool[ndarray, "T H W"]
    """Pixels that show a hand or forearm."""
    object_masks: Bool[ndarray, "T H W"]
    """Pixels that show what moves at some time of the episode: an object, or only its lid, drawer or cover."""
    description: dict[str, Any]
    """The seed, the world's version, what stands on the table, what each hand does, and what moves."""
    truth: GroundTruth | None = None
    """Ids of all objects, depth, poses and contacts; only where `WorldSpec.ground_truth` asks for them."""


def simulate(seed: int, spec: WorldSpec | None = None) -> WorldEpisode:
    """The episode of this seed, the same bit for bit on one machine for one WORLD_VERSION and spec.

    Raises UnstableSimulationError for the rare seed whose physics fails, OSError when OpenGL is missing.
    """
    spec = spec or WorldSpec()
    world, view = world_of(seed, spec)
    with SceneRenderer(world.model, spec.width_px, spec.height_px, spec.supersampling) as renderer:
        conditions, bodies, truths = _film(world, renderer, view, spec)
    moved = [world.model.body(name).id for name in world.moved_bodies]
    truth = ground_truth(world, truths) if spec.ground_truth else None
    return WorldEpisode(conditions, hand_mask(world.model, bodies), np.isin(bodies, moved), _describe(seed, world, view), truth)


def _film(world: World, renderer: SceneRenderer, view: View, spec: WorldSpec) -> tuple[list[Condition], Int32[ndarray, "T H W"], list[FrameTruth]]:
    """For every frame a condition, the id of the body that every pixel shows, and, where asked for, the truth."""
    conditions, bodies, truths = [], [], []
    for frame in range(spec.num_frames):
        if frame > 0:
            world.advance()
        T_world_camera = view.head.T_world_camera(frame / spec.rate_hz)
        skins = world.hand_vertices
        image = renderer.image(world.data, view.camera, T_world_camera, skins)
        if not view.is_fixed:
            static = renderer.image(world.untouched, view.camera, T_world_camera)
        elif frame == 0:
            static = image
        stamp_ns = round(frame * 1e9 / spec.rate_hz)
        conditions.append(Condition(stamp_ns, view.camera, T_world_camera, world.hands, static_render=static, image=image))
        if spec.ground_truth:
            truths.append(frame_truth(world, renderer, view.camera, T_world_camera, skins))
            bodies.append(truths[-1].bodies)
        else:
            bodies.append(renderer.bodies(world.data, view.camera, T_world_camera, skins))
    return conditions, np.stack(bodies), truths


def _describe(seed: int, world: World, view: View) -> dict[str, Any]:
    return {
        "seed": seed,
        "world_version": WORLD_VERSION,
        "static_render": "first frame" if view.is_fixed else "untouched scene",
        "table_height_m": TABLE_HEIGHT_M,
        "objects": {thing.name: thing.shape for thing in world.things},
        "moved": world.moved,
        "tasks": {actor.shape.side: [{"task": task, "object": name} for task, name in actor.tasks] for actor in world.actors},
    }

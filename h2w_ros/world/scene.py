"""One episode's scene as a compiled MuJoCo model: room, table, lights, objects, hands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.world.appearance import Colour, Texture, random_colour, table_texture
from h2w_ros.world.hand_bodies import HandShape, add_hand
from h2w_ros.world.materials import CAN_CHOOSE_SHADOWS, add_texture, keep_from_shadowing
from h2w_ros.world.object_bodies import OBJECT_COLLISION_BIT, add_object
from h2w_ros.world.objects import TableObject

log = logging.getLogger(__name__)

DressedHand = tuple[HandShape, Colour, Colour | None]
"""A hand, its skin tone, and the colour of its sleeve if it has one."""

FLOOR_Z_M = -0.74
TABLE_THICKNESS_M = 0.03


@dataclass(frozen=True, eq=False)
class Look:
    """What surrounds the objects: surfaces, lights, things at the back of the table that never move."""

    table_texture: Texture
    table_tint: Colour
    table_half_m: tuple[float, float]
    floor: Colour
    wall: Colour
    wall_y_m: float
    light_from: Float[ndarray, "3"]
    light: Colour
    fill: float
    ambient: float
    clutter: tuple[tuple[Float[ndarray, "3"], float, float, Colour], ...]
    """Upright boxes: half size [m], x [m], yaw [rad], colour."""


def sample_look(rng: np.random.Generator) -> Look:
    """A room's look; surfaces muted, light from above."""
    azimuth, elevation = rng.uniform(-np.pi, np.pi), rng.uniform(0.8, 1.35)
    light_from = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return Look(
        table_texture=table_texture(rng),
        table_tint=rng.uniform(0.85, 1.0, 3),
        table_half_m=(float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.36, 0.48))),
        floor=random_colour(rng, (0.0, 0.4), (0.15, 0.7)),
        wall=random_colour(rng, (0.0, 0.35), (0.4, 0.95)),
        wall_y_m=float(rng.uniform(0.7, 1.8)),
        light_from=light_from,
        light=np.clip(rng.uniform(0.5, 0.75) * (1 + rng.uniform(-0.08, 0.08, 3)), 0, 1),
        fill=float(rng.uniform(0.05, 0.25)),
        ambient=float(rng.uniform(0.28, 0.42)),
        clutter=tuple(_sample_clutter(rng) for _ in range(rng.integers(0, 4))),
    )


def build_scene(look: Look, objects: Sequence[TableObject], hands: Sequence[DressedHand], shadow_map_px: int) -> mujoco.MjModel:
    """Compiles the scene. The table top is z = 0, the person sits at negative y; object bodies carry their own names."""
    scene = mujoco.MjSpec()
    scene.compiler.degree = False
    _set_options(scene, look, shadow_map_px)
    _add_room(scene, look)
    if shadow_map_px > 0 and not CAN_CHOOSE_SHADOWS:
        _warn_of_no_shadows()
    _add_lights(scene, look, casts_shadows=shadow_map_px > 0 and CAN_CHOOSE_SHADOWS)
    for thing in objects:
        add_object(scene, thing)
    for shape, tone, sleeve in hands:
        add_hand(scene, shape, tone, sleeve)
    return scene.compile()


@cache
def _warn_of_no_shadows() -> None:
    """Once a process."""
    log.warning("the simulated world has no shadows here: they take MuJoCo 4 (Python 3.11 or newer), and this is %s", mujoco.__version__)


def _sample_clutter(rng: np.random.Generator) -> tuple[Float[ndarray, "3"], float, float, Colour]:
    half = rng.uniform((0.03, 0.015, 0.04), (0.11, 0.05, 0.13))
    return half, float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.3, 0.3)), random_colour(rng, (0.0, 0.7), (0.15, 0.9))


def _set_options(scene: mujoco.MjSpec, look: Look, shadow_map_px: int) -> None:
    scene.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    scene.option.impratio = 5
    visual = scene.visual
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = [look.ambient] * 3, [0.05] * 3, [0.0] * 3
    visual.quality.shadowsize, visual.quality.offsamples = shadow_map_px, 0
    visual.quality.numslices, visual.quality.numstacks, visual.quality.numquads = 20, 12, 1
    visual.map.shadowclip = 0.6
    scene.stat.extent, scene.stat.center = 0.9, np.array([0, 0, 0.1])


def _add_room(scene: mujoco.MjSpec, look: Look) -> None:
    half_x, half_y = look.table_half_m
    centre_y = half_y - 0.3
    world = scene.worldbody
    table = world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_x, half_y, TABLE_THICKNESS_M / 2],
        pos=[0, centre_y, -TABLE_THICKNESS_M / 2],
        rgba=[*look.table_tint, 1],
        material=add_texture(scene, "table", look.table_texture, cube=False, repeat=(half_x * 2.5, half_y * 2.5)),
        friction=[0.7, 0.01, 0.002],
    )
    table.contype = table.conaffinity = OBJECT_COLLISION_BIT
    floor = world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4, 4, 0.1], pos=[0, 0, FLOOR_Z_M], rgba=[*look.floor, 1])
    wall = world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[4, 0.02, 2], pos=[0, look.wall_y_m, 1], rgba=[*look.wall, 1], contype=0, conaffinity=0
    )
    for surface in (table, floor, wall):  # they would only shadow themselves, in stripes
        keep_from_shadowing(surface)
    for half, x, yaw, colour in look.clutter:
        position = [x, centre_y + half_y - half[1] - 0.03, half[2]]
        world.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=position, quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)], rgba=[*colour, 1])


def _add_lights(scene: mujoco.MjSpec, look: Look, casts_shadows: bool) -> None:
    key, fill = look.light_from, np.array([-look.light_from[0], -look.light_from[1], look.light_from[2]])
    for direction, colour, shadow in ((key, look.light, casts_shadows), (fill, np.full(3, look.fill), False)):
        light = scene.worldbody.add_light(pos=direction * 1.5, dir=-direction, castshadow=shadow)
        light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        light.diffuse, light.specular, light.ambient = colour, colour * 0.4, np.zeros(3)

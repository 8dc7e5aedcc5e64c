"""A thing as MuJoCo sees it: a free body of primitives, with meshes for what primitives cannot show, and a jointed part for what opens."""

from __future__ import annotations

import mujoco
import numpy as np

from h2w_ros.world.appearance import Colour
from h2w_ros.world.articulation import Articulation
from h2w_ros.world.hand_bodies import HAND_COLLISION_BITS
from h2w_ros.world.materials import add_texture
from h2w_ros.world.meshes import PROFILES, Mesh, handle, lathe
from h2w_ros.world.objects import TableObject
from h2w_ros.world.shapes import HANDLE_REACH_M
from h2w_ros.world.solids import Solid

OBJECT_COLLISION_BIT = 1

PAPER = np.array([0.93, 0.91, 0.85])
FALL_RAD_S = 3.5
"""How fast a lid or a cover falls, about."""
SLIDE_RUN_S = 0.06
"""How soon a drawer stops that is let go."""
GRAVITY_M_S2 = 9.81
UPRIGHT_TO = {"x": (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0), "y": (np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0), "z": (1.0, 0.0, 0.0, 0.0)}
"""Quaternions wxyz that turn z to an axis."""


def link_name(name: str) -> str:
    """The body and joint of what opens on the object of this name."""
    return f"{name}_link"


def add_object(scene: mujoco.MjSpec, thing: TableObject) -> None:
    """Adds the free body `thing.name` and, where it opens, body and joint `link_name(thing.name)`."""
    body = scene.worldbody.add_body(name=thing.name, pos=[*thing.xy_m, 0.0005 - thing.lowest_m])
    body.quat = [np.cos(thing.yaw_rad / 2), 0, 0, np.sin(thing.yaw_rad / 2)]
    body.add_freejoint()
    link = None if thing.articulation is None else _add_link(body, thing, thing.articulation)
    material = None if thing.texture is None else add_texture(scene, thing.name, thing.texture, cube=True)
    for solid in thing.solids:
        _add_solid(link if link is not None and solid.moves else body, thing, solid, material)
    for number, mesh in enumerate(_meshes(thing)):
        _add_mesh(scene, body, f"{thing.name}_{number}", mesh, thing.colour)


def _add_link(body: mujoco.MjsBody, thing: TableObject, articulation: Articulation) -> mujoco.MjsBody:
    link = body.add_body(name=link_name(thing.name))
    mass_kg, lever_m = _moving_mass(thing, articulation)
    is_hinge = articulation.joint == "hinge"
    joint = link.add_joint(name=link_name(thing.name), axis=articulation.axis, pos=articulation.anchor_m, limited=mujoco.mjtLimited.mjLIMITED_TRUE)
    joint.type = mujoco.mjtJoint.mjJNT_HINGE if is_hinge else mujoco.mjtJoint.mjJNT_SLIDE
    joint.range = [0.0, articulation.max_opening]
    damping = mass_kg * GRAVITY_M_S2 * lever_m / FALL_RAD_S if is_hinge else mass_kg / SLIDE_RUN_S
    joint.damping = np.array([damping, 0.0, 0.0])  # one degree of freedom reads the first
    return link


def _moving_mass(thing: TableObject, articulation: Articulation) -> tuple[float, float]:
    """Mass [kg] of the part that moves, and how far from the hinge's axis its middle is [m]."""
    moving = [(8 * float(np.prod(solid.half_size_m)), np.array(solid.centre_m)) for solid in thing.solids if solid.moves]
    volume = sum(part for part, _ in moving)
    middle = np.sum([part * centre for part, centre in moving], axis=0) / volume
    return volume * thing.density_kg_m3, float(np.linalg.norm(np.cross(articulation.axis, middle - articulation.anchor_m)))


def _add_solid(body: mujoco.MjsBody, thing: TableObject, solid: Solid, material: str | None) -> None:
    kind, size = _geom(solid)
    geom = body.add_geom(type=kind, size=size, pos=solid.centre_m, quat=UPRIGHT_TO[solid.axis])
    geom.density, geom.condim, geom.friction = thing.density_kg_m3, 6, [0.7, 0.01, 0.004]
    geom.contype, geom.conaffinity = (
        (OBJECT_COLLISION_BIT, OBJECT_COLLISION_BIT | HAND_COLLISION_BITS["left"] | HAND_COLLISION_BITS["right"]) if solid.collides else (0, 0)
    )
    if not solid.is_seen:
        geom.rgba, geom.group = [0, 0, 0, 0], 5
    elif solid.paint == "main" and material is not None:
        geom.material = material
    else:
        geom.rgba = [*{"main": thing.colour, "trim": thing.trim, "paper": PAPER}[solid.paint], 1]


def _geom(solid: Solid) -> tuple[mujoco.mjtGeom, list[float]]:
    x, y, z = solid.half_size_m
    radius, length = {"x": (y, x), "y": (x, y), "z": (x, z)}[solid.axis]
    if solid.kind == "box":
        return mujoco.mjtGeom.mjGEOM_BOX, [x, y, z]
    if solid.kind == "cylinder":
        return mujoco.mjtGeom.mjGEOM_CYLINDER, [radius, length, 0.0]
    if solid.kind == "capsule":
        return mujoco.mjtGeom.mjGEOM_CAPSULE, [radius, length - radius, 0.0]
    is_sphere = x == y == z
    return (mujoco.mjtGeom.mjGEOM_SPHERE, [x, 0.0, 0.0]) if is_sphere else (mujoco.mjtGeom.mjGEOM_ELLIPSOID, [x, y, z])


def _meshes(thing: TableObject) -> list[Mesh]:
    """What is drawn in place of solids that are not seen."""
    if thing.shape not in PROFILES:
        return []
    radius, _, half_height = thing.half_size_m
    turned = lathe(np.array(PROFILES[thing.shape], dtype=np.float64) * (radius, half_height))
    return [turned, handle(HANDLE_REACH_M - 0.004, half_height * 0.62, 0.0045, radius * 0.97)] if thing.shape == "mug" else [turned]


def _add_mesh(scene: mujoco.MjSpec, body: mujoco.MjsBody, name: str, surface: Mesh, colour: Colour) -> None:
    vertices, faces = surface
    mesh = scene.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert, mesh.userface = vertices.ravel().tolist(), faces.ravel().tolist()
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, rgba=[*colour, 1], contype=0, conaffinity=0, mass=0)

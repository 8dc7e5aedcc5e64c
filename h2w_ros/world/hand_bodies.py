"""A hand as MuJoCo sees it: one mocap body for each of MANO's 16 joints, a skin bound to them with the model's own
weights (so the picture coincides with our hand render), invisible capsules that push things, and a forearm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.condition import HandPose, Side
from h2w_ros.geometry import Transform, rotation_from_axis_angle, transform
from h2w_ros.hands.model import HandModel
from h2w_ros.hands.skinning import hand_joints_and_tips_world, hand_vertices_world
from h2w_ros.world.appearance import Colour
from h2w_ros.world.materials import keep_from_shadowing

NUM_JOINTS = 16
HAND_PARTS = (*map(str, range(NUM_JOINTS)), "forearm")
"""What follows the side in the names of a hand's bodies."""
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
FINGERS = {"index": (1, 2, 3, 17), "middle": (4, 5, 6, 18), "pinky": (7, 8, 9, 20), "ring": (10, 11, 12, 19), "thumb": (13, 14, 15, 16)}
"""MANO's joints of each finger from the knuckle on, then its tip among the 21 points."""
KNUCKLES = (1, 4, 10, 7)

THUMB_MEETS_M = 0.06
"""The closing thumb heads for the point this far out of the palm under the middle knuckle."""

FINGER_RADIUS_M = 0.009
PALM_RADIUS_M = 0.012
FOREARM_LENGTH_M = 0.56
WRIST_RADII_M = (0.0272, 0.0195)
ARM_RADII_M = (0.03, 0.024)
ELBOW_RADII_M = (0.044, 0.04)
"""Half-widths across and through the arm: around the hand's open end, a little behind it, and at the elbow."""
FOREARM_YIELDS = 0.45
"""How much the forearm's direction follows the hand's instead of the shoulder's, so that wrists do not break."""
HAND_COLLISION_BITS: dict[Side, int] = {"right": 2, "left": 4}
SHOULDER_M: dict[Side, Float[ndarray, "3"]] = {"right": np.array([0.26, -0.5, 0.1]), "left": np.array([-0.26, -0.5, 0.1])}
"""Where the forearms come from, in the world."""
PARKED_M = (0.0, -3.0, 1.0)
"""Where hands wait while the objects settle."""


@dataclass(frozen=True, eq=False)
class HandShape:
    """A hand model at rest with its betas chosen: wrist at the origin, in MANO's rest frame [m]."""

    side: Side
    model: HandModel
    betas: Float[ndarray, "10"]
    points: Float[ndarray, "21 3"]
    """16 joints, then the tips of thumb, index, middle, ring, pinky."""

    @cached_property
    def axes(self) -> Float[ndarray, "3 3"]:
        """Columns: where the fingers point, where the palm faces, and across the palm towards the thumb (or away: right-handed)."""
        fingers = self.points[4] / np.linalg.norm(self.points[4])
        towards_index = self.points[1] - self.points[7]
        palm = np.cross(towards_index, fingers) * (1.0 if self.side == "right" else -1.0)
        palm = palm / np.linalg.norm(palm)
        return np.stack([fingers, palm, np.cross(fingers, palm)], axis=1)

    @cached_property
    def curl_axes(self) -> dict[str, Float[ndarray, "3"]]:
        """Rest-frame axis of each finger about which positive angles close it; the thumb's closes it across the palm."""
        fingers, palm = self.axes[:, 0], self.axes[:, 1]
        base, _, _, tip = (self.points[i] for i in FINGERS["thumb"])
        across = np.cross(tip - base, self.points[4] + THUMB_MEETS_M * palm - base)
        return {finger: np.cross(fingers, palm) for finger in FINGERS} | {"thumb": across / np.linalg.norm(across)}


def hand_shape(side: Side, model: HandModel, betas: Float[ndarray, "10"]) -> HandShape:
    """The rest skeleton of this hand."""
    return HandShape(side, model, betas, hand_joints_and_tips_world(model, _rest_pose(side, betas)))


def joint_frames_world(shape: HandShape, T_world_wrist: Transform, joint_angles_rad: Float[ndarray, "45"]) -> Float[ndarray, "16 4 4"]:
    """The frame of every MANO joint in the world, by forward kinematics over the rest skeleton."""
    R_parent_joint = rotation_from_axis_angle(joint_angles_rad.reshape(15, 3))
    frames = np.tile(np.eye(4), (NUM_JOINTS, 1, 1))
    frames[0] = T_world_wrist
    for joint in range(1, NUM_JOINTS):
        parent = frames[PARENTS[joint]]
        frames[joint, :3, :3] = parent[:3, :3] @ R_parent_joint[joint - 1]
        frames[joint, :3, 3] = parent[:3, :3] @ (shape.points[joint] - shape.points[PARENTS[joint]]) + parent[:3, 3]
    return frames


def add_hand(scene: mujoco.MjSpec, shape: HandShape, tone: Colour, sleeve: Colour | None) -> None:
    """Adds bodies `{side}_0` .. `{side}_15`, `{side}_forearm` and the skin `{side}` to the scene."""
    for joint in range(NUM_JOINTS):
        body = scene.worldbody.add_body(name=f"{shape.side}_{joint}", mocap=True, pos=PARKED_M)
        for start, end, radius in _capsules(shape, joint):
            _add_capsule(body, start, end, radius, shape.side)
    _add_forearm(scene, shape.side, tone, sleeve)
    _add_skin(scene, shape, tone)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the mocap bodies of one hand are: 16 joints, then the forearm."""

    positions: Float[ndarray, "17 3"]
    quaternions_wxyz: Float[ndarray, "17 4"]

    def towards(self, other: Placement, share: float) -> Placement:
        """A share of the short way to another placement (quaternions blended and normalised)."""
        same_sign = np.sign((self.quaternions_wxyz * other.quaternions_wxyz).sum(axis=1, keepdims=True))
        quaternions = (1 - share) * self.quaternions_wxyz + share * np.where(same_sign < 0, -1, 1) * other.quaternions_wxyz
        positions = (1 - share) * self.positions + share * other.positions
        return Placement(positions, quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True))


class HandDriver:
    """Moves the mocap bodies of one hand in a compiled scene."""

    def __init__(self, model: mujoco.MjModel, shape: HandShape) -> None:
        names = [f"{shape.side}_{part}" for part in HAND_PARTS]
        self._shape = shape
        self._mocap = np.array([model.body(name).mocapid[0] for name in names])

    def placement(self, pose: HandPose) -> Placement:
        """The bodies' places for this pose."""
        frames = joint_frames_world(self._shape, pose.T_world_wrist, pose.joint_angles_rad)
        forearm = forearm_rotation(self._shape, pose.T_world_wrist)
        rotations = np.concatenate([frames[:, :3, :3], forearm[None]])
        quaternions = np.empty((NUM_JOINTS + 1, 4))
        for row, rotation in zip(quaternions, rotations, strict=True):
            mujoco.mju_mat2Quat(row, rotation.ravel())
        return Placement(np.concatenate([frames[:, :3, 3], frames[:1, :3, 3]]), quaternions)

    def place(self, data: mujoco.MjData, placement: Placement) -> None:
        """Moves the bodies there."""
        data.mocap_pos[self._mocap] = placement.positions
        data.mocap_quat[self._mocap] = placement.quaternions_wxyz

    def T_world_wrist(self, data: mujoco.MjData) -> Transform:
        """Where the wrist's body has been put."""
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, data.mocap_quat[self._mocap[0]])
        return transform(rotation.reshape(3, 3), data.mocap_pos[self._mocap[0]])


def forearm_rotation(shape: HandShape, T_world_wrist: Transform) -> Float[ndarray, "3 3"]:
    """R_world_forearm: z from the wrist towards the shoulder, yielding a little to the hand; x across the wrist, like the hand's."""
    towards_shoulder = SHOULDER_M[shape.side] - T_world_wrist[:3, 3]
    fingers, _, across = (T_world_wrist[:3, :3] @ shape.axes).T
    z = towards_shoulder / np.linalg.norm(towards_shoulder) - FOREARM_YIELDS * fingers
    z = z / np.linalg.norm(z)
    x = across - (across @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _rest_pose(side: Side, betas: Float[ndarray, "10"]) -> HandPose:
    return HandPose(side, np.eye(4), np.zeros(45), betas)


def _capsules(shape: HandShape, joint: int) -> list[tuple[Float[ndarray, "3"], Float[ndarray, "3"], float]]:
    """Start, end and radius of what collides on this joint's body, in the joint's own frame."""
    if joint == 0:
        return [(0.15 * shape.points[k], shape.points[k], PALM_RADIUS_M) for k in (*KNUCKLES, 13)]
    chain = next(chain for chain in FINGERS.values() if joint in chain)
    end = shape.points[chain[chain.index(joint) + 1]] - shape.points[joint]
    return [(np.zeros(3), end * 0.95, FINGER_RADIUS_M)]


def _add_capsule(body: mujoco.MjsBody, start: Float[ndarray, "3"], end: Float[ndarray, "3"], radius_m: float, side: Side) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[*start, *end],
        size=[radius_m, 0, 0],
        rgba=[0, 0, 0, 0],
        group=5,
        contype=HAND_COLLISION_BITS[side],
        conaffinity=0,
        friction=[0.9, 0.01, 0.001],
    )


def _add_skin(scene: mujoco.MjSpec, shape: HandShape, tone: Colour) -> None:
    vertices = hand_vertices_world(shape.model, _rest_pose(shape.side, shape.betas))
    skin = scene.add_skin(name=shape.side)
    skin.vert, skin.face = vertices.ravel().tolist(), np.asarray(shape.model.faces).ravel().tolist()
    skin.rgba = [*tone, 1]
    bound = [np.flatnonzero(shape.model.skin_weights[:, joint]) for joint in range(NUM_JOINTS)]
    skin.vertid = [vertices_of_joint.tolist() for vertices_of_joint in bound]
    skin.vertweight = [shape.model.skin_weights[vertices_of_joint, joint].tolist() for joint, vertices_of_joint in enumerate(bound)]
    skin.bodyname = [f"{shape.side}_{joint}" for joint in range(NUM_JOINTS)]
    skin.bindpos = shape.points[:NUM_JOINTS].ravel().tolist()
    skin.bindquat = [1, 0, 0, 0] * NUM_JOINTS


def _add_forearm(scene: mujoco.MjSpec, side: Side, tone: Colour, sleeve: Colour | None) -> None:
    body = scene.worldbody.add_body(name=f"{side}_forearm", mocap=True, pos=PARKED_M)
    _add_capsule(body, np.array([0, 0, 0.03]), np.array([0, 0, FOREARM_LENGTH_M]), 0.03, side)
    parts = [("arm", 0.0, 1.0, tone), ("shadow", 0.03, 0.86, tone)]
    if sleeve is not None:
        parts.append(("sleeve", 0.25, 1.2, sleeve))
    for part, start, thickness, colour in parts:
        vertices, faces = _tube(start, 1.0, thickness)
        mesh = scene.add_mesh(name=f"{side}_{part}", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        mesh.uservert, mesh.userface = vertices.ravel().tolist(), faces.ravel().tolist()
        geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, rgba=[*colour, 1], group=1, contype=0, conaffinity=0, mass=0)
        if part != "shadow":  # a thinner tube inside casts it, so that the skin has no specks where light grazes it
            keep_from_shadowing(geom)


def _tube(start: float, end: float, thickness: float, num_sides: int = 16, num_rings: int = 10) -> tuple[Float[ndarray, "v 3"], Int[ndarray, "f 3"]]:
    """A tapering elliptic tube along +z with rounded ends, between two shares of the forearm's length."""
    share = start + (end - start) * np.linspace(0, 1, num_rings) ** 2  # denser at the wrist
    corners = np.array([WRIST_RADII_M, WRIST_RADII_M, ARM_RADII_M, ELBOW_RADII_M])
    radii = thickness * np.stack([np.interp(share, (0, 0.05, 0.2, 1), corners[:, axis]) for axis in range(2)], axis=1)
    radii = np.concatenate([radii[:1] * 0.01, radii[:1] * 0.75, radii, radii[-1:] * 0.01])
    height = np.concatenate([share[:1] - 0.03, share[:1] - 0.025, share, share[-1:]]) * FOREARM_LENGTH_M
    angle = np.arange(num_sides) * 2 * np.pi / num_sides
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    vertices = np.concatenate([radii[:, None] * ring, np.broadcast_to(height[:, None, None], (len(height), num_sides, 1))], axis=-1)
    base = np.arange(len(height) - 1)[:, None] * num_sides
    here, after = np.arange(num_sides), (np.arange(num_sides) + 1) % num_sides
    a, b, c, d = (np.ravel(base + i) for i in (here, after, here + num_sides, after + num_sides))
    return vertices.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])

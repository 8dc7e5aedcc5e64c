"""The moving part of an episode: hands push and carry, objects answer by physics, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import HandPose, Side
from h2w_ros.geometry import Transform, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_vertices_world
from h2w_ros.world.actor import HandActor
from h2w_ros.world.appearance import random_colour, skin_tone
from h2w_ros.world.hand_bodies import HandDriver, HandShape, Placement, hand_shape
from h2w_ros.world.objects import sample_objects
from h2w_ros.world.scene import build_scene, sample_look
from h2w_ros.world.spec import WorldSpec
from h2w_ros.world.tasks import Table

SETTLE_S = 0.3
MOVED_M = 0.008
MOVED_COSINE = 0.98
"""An object that has gone this far or turned this much has moved visibly."""
ESCAPED_SPEED_M_S = 8.0
REACHABLE_M = 0.36
SECOND_HAND_ACTS = 0.5
HAND_SHAPE_SPREAD = 0.7
MIDLINE_M = 0.02
"""With two hands, each keeps this far to its own side."""


class UnstableSimulationError(RuntimeError):
    """The physics of this seed blew up; use another seed."""


class World:
    """The physics and the hands of one episode. `data` is now, `untouched` is the scene before anything happened."""

    def __init__(self, rng: np.random.Generator, spec: WorldSpec) -> None:
        self._spec = spec
        self.things = sample_objects(rng, int(rng.integers(spec.num_objects[0], spec.num_objects[1] + 1)))
        betas = rng.normal(0, HAND_SHAPE_SPREAD, 10)
        shapes = [_sample_hand(side, betas) for side in _sample_sides(rng, spec)]
        tone, sleeve = skin_tone(rng), random_colour(rng, (0.0, 0.7), (0.1, 0.9)) if rng.uniform() < 0.5 else None
        self.model = build_scene(sample_look(rng), self.things, [(shape, tone, sleeve) for shape in shapes], spec.shadow_map_px)
        self.model.opt.timestep = 1.0 / (spec.rate_hz * spec.substeps)
        self.data = _settled(self.model)
        self.actors: list[HandActor] = []
        anyone_acts = rng.uniform() >= spec.idle_episodes
        for shape in shapes:
            acts = anyone_acts and (not self.actors or rng.uniform() < SECOND_HAND_ACTS)
            self.actors.append(HandActor(rng, shape, spec, self._table(shape.side, len(shapes)), acts))
        self._drivers = [HandDriver(self.model, shape) for shape in shapes]
        self._placements = self._wanted_placements()
        for driver, placement in zip(self._drivers, self._placements, strict=True):
            driver.place(self.data, placement)
        mujoco.mj_forward(self.model, self.data)
        self.untouched = mujoco.MjData(self.model)
        self.untouched.qpos[:] = self.data.qpos
        mujoco.mj_forward(self.model, self.untouched)
        self._moved: set[str] = set()

    @property
    def hands(self) -> tuple[HandPose, ...]:
        """Where the hands are now."""
        return tuple(actor.pose for actor in self.actors)

    @property
    def hand_vertices(self) -> dict[Side, Float[ndarray, "778 3"]]:
        """The skins of the hands now, in the world [m]."""
        return {actor.shape.side: hand_vertices_world(actor.shape.model, actor.pose) for actor in self.actors}

    @property
    def moved(self) -> list[str]:
        """Names of the objects that have moved or turned visibly since the start."""
        return [thing.name for thing in self.things if thing.name in self._moved]

    def advance(self) -> None:
        """One frame of hands and physics; UnstableSimulationError when an object shoots off."""
        for actor in self.actors:
            actor.advance(1.0 / self._spec.rate_hz, self._table(actor.shape.side, len(self.actors)))
        before, self._placements = self._placements, self._wanted_placements()
        for step in range(1, self._spec.substeps + 1):
            share = step / self._spec.substeps
            for driver, start, end in zip(self._drivers, before, self._placements, strict=True):
                driver.place(self.data, start.towards(end, share))
            mujoco.mj_step(self.model, self.data)
            self._hold()
        mujoco.mj_forward(self.model, self.data)
        self._check_speed()
        self._note_moved()

    def _table(self, side: Side, num_hands: int) -> Table:
        """What the hand of this side knows; what the other hand is busy with, or holds, is not for it."""
        poses = {thing.name: self._pose(thing.name) for thing in self.things}
        taken = {actor.object_name for actor in self.actors if actor.shape.side != side}
        usable = [name for name, T in poses.items() if name not in taken and _is_reachable(T, side, num_hands)]
        return Table({thing.name: thing for thing in self.things}, poses, usable)

    def _pose(self, name: str) -> Transform:
        body = self.data.body(name)
        return transform(body.xmat.reshape(3, 3), body.xpos)

    def _wanted_placements(self) -> list[Placement]:
        return [driver.placement(pose) for driver, pose in zip(self._drivers, self.hands, strict=True)]

    def _hold(self) -> None:
        """Carried objects follow their hand's wrist, whatever physics wanted."""
        for actor, driver in zip(self.actors, self._drivers, strict=True):
            if actor.held is not None:
                name, T_wrist_object = actor.held
                _set_free_body(self.model, self.data, name, driver.T_world_wrist(self.data) @ T_wrist_object)

    def _check_speed(self) -> None:
        fastest = float(np.abs(self.data.qvel).reshape(-1, 6)[:, :3].max(initial=0.0))
        if not fastest < ESCAPED_SPEED_M_S:
            raise UnstableSimulationError(f"an object moves at {fastest:.3g} m/s, more than {ESCAPED_SPEED_M_S}; use another seed")

    def _note_moved(self) -> None:
        for thing in self.things:
            now, then = self.data.body(thing.name), self.untouched.body(thing.name)
            turned = (now.xmat.reshape(3, 3) * then.xmat.reshape(3, 3)).sum(axis=0)  # cosine of each axis with what it was
            relevant = turned[2] if thing.is_round else turned.min()
            if np.linalg.norm(now.xpos - then.xpos) > MOVED_M or (relevant < MOVED_COSINE and thing.shape != "sphere"):
                self._moved.add(thing.name)


def _sample_sides(rng: np.random.Generator, spec: WorldSpec) -> Sequence[Side]:
    """The acting hand first; two in three are right hands."""
    first: Side = "right" if rng.uniform() < 0.65 else "left"
    if rng.uniform() >= spec.two_hands:
        return (first,)
    return ("right", "left") if first == "right" else ("left", "right")


def _sample_hand(side: Side, betas: Float[ndarray, "10"]) -> HandShape:
    return hand_shape(side, load_hand_model(side), betas)


def _settled(model: mujoco.MjModel) -> mujoco.MjData:
    """The objects at rest on the table, hands out of the way."""
    data = mujoco.MjData(model)
    for _ in range(round(SETTLE_S / model.opt.timestep)):
        mujoco.mj_step(model, data)
    data.qvel[:] = 0
    data.time = 0
    mujoco.mj_forward(model, data)
    return data


def _is_reachable(T_world_object: Transform, side: Side, num_hands: int) -> bool:
    x, y, z = T_world_object[:3, 3]
    own_side = x if side == "right" else -x
    return bool(np.hypot(x, y) < REACHABLE_M and z > 0 and own_side > (MIDLINE_M if num_hands == 2 else -0.2))


def _set_free_body(model: mujoco.MjModel, data: mujoco.MjData, name: str, T_world_body: Transform) -> None:
    """Puts a free body at rest at this pose."""
    joint = model.body(name).jntadr[0]
    at, velocity_at = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
    data.qpos[at : at + 3] = T_world_body[:3, 3]
    mujoco.mju_mat2Quat(data.qpos[at + 3 : at + 7], T_world_body[:3, :3].ravel())
    data.qvel[velocity_at : velocity_at + 6] = 0

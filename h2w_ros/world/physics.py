"""The moving part of an episode: hands push and carry, objects answer by physics, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.condition import SIDES, HandPose, Side
from h2w_ros.geometry import Transform, apply, invert, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_vertices_world
from h2w_ros.world.actor import HandActor, Held
from h2w_ros.world.appearance import random_colour, skin_tone
from h2w_ros.world.contacts import touching_bodies
from h2w_ros.world.hand_bodies import HAND_COLLISION_BITS, HandDriver, HandShape, Placement, hand_shape
from h2w_ros.world.object_bodies import OBJECT_COLLISION_BIT, link_name
from h2w_ros.world.objects import TableObject
from h2w_ros.world.placement import sample_objects
from h2w_ros.world.scene import build_scene, sample_look
from h2w_ros.world.spec import WorldSpec
from h2w_ros.world.tasks.idle import Sees
from h2w_ros.world.tasks.table import Table

SETTLE_S = 0.3
MOVED_M = 0.008
MOVED_COSINE = 0.98
"""An object that has gone this far or turned this much has moved visibly."""
OPENED_SHARE = 0.04
"""A lid, drawer or cover that has gone this share of its way has moved visibly."""
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

    def __init__(self, rng: np.random.Generator, spec: WorldSpec, sees: Sees | None = None) -> None:
        self._spec = spec
        self.things = sample_objects(rng, int(rng.integers(spec.num_objects[0], spec.num_objects[1] + 1)))
        betas = rng.normal(0, HAND_SHAPE_SPREAD, 10)
        shapes = [_sample_hand(side, betas) for side in _sample_sides(rng, spec)]
        tone, sleeve = skin_tone(rng), random_colour(rng, (0.0, 0.7), (0.1, 0.9)) if rng.uniform() < 0.5 else None
        self.model = build_scene(sample_look(rng), self.things, [(shape, tone, sleeve) for shape in shapes], spec.shadow_map_px)
        self.model.opt.timestep = 1.0 / (spec.rate_hz * spec.substeps)
        self.data = _settled(self.model, self.things)
        self.actors: list[HandActor] = []
        anyone_acts = rng.uniform() >= spec.idle_episodes
        for shape in shapes:
            acts = anyone_acts and (not self.actors or rng.uniform() < SECOND_HAND_ACTS)
            self.actors.append(HandActor(rng, shape, spec, self._table(shape.side, len(shapes)), acts, sees))
        if anyone_acts and len(self.actors) == 2:
            self.actors[0].partner, self.actors[1].partner = self.actors[1], self.actors[0]
        self._drivers = [HandDriver(self.model, shape) for shape in shapes]
        self._placements = self._wanted_placements()
        for driver, placement in zip(self._drivers, self._placements, strict=True):
            driver.place(self.data, placement)
        mujoco.mj_forward(self.model, self.data)
        self.untouched = mujoco.MjData(self.model)
        self.untouched.qpos[:] = self.data.qpos
        mujoco.mj_forward(self.model, self.untouched)
        self._moved: set[str] = set()
        self._moved_bodies: set[str] = set()

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

    @property
    def moved_bodies(self) -> list[str]:
        """Names of the bodies that have moved: whole objects with what opens on them, or only a lid, drawer or cover."""
        return sorted(self._moved_bodies)

    @property
    def T_world_object(self) -> Float[ndarray, "n 4 4"]:
        """Where the objects are now, in the order of `things`."""
        return np.stack([self._pose(thing.name) for thing in self.things])

    @property
    def T_world_link(self) -> Float[ndarray, "n 4 4"]:
        """Where the parts that open are now, in the order of `things`; of things that do not open, where they are themselves."""
        links = [
            np.eye(4) if thing.articulation is None else thing.articulation.T_object_link(self._opening(self.data, thing)) for thing in self.things
        ]
        return self.T_world_object @ np.stack(links)

    @property
    def openings(self) -> Float[ndarray, "n"]:
        """How far lids, covers [rad] and drawers [m] are open now, in the order of `things`; nan for things that do not open."""
        return np.array([np.nan if thing.articulation is None else self._opening(self.data, thing) for thing in self.things])

    @property
    def contacts(self) -> Bool[ndarray, "2 n"]:
        """Which hand (left, right) touches or holds which object now, in the order of `things`."""
        touching = touching_bodies(self.model, self.data, [actor.shape.side for actor in self.actors])
        contacts = np.zeros((len(SIDES), len(self.things)), dtype=bool)
        for actor in self.actors:
            side = SIDES.index(actor.shape.side)
            for column, thing in enumerate(self.things):
                is_held = actor.held is not None and actor.held.object_name == thing.name
                contacts[side, column] = is_held or (actor.shape.side, self.model.body(thing.name).id) in touching
        return contacts

    def table(self, actor: HandActor) -> Table:
        """What this hand knows when it plans now."""
        return self._table(actor.shape.side, len(self.actors))

    def advance(self) -> None:
        """One frame of hands and physics; UnstableSimulationError when an object shoots off."""
        for actor in self.actors:
            actor.advance(1.0 / self._spec.rate_hz, self.table(actor))
        self._let_pass()
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
        openings = {thing.name: self._opening(self.data, thing) for thing in self.things if thing.articulation is not None}
        others = [actor for actor in self.actors if actor.shape.side != side]
        taken = {actor.object_name for actor in others}
        usable = [name for name, T in poses.items() if name not in taken and _is_reachable(T, side, num_hands)]
        partner = others[0].as_partner() if others and others[0].partner is not None else None
        return Table({thing.name: thing for thing in self.things}, poses, openings, usable, partner)

    def _pose(self, name: str) -> Transform:
        body = self.data.body(name)
        return transform(body.xmat.reshape(3, 3), body.xpos)

    def _opening(self, data: mujoco.MjData, thing: TableObject) -> float:
        return float(data.joint(link_name(thing.name)).qpos[0]) if thing.articulation is not None else 0.0

    def _wanted_placements(self) -> list[Placement]:
        return [driver.placement(pose) for driver, pose in zip(self._drivers, self.hands, strict=True)]

    def _let_pass(self) -> None:
        """Objects that a hand is laying its fingers on, or holds by a part, are not pushed by that hand."""
        for thing in self.things:
            passing = sum(HAND_COLLISION_BITS[actor.shape.side] for actor in self.actors if actor.passes == thing.name)
            for body in self._bodies(thing):
                geoms = self._geoms(body)
                solid = self.model.geom_contype[geoms] > 0
                self.model.geom_conaffinity[geoms[solid]] = OBJECT_COLLISION_BIT | sum(HAND_COLLISION_BITS.values()) & ~passing

    def _bodies(self, thing: TableObject) -> list[str]:
        return [thing.name] if thing.articulation is None else [thing.name, link_name(thing.name)]

    def _geoms(self, body: str) -> ndarray:
        row = self.model.body(body)
        return np.arange(row.geomadr[0], row.geomadr[0] + row.geomnum[0])

    def _hold(self) -> None:
        """What is held follows its hand's wrist, whatever physics wanted."""
        for actor, driver in zip(self.actors, self._drivers, strict=True):
            if actor.held is not None and actor.held.grip_wrist_m is not None:
                self._open_by(actor.held, apply(driver.T_world_wrist(self.data), actor.held.grip_wrist_m))
            elif actor.held is not None:
                _set_free_body(self.model, self.data, actor.held.object_name, driver.T_world_wrist(self.data) @ actor.held.T_wrist_object)

    def _open_by(self, held: Held, grip_world_m: Float[ndarray, "3"]) -> None:
        """Opens the object just so far that its grip is in the hand; the object itself stands still."""
        _set_free_body(self.model, self.data, held.object_name, held.T_world_object)
        articulation = next(thing.articulation for thing in self.things if thing.name == held.object_name)
        if articulation is not None:
            joint = self.data.joint(link_name(held.object_name))
            joint.qpos[0] = articulation.opening_of(apply(invert(held.T_world_object), grip_world_m))
            joint.qvel[0] = 0.0

    def _check_speed(self) -> None:
        free = self.model.jnt_dofadr[self.model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
        fastest = float(np.abs(self.data.qvel[free[:, None] + np.arange(3)]).max(initial=0.0))
        if not fastest < ESCAPED_SPEED_M_S:
            raise UnstableSimulationError(f"an object moves at {fastest:.3g} m/s, more than {ESCAPED_SPEED_M_S}; use another seed")

    def _note_moved(self) -> None:
        for thing in self.things:
            if self._has_gone(thing):
                self._moved.add(thing.name)
                self._moved_bodies.update(self._bodies(thing))
            elif self._has_opened(thing):
                self._moved.add(thing.name)
                self._moved_bodies.add(link_name(thing.name))

    def _has_gone(self, thing: TableObject) -> bool:
        now, then = self.data.body(thing.name), self.untouched.body(thing.name)
        turned = (now.xmat.reshape(3, 3) * then.xmat.reshape(3, 3)).sum(axis=0)  # cosine of each axis with what it was
        relevant = turned[2] if thing.is_round else turned.min()
        return bool(np.linalg.norm(now.xpos - then.xpos) > MOVED_M or (relevant < MOVED_COSINE and thing.shape != "sphere"))

    def _has_opened(self, thing: TableObject) -> bool:
        if thing.articulation is None:
            return False
        gone = abs(self._opening(self.data, thing) - self._opening(self.untouched, thing))
        return gone > OPENED_SHARE * thing.articulation.max_opening


def _sample_sides(rng: np.random.Generator, spec: WorldSpec) -> Sequence[Side]:
    """The acting hand first; two in three are right hands."""
    first: Side = "right" if rng.uniform() < 0.65 else "left"
    if rng.uniform() >= spec.two_hands:
        return (first,)
    return ("right", "left") if first == "right" else ("left", "right")


def _sample_hand(side: Side, betas: Float[ndarray, "10"]) -> HandShape:
    return hand_shape(side, load_hand_model(side), betas)


def _settled(model: mujoco.MjModel, things: Sequence[TableObject]) -> mujoco.MjData:
    """The objects at rest on the table, open as they begin, hands out of the way."""
    data = mujoco.MjData(model)
    for thing in things:
        if thing.articulation is not None:
            data.joint(link_name(thing.name)).qpos[0] = thing.start_opening
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

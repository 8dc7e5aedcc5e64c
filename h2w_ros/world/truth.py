"""Everything that is known of an episode beyond its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8
from numpy import ndarray

from h2w_ros.condition import SIDES, Camera
from h2w_ros.geometry import Transform
from h2w_ros.world.hand_bodies import HAND_PARTS
from h2w_ros.world.physics import World
from h2w_ros.world.render import HandVertices, SceneRenderer
from h2w_ros.world.spec import FIRST_OBJECT

BACKGROUND = "background"
HANDS = tuple(f"{side}_hand" for side in SIDES)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One entry a condition. Objects are in the order of `names[3:]`; hands are left, then right."""

    names: tuple[str, ...]
    """What the ids stand for: background, left_hand, right_hand, then the objects."""
    ids: UInt8[ndarray, "T H W"]
    """What each pixel shows; forearms count as their hand, lids, drawers and covers as their object."""
    links: Bool[ndarray, "T H W"]
    """Pixels that show the part of an object that opens: its lid, cover or drawer."""
    depth_m: Float32[ndarray, "T H W"]
    """How far along the optical axis what each pixel shows is; inf where there is nothing."""
    complete_hand_masks: Bool[ndarray, "T H W"]
    """Pixels where a hand or forearm is, seen or hidden behind things; `WorldEpisode.hand_masks` holds those seen."""
    T_world_object: Float[ndarray, "T n 4 4"]
    T_world_link: Float[ndarray, "T n 4 4"]
    """Of the part that opens, in the frame that is its object's when closed; the object's own for things that do not open."""
    openings: Float[ndarray, "T n"]
    """How far lids, covers [rad] and drawers [m] are open; nan for things that do not open."""
    contacts: Bool[ndarray, "T 2 n"]
    """Whether the left, the right hand touches or holds the object."""

    def mask(self, name: str) -> Bool[ndarray, "T H W"]:
        """The visible pixels of what has this name; ValueError for an unknown name."""
        if name not in self.names:
            raise ValueError(f"name must be one of {self.names}, got {name!r}")
        return self.ids == self.names.index(name)


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """The truth of one frame, ids still those of MuJoCo's bodies."""

    bodies: Int32[ndarray, "H W"]
    depth_m: Float32[ndarray, "H W"]
    complete_hands: Bool[ndarray, "H W"]
    T_world_object: Float[ndarray, "n 4 4"]
    T_world_link: Float[ndarray, "n 4 4"]
    openings: Float[ndarray, "n"]
    contacts: Bool[ndarray, "2 n"]


def frame_truth(world: World, renderer: SceneRenderer, camera: Camera, T_world_camera: Transform, skins: HandVertices) -> FrameTruth:
    """All of this moment."""
    bodies, depth_m = renderer.bodies_and_depth(world.data, camera, T_world_camera, skins)
    complete = renderer.complete_hands(world.data, camera, T_world_camera, skins)
    return FrameTruth(bodies, depth_m, complete, world.T_world_object, world.T_world_link, world.openings, world.contacts)


def ground_truth(world: World, frames: Sequence[FrameTruth]) -> GroundTruth:
    """The frames of an episode as arrays."""
    names = (BACKGROUND, *HANDS, *(thing.name for thing in world.things))
    id_of_body = _ids_of_bodies(world.model, names)
    bodies = np.stack([frame.bodies for frame in frames])
    ids = id_of_body[bodies]
    is_link = np.append(world.model.body_rootid != np.arange(world.model.nbody), False)  # last is what the background's -1 finds
    return GroundTruth(
        names,
        ids,
        is_link[bodies] & (ids >= FIRST_OBJECT),
        np.stack([frame.depth_m for frame in frames]),
        np.stack([frame.complete_hands for frame in frames]),
        np.stack([frame.T_world_object for frame in frames]),
        np.stack([frame.T_world_link for frame in frames]),
        np.stack([frame.openings for frame in frames]),
        np.stack([frame.contacts for frame in frames]),
    )


def _ids_of_bodies(model: mujoco.MjModel, names: tuple[str, ...]) -> UInt8[ndarray, "b"]:
    """Our id of every body, and last, where the index -1 finds it, the background."""
    ids = np.zeros(model.nbody + 1, dtype=np.uint8)
    hands = {f"{side}_{part}": name for side, name in zip(SIDES, HANDS, strict=True) for part in HAND_PARTS}
    for body in range(model.nbody):
        root = model.body(model.body_rootid[body]).name
        name = hands.get(root, root)
        ids[body] = names.index(name) if name in names else 0
    return ids

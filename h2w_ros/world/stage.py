"""A scene to try things in: one hand does what it is told, a camera that stands still looks on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Condition, Image
from h2w_ros.geometry import Transform
from h2w_ros.world.actor import HandActor
from h2w_ros.world.motion import Waypoint
from h2w_ros.world.physics import World
from h2w_ros.world.render import SceneRenderer
from h2w_ros.world.spec import WORLD_VERSION, WorldSpec
from h2w_ros.world.view import View, sample_view


def stage_spec(width_px: int, height_px: int, rate_hz: float) -> WorldSpec:
    """One hand, which waits to be told, in the picture from the start."""
    return WorldSpec(
        width_px=width_px,
        height_px=height_px,
        rate_hz=rate_hz,
        num_objects=(2, 4),
        two_hands=0.0,
        idle_episodes=1.0,
        fixed_camera=1.0,
        hands_in_first_frame=1.0,
    )


@dataclass(eq=False)
class Stage:
    """A scene as it is now. `frame` counts from its beginning."""

    spec: WorldSpec
    world: World
    view: View
    frame: int = 0

    @classmethod
    def of_seed(cls, seed: int, spec: WorldSpec) -> Stage:
        """The scene of this seed, as it begins."""
        scene_rng, view_rng = (np.random.default_rng((WORLD_VERSION, seed, stream)) for stream in range(2))
        view = sample_view(view_rng, spec)
        return cls(spec, World(scene_rng, spec, view.sees), view)

    def fork(self) -> Stage:
        """The same scene, to try something in: nothing that happens there happens here."""
        return replace(self, world=copy.deepcopy(self.world))

    @property
    def actor(self) -> HandActor:
        """The hand."""
        return self.world.actors[0]

    @property
    def T_world_camera(self) -> Transform:
        """Where the camera stands."""
        return self.view.head.T_world_camera(0.0)

    @property
    def now(self) -> Condition:
        """This moment, without a picture."""
        stamp_ns = round(self.frame * 1e9 / self.spec.rate_hz)
        return Condition(stamp_ns, self.view.camera, self.T_world_camera, self.world.hands)

    def play(self, steps: Sequence[Waypoint], num_frames: int) -> Iterator[Condition]:
        """The hand does these steps; every frame after this one, as it comes."""
        self.actor.follow(steps)
        for _ in range(num_frames):
            self.world.advance()
            self.frame += 1
            yield self.now

    def picture(self, renderer: SceneRenderer) -> Image:
        """What the camera sees now; the renderer may be that of the stage this one was forked from."""
        return renderer.image(self.world.data, self.view.camera, self.T_world_camera, self.world.hand_vertices)

    def position(self, name: str) -> Float[ndarray, "3"]:
        """Where the thing of this name is now, in the world [m]."""
        return self.world.table(self.actor).position(name).copy()

    def shows(self, name: str, renderer: SceneRenderer) -> float:
        """The share of the picture that shows the thing of this name now."""
        bodies = renderer.bodies(self.world.data, self.view.camera, self.T_world_camera, self.world.hand_vertices)
        return float((bodies == self.world.model.body(name).id).mean())

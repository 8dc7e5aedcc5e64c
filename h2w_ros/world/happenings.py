"""What happens in an episode without its pictures: where hands and objects go, and what the first picture shows. Ten times as soon made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import Camera, HandPose
from h2w_ros.geometry import Transform
from h2w_ros.world.physics import World
from h2w_ros.world.render import SceneRenderer
from h2w_ros.world.spec import WORLD_VERSION, WorldSpec
from h2w_ros.world.truth import GroundTruth, frame_truth, ground_truth
from h2w_ros.world.view import View, sample_view


@dataclass(frozen=True, eq=False)
class Happenings:
    """T frames of an episode, of which only the first was looked at."""

    first: GroundTruth
    """Of that frame alone."""
    camera: Camera
    T_world_camera: Transform
    """In the first frame."""
    hands: tuple[tuple[HandPose, ...], ...]
    """Of every frame."""
    T_world_object: Float[ndarray, "T n 4 4"]
    T_world_link: Float[ndarray, "T n 4 4"]


def world_of(seed: int, spec: WorldSpec) -> tuple[World, View]:
    """The table of this seed before anything happens, and who looks on."""
    scene_rng, view_rng = (np.random.default_rng((WORLD_VERSION, seed, stream)) for stream in range(2))
    view = sample_view(view_rng, spec)
    return World(scene_rng, spec, view.sees), view


def happenings(seed: int, spec: WorldSpec) -> Happenings:
    """Those of the episode that `simulate` makes of this seed and spec; it raises what that raises."""
    world, view = world_of(seed, spec)
    T_world_camera = view.head.T_world_camera(0.0)
    with SceneRenderer(world.model, spec.width_px, spec.height_px, spec.supersampling) as renderer:
        first = ground_truth(world, [frame_truth(world, renderer, view.camera, T_world_camera, world.hand_vertices)])
    hands, objects, links = [world.hands], [world.T_world_object], [world.T_world_link]
    for _ in range(1, spec.num_frames):
        world.advance()
        hands.append(world.hands)
        objects.append(world.T_world_object)
        links.append(world.T_world_link)
    return Happenings(first, view.camera, T_world_camera, tuple(hands), np.stack(objects), np.stack(links))

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from h2w_ros.geometry import apply
from h2w_ros.world import placement
from h2w_ros.world.object_bodies import link_name
from h2w_ros.world.physics import World
from h2w_ros.world.spec import TASK_NAMES, WorldSpec
from h2w_ros.world.tasks.catalogue import TASKS


def busy(task: str, two_hands: float = 0.0) -> WorldSpec:
    """A world in which hands do only this."""
    return WorldSpec(two_hands=two_hands, idle_episodes=0.0, **(dict.fromkeys(TASK_NAMES, 0.0) | {task: 1.0}))


def world_of(monkeypatch, shapes: list[str], spec: WorldSpec, seed: int, start_open: float | None = None) -> World:
    """A world whose objects have these shapes."""
    monkeypatch.setattr(placement, "_sample_shapes", lambda rng, num_objects: (shapes * num_objects)[:num_objects])
    if start_open is not None:
        original = placement._sample_object
        monkeypatch.setattr(placement, "_sample_object", lambda rng, name, shape: replace(original(rng, name, shape), start_open=start_open))
    return World(np.random.default_rng(seed), replace(spec, num_objects=(len(shapes), len(shapes))))


def run(world: World, num_frames: int = 48) -> World:
    for _ in range(num_frames):
        world.advance()
    return world


def test_every_task_has_a_share():
    assert set(TASKS) == set(TASK_NAMES)


@pytest.mark.parametrize("shape", ["lid_box", "drawer", "book"])
@pytest.mark.parametrize("start_open", [0.0, 1.0])
def test_hands_open_what_is_closed_and_close_what_is_open(monkeypatch, shape, start_open):
    done = 0
    for seed in range(4):
        world = world_of(monkeypatch, [shape], busy("operate"), seed, start_open)
        monkeypatch.undo()
        most = start = world.data.joint(link_name("object0")).qpos[0]
        for _ in range(40):
            world.advance()
            opening = world.data.joint(link_name("object0")).qpos[0]
            most = max(most, opening, key=lambda o: abs(o - start))
        done += abs(most - start) > 0.5 * world.things[0].articulation.max_opening
        assert world.moved in ([], ["object0"])
    assert done >= 1 if shape == "book" else done >= 2  # a book waits for the hand on its open side


def test_the_grip_stays_between_the_fingers_while_a_lid_is_opened(monkeypatch):
    world = world_of(monkeypatch, ["lid_box"], busy("operate"), 3, 0.0)
    gaps = []
    for _ in range(40):
        world.advance()
        held = world.actors[0].held
        if held is not None:
            articulation, name = world.things[0].articulation, "object0"
            grip = apply(world._pose(name), articulation.grip_at(world.data.joint(link_name(name)).qpos[0]))
            gaps.append(np.linalg.norm(grip - apply(world.actors[0].pose.T_world_wrist, held.grip_wrist_m)))
    assert len(gaps) > 5
    assert max(gaps) < 0.004


def test_only_the_lid_counts_as_moved_when_only_the_lid_moves(monkeypatch):
    world = run(world_of(monkeypatch, ["lid_box"], busy("operate"), 3, 0.0))
    assert world.moved_bodies == ["object0_link"]


def test_tall_things_are_toppled(monkeypatch):
    fallen = 0
    for seed in range(5):
        world = run(world_of(monkeypatch, ["bottle"], busy("topple"), seed), 40)
        fallen += world.data.body("object0").xmat[8] < 0.3
    assert fallen >= 3


def test_a_thing_changes_hands_once(monkeypatch):
    for seed in (5, 7):  # a thing stands on the side of a hand that acts
        world = world_of(monkeypatch, ["cylinder"], busy("hand_over", two_hands=1.0), seed)
        holders = []
        for _ in range(60):
            world.advance()
            holders.append(tuple(sorted(actor.shape.side for actor in world.actors if actor.held)))
        order = [h for i, h in enumerate(holders) if h and (i == 0 or h != holders[i - 1])]
        assert order[:3] in ([("left",), ("left", "right"), ("right",)], [("right",), ("left", "right"), ("left",)])

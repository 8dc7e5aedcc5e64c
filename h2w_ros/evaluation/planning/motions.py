"""What a hand may do to a thing: pushes and carries, drawn at random, all of one length and all back where they began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from h2w_ros.world.motion import Waypoint
from h2w_ros.world.objects import TableObject
from h2w_ros.world.stage import Stage
from h2w_ros.world.tasks.catalogue import TASKS

KINDS = ("push", "carry")
RETURN_S, REST_S = 0.45, 0.2
"""To go back to where it began, and to stay there: what is left in the picture to tell futures apart are the things."""

Motion = Sequence[Waypoint]


def sample_motion(rng: np.random.Generator, stage: Stage, thing: TableObject, duration_s: float) -> Motion | None:
    """One motion of the hand from where it is, or None where neither a push nor a carry is possible now."""
    table = replace(stage.world.table(stage.actor), usable=[thing.name])
    for kind in rng.permutation(KINDS):
        steps = TASKS[str(kind)](rng, stage.actor.shape, table).steps
        if steps:
            return fitted([*steps, _home(stage, steps[-1])], duration_s)
    return None


def sample_motions(rng: np.random.Generator, stage: Stage, thing: TableObject, duration_s: float, count: int) -> list[Motion]:
    """That many motions; none where none is possible."""
    motions = [sample_motion(rng, stage, thing, duration_s) for _ in range(count)]
    return [motion for motion in motions if motion is not None]


def stay(stage: Stage, duration_s: float) -> Motion:
    """The hand does nothing."""
    pose = stage.actor.pose
    return [Waypoint(2 * duration_s, pose.T_world_wrist, pose.joint_angles_rad)]


def fitted(steps: Motion, duration_s: float) -> Motion:
    """The steps, faster where they would take too long, and a rest to the end of the time and beyond."""
    needed_s = sum(step.duration_s for step in steps)
    pace = min(1.0, (duration_s - REST_S) / needed_s)
    faster = [replace(step, duration_s=step.duration_s * pace) for step in steps]
    return [*faster, replace(faster[-1], duration_s=duration_s, arc_m=0.0)]


def _home(stage: Stage, last: Waypoint) -> Waypoint:
    """Back to where the hand is now, over what stands in between."""
    pose = stage.actor.pose
    way_m = float(np.linalg.norm(pose.T_world_wrist[:3, 3] - last.T_world_wrist[:3, 3]))
    return Waypoint(RETURN_S, pose.T_world_wrist, pose.joint_angles_rad, arc_m=min(0.06, 0.3 * way_m))

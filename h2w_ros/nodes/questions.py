"""What a goal of the action `predict` asks, in the core's nouns."""

from __future__ import annotations

from dataclasses import dataclass

from h2w_msgs.action import Predict
from h2w_msgs.msg import HandTrajectory
from h2w_ros.condition import Image
from h2w_ros.nodes.messages import pinhole_from_msg
from h2w_ros.planning.question import Question
from h2w_ros.planning.trajectory import Trajectory, TrajectoryPoint, num_frames
from h2w_ros.ros_messages import NS_PER_S, hand_from_msg, image_from_msg, pose_from_msg, stamp_to_ns


@dataclass(frozen=True, eq=False)
class Asked:
    """A question, what it starts from, and how much time there is. `image` None: the camera's latest, or the live session."""

    question: Question
    image: Image | None
    continues_session: bool
    deadline_s: float | None
    scorers: tuple[str, ...]
    world_frame: str
    """What the candidates' poses are told in; empty: not said."""


@dataclass(frozen=True)
class Limits:
    """What the generator can be asked."""

    rate_hz: float
    frames_per_block: int
    max_futures: int
    max_horizon_s: float


def read_goal(goal: Predict.Goal, limits: Limits) -> Asked:
    """The question; ValueError with the rule and the remedy for one that can't be answered."""
    num_seeds = max(1, goal.num_seeds)
    if len(goal.candidates) * num_seeds > limits.max_futures:
        asked = f"{len(goal.candidates)} candidates with {num_seeds} seeds each"
        raise ValueError(f"at most {limits.max_futures} futures are predicted at once (parameter max_futures), got {asked}")
    if goal.continue_session and goal.image.data:
        raise ValueError("continue_session is set and a picture came too: leave one out")
    deadline_ns = stamp_to_ns(goal.deadline)
    if deadline_ns < 0:
        raise ValueError(f"deadline must be zero (none) or positive, got {deadline_ns / NS_PER_S:g} s")
    return Asked(
        _question(goal, limits, range(goal.seed, goal.seed + num_seeds)),
        image_from_msg(goal.image) if goal.image.data else None,
        goal.continue_session,
        deadline_ns / NS_PER_S if deadline_ns else None,
        tuple(goal.scorers),
        goal.candidates[0].header.frame_id,
    )


def _question(goal: Predict.Goal, limits: Limits, seeds: range) -> Question:
    if not goal.candidates:
        raise ValueError("a goal needs at least one candidate, got none")
    frames = {trajectory.header.frame_id for trajectory in goal.candidates}
    if len(frames) > 1:
        raise ValueError(f"all candidates are in one frame, got {sorted(frames)}")
    trajectories = [_trajectory(number, msg) for number, msg in enumerate(goal.candidates)]
    count = num_frames(trajectories, goal.horizon_s, limits.rate_hz, limits.frames_per_block)
    if count > limits.max_horizon_s * limits.rate_hz:
        asked_s = count / limits.rate_hz
        raise ValueError(
            f"at most {limits.max_horizon_s:g} s are predicted at once (parameter max_horizon_s), got {asked_s:g} s: ask for less by horizon_s"
        )
    wanted = image_from_msg(goal.goal_image) if goal.goal_image.data else None
    return Question([trajectory.conditions(limits.rate_hz, count) for trajectory in trajectories], tuple(seeds), wanted)


def _trajectory(number: int, msg: HandTrajectory) -> Trajectory:
    """One candidate; what is wrong with it is told with its number and the point's."""
    points: list[TrajectoryPoint] = []
    try:
        for point in msg.points:
            hands = tuple(hand_from_msg(hand) for hand in point.hands)
            points.append(TrajectoryPoint(stamp_to_ns(point.time_from_start) / NS_PER_S, pose_from_msg(point.camera), hands))
    except ValueError as error:
        raise ValueError(f"candidate {number}, point {len(points)}: {error}") from error
    try:
        return Trajectory(pinhole_from_msg(msg.camera), points, stamp_to_ns(msg.header.stamp))
    except ValueError as error:
        raise ValueError(f"candidate {number}: {error}") from error

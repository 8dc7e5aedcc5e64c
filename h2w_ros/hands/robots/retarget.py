"""Robot hands as human ones, and back: fingertips stand in the same place and pinch the same width.

Human from robot: a relaxed pinch is placed on the robot by its thumb, its other tips and the way it points; then the fit
that trackers use moves it, fingertips first. Robot from human: the motors and the base move until the fingertips meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.condition import HandPose
from h2w_ros.geometry import Transform, apply, cross_matrix, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.anatomy import NUM_FINGER_JOINTS
from h2w_ros.hands.fit_problem import FitProblem, FitState, Weights, solve
from h2w_ros.hands.fit_start import rigid_fit
from h2w_ros.hands.kinematics import ShapedHand, joint_angles, pose, rotation_vectors, shaped_hand
from h2w_ros.hands.model import HandModel, load_hand_model
from h2w_ros.hands.robots.robot_hand import RobotHand
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world

# A point that is no fingertip counts this share of one; points that the robot does not have a hundredth of that.
OTHER_SHARE, TEMPLATE_SHARE = 1e-2, 1e-4
# What leaving the limits and the relaxed pinch costs [m per rad].
LIMIT_M_PER_RAD, REST_M_PER_RAD = 0.02, 5e-4
MAX_STEPS = 60
# Of the robot's own search: damping, first and least [m per rad or m], and the weight of the pointing direction [m].
DAMPING, LEAST_DAMPING, POINTING_M = 1e-3, 1e-5, 2e-3
# Both searches end when nothing moves further than this [m, and rad of motors].
STILL_M = 3e-5
THUMB_TIP = 16
# The relaxed pinch: bend of the knuckle, middle and last joint [rad] of fingers and thumb.
PINCH_RAD = ((0.7, 0.7, 0.4), (0.2, 0.3, 0.4))


class RobotPose(NamedTuple):
    """A robot hand in the world: its base link, and its motors' positions."""

    T_world_base: Transform
    positions: Float[ndarray, "m"]


class Retargeted(NamedTuple):
    """A human hand that stands for a robot's, and how far its fingertips are from the robot's [m]."""

    hand: HandPose
    tip_errors_m: Float[ndarray, "t"]


def hand_of_robot(robot: RobotHand, robot_pose: RobotPose, model: HandModel | None = None, start: HandPose | None = None) -> Retargeted:
    """The human hand of mean shape whose fingertips stand where the robot's do; found sooner from a `start` nearby."""
    human = shaped_hand(model or load_hand_model(robot.side), np.zeros(10))
    targets = apply(robot_pose.T_world_base, robot.points_base(robot_pose.positions)[0])
    relaxed = pinch_angles()
    template = pose(human, relaxed).points
    T_world_wrist = robot_pose.T_world_base @ _between(robot, robot.points_base(robot_pose.positions)[0], template)
    points, weights = apply(T_world_wrist, template), np.full(len(template), TEMPLATE_SHARE)
    points[robot.points], weights[robot.points] = targets, np.where(robot.is_tip, 1.0, OTHER_SHARE)
    problem = FitProblem(human, HandSkeleton(robot.side, points, weights), _weights(relaxed))
    begin = FitState(T_world_wrist, relaxed) if start is None else _state_of(human, start)
    state = solve(problem, begin, MAX_STEPS, STILL_M).state
    hand = HandPose(robot.side, state.T_world_wrist, rotation_vectors(human, state.angles_rad).ravel(), human.betas)
    reached = apply(state.T_world_wrist, pose(human, state.angles_rad).points)[robot.points]
    return Retargeted(hand, np.linalg.norm(reached - targets, axis=1)[robot.is_tip])


def hands_of_trajectory(robot: RobotHand, trajectory: Iterable[RobotPose], model: HandModel | None = None) -> Iterator[Retargeted]:
    """The human hand at every point of a robot hand's way."""
    start = None
    for robot_pose in trajectory:
        shown = hand_of_robot(robot, robot_pose, model, start)
        start = shown.hand
        yield shown


def robot_of_hand(robot: RobotHand, hand: HandPose, model: HandModel | None = None) -> RobotPose:
    """The robot whose fingertips come as near to the hand's as its motors' limits allow; ValueError for a hand of the other side."""
    if hand.side != robot.side:
        raise ValueError(f"{robot.name} is a {robot.side} hand and cannot show a {hand.side} one")
    points = hand_joints_and_tips_world(model or load_hand_model(robot.side), hand)
    middle = _middle_positions(robot)
    here = RobotPose(invert(_between(robot, robot.points_base(middle)[0], points)), middle)
    residuals, slopes = _robot_residuals(robot, here, points)
    damping = DAMPING
    for _ in range(MAX_STEPS):
        step = _robot_step(robot, here.positions, residuals, slopes, damping)
        after = _robot_moved(robot, here, step)
        new_residuals, new_slopes = _robot_residuals(robot, after, points)
        if new_residuals @ new_residuals >= residuals @ residuals:
            damping *= 4.0
            continue
        here, residuals, slopes, damping = after, new_residuals, new_slopes, max(damping / 3.0, LEAST_DAMPING)
        if np.abs(step).max() < STILL_M:
            break
    return here


def pinch_angles() -> Float[ndarray, "15 3"]:
    """Angles about the joints' own axes of a relaxed pinch."""
    angles = np.zeros((NUM_FINGER_JOINTS, 3))
    angles[:, 2] = np.concatenate([np.tile(PINCH_RAD[0], 4), PINCH_RAD[1]])
    return angles


def _state_of(human: ShapedHand, hand: HandPose) -> FitState:
    return FitState(hand.T_world_wrist, joint_angles(human, hand.joint_angles_rad.reshape(NUM_FINGER_JOINTS, 3)))


def _weights(expected_rad: Float[ndarray, "15 3"]) -> Weights:
    return Weights(LIMIT_M_PER_RAD, np.full((NUM_FINGER_JOINTS, 3), REST_M_PER_RAD), expected_rad, 0.0)


def _between(robot: RobotHand, robot_points: Float[ndarray, "n 3"], human_points: Float[ndarray, "21 3"]) -> Transform:
    """T_base_human that lays a human hand's points on a robot's: by all of them, or by the pinch of two tips and the way that hands point."""
    if len(robot.points) >= 3:
        return rigid_fit(robot_points, human_points[robot.points], np.ones(len(robot.points)))
    tips = human_points[robot.points]
    R_human = _frame(_opening(robot, tips), _pointing(robot, human_points))
    R_robot = _frame(_opening(robot, robot.points_base(_middle_positions(robot))[0]), robot.approach)
    R = R_robot @ R_human.T
    return transform(R, robot_points.mean(axis=0) - R @ tips.mean(axis=0))


def _middle_positions(robot: RobotHand) -> Float[ndarray, "m"]:
    return (robot.kinematics.lower + robot.kinematics.upper) / 2


def _opening(robot: RobotHand, points: Float[ndarray, "n 3"]) -> Float[ndarray, "3"]:
    """From the thumb's tip to the others'."""
    is_thumb = robot.points == THUMB_TIP
    return points[robot.is_tip & ~is_thumb].mean(axis=0) - points[is_thumb][0]


def _pointing(robot: RobotHand, points: Float[ndarray, "21 3"]) -> Float[ndarray, "3"]:
    """Unit direction from the wrist to between the tips."""
    ahead = points[robot.points[robot.is_tip]].mean(axis=0) - points[0]
    return ahead / np.linalg.norm(ahead)


def _frame(along: Float[ndarray, "3"], towards: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """Axes whose first is `along` and whose second is as near to `towards` as that allows."""
    x = along / np.linalg.norm(along)
    y = towards - (towards @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _robot_residuals(robot: RobotHand, here: RobotPose, human_points: Float[ndarray, "21 3"]) -> tuple[ndarray, ndarray]:
    """Weighted distances of the points and of the pointing directions [m], and their change per turn, shift and motor, in the base's frame."""
    R = here.T_world_base[:3, :3]
    points, motor_slopes = robot.points_base(here.positions)
    targets = (human_points[robot.points] - here.T_world_base[:3, 3]) @ R
    shares = np.sqrt(np.where(robot.is_tip, 1.0, OTHER_SHARE))[:, None]
    ahead = _pointing(robot, human_points) @ R
    slopes = np.zeros((len(points) + 1, 3, 6 + len(here.positions)))
    slopes[:-1, :, :3], slopes[:-1, :, 3:6], slopes[:-1, :, 6:] = -cross_matrix(targets), np.eye(3), motor_slopes
    slopes[-1, :, :3] = -cross_matrix(ahead)
    factors = np.concatenate([shares, [[POINTING_M]]])
    residuals = factors * np.concatenate([points - targets, (robot.approach - ahead)[None]])
    return residuals.ravel(), (factors[:, :, None] * slopes).reshape(residuals.size, -1)


def _robot_step(robot: RobotHand, positions: ndarray, residuals: ndarray, slopes: ndarray, damping: float) -> Float[ndarray, "k"]:
    """A damped Gauss-Newton step; motors that stand at a limit and want beyond it stay."""
    downhill = -slopes.T @ residuals
    at_low, at_high = positions <= robot.kinematics.lower, positions >= robot.kinematics.upper
    is_free = np.concatenate([np.ones(6, dtype=bool), ~((at_low & (downhill[6:] < 0)) | (at_high & (downhill[6:] > 0)))])
    free = slopes[:, is_free]
    step = np.zeros(slopes.shape[1])
    step[is_free] = np.linalg.solve(free.T @ free + damping**2 * np.eye(is_free.sum()), downhill[is_free])
    return step


def _robot_moved(robot: RobotHand, here: RobotPose, step: Float[ndarray, "k"]) -> RobotPose:
    R = here.T_world_base[:3, :3]
    T_world_base = transform(R @ rotation_from_axis_angle(step[:3]), here.T_world_base[:3, 3] + R @ step[3:6])
    return RobotPose(T_world_base, np.clip(here.positions + step[6:], robot.kinematics.lower, robot.kinematics.upper))

"""A robot's joint states as a human hand, for those who plan with grippers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from h2w_ros.condition import HandPose, Side
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.robots.retarget import RobotPose, hand_of_robot
from h2w_ros.hands.robots.robot_hand import load_robot_hand
from h2w_ros.hands.trackers.reading import Fault, Reading, TrackerConfig
from h2w_ros.ros_messages import stamp_to_ns


class RobotReader:
    """sensor_msgs/JointState: motors by name, among any others. `frame_id` is where /tf has the robot hand's base link."""

    def __init__(self, config: TrackerConfig) -> None:
        if not config.robot:
            raise ValueError("a robot hand needs the parameter robot: parallel_gripper, five_finger_hand, or your own table's path")
        if not config.frame_id:
            raise ValueError("a robot hand needs frame_id, the frame of its base link on /tf")
        robot = load_robot_hand(config.robot)
        other: Side = "left" if robot.side == "right" else "right"
        self._robot = replace(robot, side=other) if config.swap_sides else robot
        self._model = load_hand_model(self._robot.side, config.mano_dir or None)
        self._frame_id = config.frame_id
        self._last: HandPose | None = None

    def read(self, tag: str, msg: Any) -> Reading:
        """The hand in the base link's frame."""
        del tag
        stamp_ns = stamp_to_ns(msg.header.stamp)
        try:
            positions = self._robot.positions_of(dict(zip(msg.name, msg.position, strict=False)))
        except ValueError as error:
            return Reading(stamp_ns, self._frame_id, faults=(Fault("joints_missing", str(error)),))
        self._last = hand_of_robot(self._robot, RobotPose(np.eye(4), positions), self._model, self._last).hand
        return Reading(stamp_ns, self._frame_id, hands=(self._last,))

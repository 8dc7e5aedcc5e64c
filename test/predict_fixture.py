"""Goals of the action `predict`, and a client that asks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from ros_fixture import CAMERA, Ros, hand, wait_until

from h2w_msgs.action import Predict
from h2w_msgs.msg import HandTrajectory, HandTrajectoryPoint
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import header
from h2w_ros.nodes.messages import hand_to_msg, pinhole_to_msg, pose_to_msg
from h2w_ros.ros_messages import NS_PER_S

SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED
PATIENCE_S = 90.0


def duration(seconds: float) -> Duration:
    return Duration(sec=int(seconds), nanosec=round((seconds - int(seconds)) * NS_PER_S))


def trajectory(speed: int, seconds: float = 0.5) -> HandTrajectory:
    """A right hand that goes its way in two points."""
    points = [
        HandTrajectoryPoint(time_from_start=duration(time_s), camera=pose_to_msg(np.eye(4)), hands=[hand_to_msg(hand(number))])
        for time_s, number in ((0.0, 0), (seconds, speed))
    ]
    return HandTrajectory(header=header(0, "odom"), camera=pinhole_to_msg(CAMERA), points=points)


@dataclass
class Asking:
    """A goal under way."""

    handle: Any
    result: Any
    feedback: list[Predict.Feedback] = field(default_factory=list)

    def outcome(self) -> tuple[int, Predict.Result]:
        """Status and result, once they are there."""
        assert wait_until(self.result.done, PATIENCE_S)
        return self.result.result().status, self.result.result().result


class Planner:
    """A client of the action."""

    def __init__(self, ros: Ros) -> None:
        self._ros = ros
        self._client = ActionClient(ros.node, Predict, topics.PREDICT)
        assert self._client.wait_for_server(10.0)

    def ask(self, *candidates: HandTrajectory, **goal: Any) -> Asking:
        feedback: list[Predict.Feedback] = []
        asked = Predict.Goal(candidates=list(candidates), **goal)
        sent = self._spun(lambda: self._client.send_goal_async(asked, feedback_callback=lambda msg: feedback.append(msg.feedback)))
        assert wait_until(sent.done, PATIENCE_S)
        handle = sent.result()
        assert handle.accepted
        return Asking(handle, self._spun(handle.get_result_async), feedback)

    def cancel(self, asking: Asking) -> None:
        assert wait_until(self._spun(asking.handle.cancel_goal_async).done)

    def close(self) -> None:
        self._spun(self._client.destroy)

    def _spun(self, call: Callable[[], Any]) -> Any:
        """A call's result, made in the thread that spins: elsewhere an answer may come before the client knows that it asked."""
        task = self._ros.run(call)
        assert wait_until(task.done)
        return task.result()

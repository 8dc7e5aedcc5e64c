"""What a live session loses while a prediction of several futures runs on the same node: `h2w bench --live N`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from rclpy.action.client import ActionClient
from rclpy.node import Node

from h2w_msgs.action import Predict
from h2w_msgs.msg import HandTrajectory, HandTrajectoryPoint, Prediction
from h2w_ros.condition import Condition
from h2w_ros.evaluation.branch_speed import aside
from h2w_ros.nodes import topics
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.graph import context_in, private_domain, spinning
from h2w_ros.nodes.images import header
from h2w_ros.nodes.messages import Moment, hand_to_msg, pinhole_to_msg, pose_to_msg
from h2w_ros.nodes.middleware import make_room_for_pictures
from h2w_ros.nodes.params import overrides
from h2w_ros.ros_messages import NS_PER_S

READY_S = 20.0
LAST_ANSWERS_S = 0.5


@dataclass(frozen=True)
class LivePlan:
    """How many futures are predicted, how far, and how long the session is watched without them, before and after."""

    num_candidates: int = 8
    horizon_s: float = 3.0
    warm_up_s: float = 4.0
    alone_s: float = 8.0

    def __post_init__(self) -> None:
        if self.num_candidates < 1 or min(self.horizon_s, self.warm_up_s, self.alone_s) <= 0.0:
            raise ValueError(f"futures and times must be positive, got {self}")


@dataclass(frozen=True)
class Stretch:
    """What came of the conditions of some time: how many there were, and the latencies of those that were answered [ms]."""

    num_sent: int
    latencies_ms: list[float]

    def table(self, name: str) -> dict[str, float]:
        """Share answered and percentiles."""
        p50, p95 = np.percentile(self.latencies_ms, (50.0, 95.0)) if self.latencies_ms else (np.nan, np.nan)
        return {
            f"answered_{name}": round(len(self.latencies_ms) / self.num_sent, 3),
            f"latency_ms_p50_{name}": round(float(p50), 1),
            f"latency_ms_p95_{name}": round(float(p95), 1),
        }


class _Watcher(Node):
    """Takes the live answers, and asks for predictions."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("live_speed", **kwargs)
        self.latencies_ms: list[float] = []
        self.create_subscription(Prediction, topics.PREDICTION, self._take, topics.RESULT_OUT)
        self.client = ActionClient(self, Predict, topics.PREDICT)

    def _take(self, msg: Prediction) -> None:
        self.latencies_ms.append(msg.latency.sec * 1e3 + msg.latency.nanosec / 1e6)


class _Live:
    """Moments for a session that does not end: the recording forth and back, in real time."""

    def __init__(self, generator: Generator, watcher: _Watcher, conditions: Sequence[Condition], rate_hz: float) -> None:
        self._generator, self._watcher, self.period_s = generator, watcher, 1.0 / rate_hz
        self._conditions: Iterator[Condition] = chain.from_iterable(cycle((conditions[:-1], conditions[:0:-1])))
        self._stamp_ns = time.time_ns()

    def play(self, is_over: Callable[[], bool]) -> Stretch:
        """Until it is over, and a moment longer for the last answers."""
        first, num_sent, due_s = len(self._watcher.latencies_ms), 0, time.monotonic()
        while not is_over():
            self._stamp_ns += round(self.period_s * NS_PER_S)
            self._generator.accept(Moment(replace(next(self._conditions), stamp_ns=self._stamp_ns), received_ns=time.time_ns()))
            num_sent, due_s = num_sent + 1, due_s + self.period_s
            time.sleep(max(0.0, due_s - time.monotonic()))
        time.sleep(LAST_ANSWERS_S)
        return Stretch(num_sent, self._watcher.latencies_ms[first:])


def measure_live(
    model: str, conditions: Sequence[Condition], rate_hz: float, plan: LivePlan, table_height_m: float | None = None
) -> dict[str, float | int]:
    """The session alone, beside a prediction, and alone again; then the same prediction with nothing beside it."""
    needed = 1 + round(plan.horizon_s * rate_hz)
    if len(conditions) < max(2, needed):
        raise ValueError(f"futures of {plan.horizon_s:g} s are made of {needed} conditions, and the recording has {len(conditions)}")
    make_room_for_pictures()
    told = overrides(model=model, table_height_m=() if table_height_m is None else (table_height_m,), max_horizon_s=plan.horizon_s + 1.0)
    with context_in(private_domain()) as context:
        generator, watcher = Generator(context=context, listens=False, parameter_overrides=told), _Watcher(context=context)
        with spinning([generator, watcher]):
            generator.start()
            try:
                return _measured(_Live(generator, watcher, conditions, rate_hz), watcher, goal(conditions, rate_hz, plan), plan)
            finally:
                generator.finish()


def _measured(live: _Live, watcher: _Watcher, asked: Predict.Goal, plan: LivePlan) -> dict[str, float | int]:
    if not watcher.client.wait_for_server(READY_S):
        raise TimeoutError(f"the action {topics.PREDICT} did not come up within {READY_S:.0f} s")
    live.play(_after(plan.warm_up_s))
    before = live.play(_after(plan.alone_s))
    beside = live.play(_predicted(watcher, asked))
    after = live.play(_after(plan.alone_s))
    began_s = time.monotonic()
    _wait(_predicted(watcher, asked))
    seconds = {"prediction_s_alone": time.monotonic() - began_s, "prediction_s_beside": beside.num_sent * live.period_s}
    alone = Stretch(before.num_sent + after.num_sent, before.latencies_ms + after.latencies_ms)
    what = {"candidates": plan.num_candidates, "horizon_s": plan.horizon_s}
    return what | alone.table("alone") | beside.table("beside") | {name: round(value, 1) for name, value in seconds.items()}


def goal(conditions: Sequence[Condition], rate_hz: float, plan: LivePlan) -> Predict.Goal:
    """Futures that begin at one moment of the recording, whose hands then go a little aside, each another way."""
    moments = conditions[: 1 + round(plan.horizon_s * rate_hz)]
    return Predict.Goal(candidates=[_trajectory(moments, rate_hz, number) for number in range(plan.num_candidates)], continue_session=True)


def _trajectory(moments: Sequence[Condition], rate_hz: float, number: int) -> HandTrajectory:
    first, *later = moments
    msg = HandTrajectory(header=header(0, "odom"), camera=pinhole_to_msg(first.camera))
    for index, moment in enumerate([first, *(aside(moment, number) for moment in later)]):
        seconds, nanoseconds = divmod(round(index * NS_PER_S / rate_hz), NS_PER_S)
        hands = [hand_to_msg(hand) for hand in moment.hands]
        since_start = Duration(sec=seconds, nanosec=nanoseconds)
        msg.points.append(HandTrajectoryPoint(time_from_start=since_start, camera=pose_to_msg(moment.T_world_camera), hands=hands))
    return msg


def _predicted(watcher: _Watcher, asked: Predict.Goal) -> Callable[[], bool]:
    """Asks for the prediction. What comes back says whether it is there; a ValueError where it is refused or fails."""
    accepted = _spun(watcher, partial(watcher.client.send_goal_async, asked))
    _wait(accepted.done)
    result = _spun(watcher, accepted.result().get_result_async)

    def is_done() -> bool:
        if result.done() and not result.result().result.success:
            raise ValueError(f"the prediction failed: {result.result().result.message}")
        return bool(result.done())

    return is_done


def _spun(node: Node, call: Callable[[], Any]) -> Any:
    """A call's result, made in the thread that spins: in another one an answer may come before the client knows that it asked."""
    assert node.executor is not None  # it spins
    task = node.executor.create_task(call)
    _wait(task.done)
    return task.result()


def _after(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= end_s


def _wait(is_done: Callable[[], bool]) -> None:
    while not is_done():
        time.sleep(0.02)

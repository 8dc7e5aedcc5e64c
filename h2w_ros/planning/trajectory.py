"""What hands and head may do, in points of any spacing, sampled on the generator's clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from h2w_ros.condition import Camera, Condition, HandPose
from h2w_ros.geometry import Transform, interpolate
from h2w_ros.timeline import interpolate_hands

SLACK_S = 1e-6
"""Times that differ by less are the same: planners add up periods that binary numbers cannot hold."""


@dataclass(frozen=True, eq=False)
class TrajectoryPoint:
    """Head and hands at one moment."""

    time_s: float
    T_world_camera: Transform
    hands: tuple[HandPose, ...] = ()


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Points in time order, the first of them now (time 0), seen by one camera."""

    camera: Camera
    points: Sequence[TrajectoryPoint]
    start_ns: int = 0

    def __post_init__(self) -> None:
        times_s = [point.time_s for point in self.points]
        if not times_s or times_s[0] != 0.0:
            raise ValueError(f"a trajectory begins with a point at time 0, got times {times_s[:3]} s")
        fault = next((i for i in range(1, len(times_s)) if not times_s[i] > times_s[i - 1]), None)
        if fault is not None:
            raise ValueError(f"times must grow from point to point, point {fault} comes at {times_s[fault]} s after {times_s[fault - 1]} s")

    @property
    def duration_s(self) -> float:
        """Time of the last point."""
        return self.points[-1].time_s

    def conditions(self, rate_hz: float, num_frames: int) -> list[Condition]:
        """Now, and the `num_frames` moments after it; between points, head and hands are interpolated (lerp and slerp)."""
        if num_frames / rate_hz > self.duration_s + SLACK_S:
            raise ValueError(f"{num_frames} frames at {rate_hz:g} Hz need {num_frames / rate_hz:g} s, the trajectory lasts {self.duration_s:g} s")
        return [self._at(frame / rate_hz) for frame in range(num_frames + 1)]

    def _at(self, time_s: float) -> Condition:
        after = min(bisect_left(self.points, time_s - SLACK_S, key=lambda point: point.time_s), len(self.points) - 1)
        end = self.points[after]
        stamp_ns = self.start_ns + round(1e9 * time_s)
        if after == 0 or abs(end.time_s - time_s) <= SLACK_S:
            return Condition(stamp_ns, self.camera, end.T_world_camera, end.hands)
        start = self.points[after - 1]
        share = (time_s - start.time_s) / (end.time_s - start.time_s)
        head = interpolate(start.T_world_camera, end.T_world_camera, share)
        return Condition(stamp_ns, self.camera, head, interpolate_hands(start.hands, end.hands, share))


def num_frames(trajectories: Sequence[Trajectory], horizon_s: float, rate_hz: float, frames_per_block: int) -> int:
    """How many moments are predicted: whole blocks within the horizon, or, with horizon 0, within the trajectories' one length."""
    durations_s = [trajectory.duration_s for trajectory in trajectories]
    if not horizon_s >= 0.0:
        raise ValueError(f"horizon_s must be 0 (to the end of the candidates) or positive, got {horizon_s}")
    if horizon_s == 0.0 and max(durations_s) - min(durations_s) > SLACK_S:
        raise ValueError(f"candidates last from {min(durations_s):g} to {max(durations_s):g} s: make them equally long, or give a horizon_s")
    if horizon_s > min(durations_s) + SLACK_S:
        raise ValueError(f"horizon_s is {horizon_s:g} s, but a candidate ends after {min(durations_s):g} s")
    frames = int((horizon_s or min(durations_s)) * rate_hz + SLACK_S * rate_hz)
    if frames < frames_per_block:
        raise ValueError(f"the shortest prediction is a block of {frames_per_block / rate_hz:g} s, got {horizon_s or min(durations_s):g} s")
    return frames - frames % frames_per_block

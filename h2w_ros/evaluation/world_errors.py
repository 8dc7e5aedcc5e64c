"""What pictures show, held against what is so: hands, things, depth and the camera's motion, as the estimators see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from h2w_ros.camera import relative_to
from h2w_ros.condition import Image
from h2w_ros.evaluation.episodes import HeldOutEpisode
from h2w_ros.evaluation.estimators import Estimators, Watched
from h2w_ros.evaluation.frechet import bootstrap_interval, can_be_measured, frechet_distance
from h2w_ros.evaluation.things import Thing, things_of
from h2w_ros.geometry import invert, rotation_angle_rad

MOVED_PX_AT_128 = 3.0
"""A thing counts as moved in frames where it is this far from where it stood, in pixels of a picture 128 wide."""


@dataclass
class Mean:
    """The mean of any numbers; None of none."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Float[ndarray, "n"]) -> None:
        """Counts the finite ones."""
        finite = values[np.isfinite(values)]
        self.total, self.count = self.total + float(finite.sum(dtype=np.float64)), self.count + len(finite)

    @property
    def value(self) -> float | None:
        """The mean."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True, eq=False)
class WatchedEpisode:
    """An episode's true pictures as the estimators see them, and its things: computed once for all contenders."""

    episode: HeldOutEpisode
    clip: Watched
    things: Sequence[Thing]


def watch_episode(estimators: Estimators, episode: HeldOutEpisode) -> WatchedEpisode:
    """The episode, seen by the estimators."""
    return WatchedEpisode(episode, watch_pictures(estimators, episode, episode.pictures), things_of(episode))


def watch_pictures(estimators: Estimators, episode: HeldOutEpisode, pictures: Sequence[Image]) -> Watched:
    """Pictures of the episode's moments, the true ones or a contender's, seen by the estimators."""
    return estimators.watch(pictures, [condition.camera for condition in episode.conditions])


@dataclass
class WorldErrors:
    """One contender's errors over any number of episodes; frame 0 is given and does not count."""

    overlap: Mean = field(default_factory=Mean)
    union: Mean = field(default_factory=Mean)
    depth: Mean = field(default_factory=Mean)
    moved: Mean = field(default_factory=Mean)
    unmoved: Mean = field(default_factory=Mean)
    still: Mean = field(default_factory=Mean)
    turn_deg: Mean = field(default_factory=Mean)
    shift_m: Mean = field(default_factory=Mean)
    windows: list[Float[ndarray, "n f"]] = field(default_factory=list)

    def add(self, estimators: Estimators, truth: WatchedEpisode, clip: Watched) -> None:
        """Counts one episode, as the estimators saw the contender's pictures."""
        self._add_hands(estimators.hand_masks(clip)[1:], truth.episode)
        self._add_depth(estimators.depth_m(clip)[1:], truth.episode)
        for thing in truth.things:
            self._add_thing(thing, estimators.places_px(truth.clip, thing.mask, clip), truth.episode)
        self._add_motion(estimators, truth, clip)
        self.windows.append(estimators.windows(clip, rate_hz_of(truth.episode)))

    def metrics(self, truth: WorldErrors) -> dict[str, float | None]:
        """The numbers by name; `truth` holds the windows of the true pictures of the same episodes."""
        union = self.union.total
        frechet = frechet_distance(np.concatenate(self.windows), np.concatenate(truth.windows)) if can_be_measured(self.windows) else None
        return {
            "hand_iou": self.overlap.total / union if union else None,
            "object_error": self.moved.value,
            "object_error_unmoved": self.unmoved.value,
            "object_error_still": self.still.value,
            "camera_error": self.turn_deg.value,
            "camera_error_m": self.shift_m.value,
            "depth_error": self.depth.value,
            "frechet_world": frechet,
        }

    def frechet_interval(self, truth: WorldErrors) -> tuple[float, float] | None:
        """How sure `frechet_world` is."""
        return bootstrap_interval(self.windows, truth.windows) if can_be_measured(self.windows) else None

    def _add_hands(self, masks: Bool[ndarray, "t H W"], episode: HeldOutEpisode) -> None:
        if episode.hand_masks is not None:
            true = episode.hand_masks[1:]
            self.overlap.add(np.array([(masks & true).sum()], float))
            self.union.add(np.array([(masks | true).sum()], float))

    def _add_depth(self, depth_m: Float[ndarray, "t H W"], episode: HeldOutEpisode) -> None:
        if episode.truth is not None:
            true = episode.truth.depth_m[1:]
            self.depth.add(np.abs(depth_m / true - 1.0)[np.isfinite(true)])

    def _add_thing(self, thing: Thing, places_px: Float[ndarray, "T 2"], episode: HeldOutEpisode) -> None:
        camera = episode.conditions[0].camera
        upright = np.array([1.0, camera.fx / camera.fy])  # squashed pictures count as they were, as wide as they are now
        error = np.linalg.norm((places_px - thing.place_px) * upright, axis=-1)[1:]
        if not thing.moves:
            self.still.add(error)
            return
        way = np.linalg.norm((thing.unmoved_px - thing.place_px) * upright, axis=-1)[1:]
        has_moved = way > MOVED_PX_AT_128 * camera.width_px / 128
        self.moved.add(error[has_moved])
        self.unmoved.add(way[has_moved])

    def _add_motion(self, estimators: Estimators, truth: WatchedEpisode, clip: Watched) -> None:
        first = truth.episode.conditions[0].T_world_camera
        for condition, T_first_seen in zip(truth.episode.conditions[1:], estimators.motions(truth.clip, clip)[1:], strict=True):
            wrong = invert(relative_to(first, condition.T_world_camera)) @ T_first_seen
            self.turn_deg.add(np.array([np.degrees(rotation_angle_rad(wrong[:3, :3]))]))
            self.shift_m.add(np.array([np.linalg.norm(wrong[:3, 3])]))


def rate_hz_of(episode: HeldOutEpisode) -> float:
    """Pictures a second, by the stamps."""
    stamps = [condition.stamp_ns for condition in episode.conditions]
    return 1e9 * (len(stamps) - 1) / (stamps[-1] - stamps[0])

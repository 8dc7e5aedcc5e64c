"""Episodes to evaluate on: simulated ones of held-out seeds, or recorded ones, at the model's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from h2w_ros.camera import Resize
from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.regions import Regions, regions_of
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.geometry import axis_angle_from_rotation
from h2w_ros.world.spec import EVALUATION_SEEDS_FROM, WorldSpec

if TYPE_CHECKING:
    from h2w_ros.episodes.episode import Episode
    from h2w_ros.episodes.recording import Recording
    from h2w_ros.world.simulate import WorldEpisode


@dataclass(frozen=True, eq=False)
class PixelTruth:
    """What each pixel shows, as ids, and how far away it is [m]; inf where there is nothing."""

    ids: UInt8[ndarray, "T H W"]
    depth_m: Float32[ndarray, "T H W"]


@dataclass(frozen=True, eq=False)
class HeldOutEpisode:
    """T moments with their pictures, all of the model's size, and what is known about their pixels."""

    conditions: Sequence[Condition]
    table_height_m: float
    hand_masks: Bool[ndarray, "T H W"] | None = None
    object_masks: Bool[ndarray, "T H W"] | None = None
    """Pixels of what moves at some time of the episode."""
    truth: PixelTruth | None = None
    number: int = 0
    """Among the evaluated ones: what nothing tells (a skin before a picture shows it) is drawn anew for each."""

    @property
    def pictures(self) -> list[Image]:
        """What the camera saw."""
        return [picture_of(condition) for condition in self.conditions]

    @property
    def regions(self) -> list[Regions]:
        """Of every frame; only `overall` where masks are not known."""
        if self.hand_masks is None or self.object_masks is None:
            return [{"overall": np.ones(picture.shape[:2], dtype=bool)} for picture in self.pictures]
        return [regions_of(hand, thing) for hand, thing in zip(self.hand_masks, self.object_masks, strict=True)]


@dataclass
class Source:
    """Where episodes come from; `skipped` counts by reason those that could not be used, complete once all were read."""

    config: GeneratorConfig
    num_frames: int
    min_turn_deg: float = 0.0
    """Episodes whose head turns less than this away from its first look are left out."""
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ValueError(f"frames must be at least 2 (the first is given, the others are judged), got {self.num_frames}")
        block = self.config.rollout.latents_per_block * self.config.codec.temporal_stride
        if (self.num_frames - 1) % block:
            raise ValueError(f"frames must be 1 + a multiple of {block} (the model answers blocks of {block}), got {self.num_frames}")

    def simulated(self, seed: int, episodes: int, workers: int) -> Iterator[HeldOutEpisode]:
        """Episodes of consecutive seeds from `seed` on."""
        from h2w_ros.world.dataset import simulate_many

        if seed < EVALUATION_SEEDS_FROM:
            raise ValueError(f"seed must be {EVALUATION_SEEDS_FROM} or more (smaller ones may have been trained on), got {seed}")
        config = self.config
        spec = WorldSpec(width_px=config.width_px, height_px=config.height_px, num_frames=self.num_frames, rate_hz=config.rate_hz, ground_truth=True)
        failed: dict[int, str] = {}
        for own_seed, episode in simulate_many(range(seed, seed + episodes), spec, workers, failed):
            yield from self._lively(replace(from_world(episode), number=own_seed - seed))
        self.skipped.update(failed.values())

    def recorded(self, paths: Sequence[Path], table_height_m: float | None = None) -> Iterator[HeldOutEpisode]:
        """Recordings that have enough frames; `table_height_m` is for those that do not know theirs."""
        from h2w_ros.episodes.recording import open_recording

        for number, path in enumerate(paths):
            recording = open_recording(path)
            conditions = list(recording.conditions(0, min(self.num_frames, recording.num_frames)))
            height_m = recording.description.get("table_height_m", table_height_m)
            reason = self._why_not(recording, conditions, height_m)
            if reason:
                self.skipped[reason] += 1
            else:
                yield from self._lively(self._sized(self._with_masks(recording, HeldOutEpisode(conditions, float(height_m), number=number))))

    def _lively(self, episode: HeldOutEpisode) -> list[HeldOutEpisode]:
        """The episode, or nothing, and that counted, when the head turns too little."""
        if self.min_turn_deg <= 0.0 or turned_deg(episode) >= self.min_turn_deg:
            return [episode]
        self.skipped[f"the head turns less than {self.min_turn_deg:g} degrees"] += 1
        return []

    def _why_not(self, recording: Recording, conditions: Sequence[Condition], table_height_m: float | None) -> str | None:
        if abs(recording.rate_hz - self.config.rate_hz) > 1e-3:
            return f"recorded at {recording.rate_hz:g} Hz, not at the model's {self.config.rate_hz:g}"
        if len(conditions) < self.num_frames:
            return f"fewer than {self.num_frames} frames"
        if any(condition.image is None for condition in conditions):
            return "frames without a picture"
        return "height of the table unknown (--table-height)" if table_height_m is None else None

    def _with_masks(self, recording: Recording, episode: HeldOutEpisode) -> HeldOutEpisode:
        """What the recording knows about pixels: only episode folders know anything."""
        from h2w_ros.episodes.episode import Episode

        if not isinstance(recording, Episode) or not {"hand", "object"} <= set(recording.manifest.masks):
            return episode
        hands, things = (recording.masks(name, 0, self.num_frames) for name in ("hand", "object"))
        return replace(episode, hand_masks=hands, object_masks=things, truth=_recorded_truth(recording, self.num_frames))

    def _sized(self, episode: HeldOutEpisode) -> HeldOutEpisode:
        """The episode at the model's size."""
        width_px, height_px = self.config.width_px, self.config.height_px
        resize = Resize(width_px, height_px)
        truth = episode.truth
        return replace(
            episode,
            conditions=[_resized(condition, resize) for condition in episode.conditions],
            hand_masks=None if episode.hand_masks is None else _nearest(episode.hand_masks, width_px, height_px),
            object_masks=None if episode.object_masks is None else _nearest(episode.object_masks, width_px, height_px),
            truth=truth and PixelTruth(_nearest(truth.ids, width_px, height_px), _nearest(truth.depth_m, width_px, height_px)),
        )


def turned_deg(episode: HeldOutEpisode) -> float:
    """How far the head turns away from where it looked first, at most."""
    first = episode.conditions[0].T_world_camera[:3, :3]
    turns = (axis_angle_from_rotation(first.T @ condition.T_world_camera[:3, :3]) for condition in episode.conditions)
    return float(np.degrees(max(np.linalg.norm(turn) for turn in turns)))


def from_world(episode: WorldEpisode) -> HeldOutEpisode:
    """A simulated episode as it is."""
    truth = None if episode.truth is None else PixelTruth(episode.truth.ids, episode.truth.depth_m)
    return HeldOutEpisode(episode.conditions, episode.description["table_height_m"], episode.hand_masks, episode.object_masks, truth)


def recordings_in(folder: Path) -> list[Path]:
    """The episodes of a folder by name: what `h2w world sample` and recorders write."""
    from h2w_ros.episodes.layout import looks_like_episode

    paths = sorted(path for path in folder.iterdir() if looks_like_episode(path) or path.suffix == ".mcap") if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"No episodes in {folder}; `h2w world sample --seed {EVALUATION_SEEDS_FROM} --out {folder}` writes some")
    return paths


def picture_of(condition: Condition) -> Image:
    """What the camera saw at this moment."""
    if condition.image is None:
        raise ValueError(f"evaluation needs the picture of every moment, the one at {condition.stamp_ns} ns has none")
    return condition.image


def _recorded_truth(recording: Episode, num_frames: int) -> PixelTruth | None:
    from h2w_ros.world.truth_file import TRUTH, read_truth

    if not (recording.path / TRUTH).exists():
        return None
    truth = read_truth(recording.path)
    return PixelTruth(truth.ids[:num_frames], truth.depth_m[:num_frames])


def _resized(condition: Condition, resize: Resize) -> Condition:
    image, static, hands = (None if picture is None else resize.picture(picture) for picture in _pictures(condition))
    known = None
    if condition.static_render is not None and condition.static_known is not None:
        static, known = resize.partial(condition.static_render, condition.static_known)
    camera = resize.camera(condition.camera)
    return replace(condition, camera=camera, image=image, static_render=static, hand_render=hands, static_known=known)


def _pictures(condition: Condition) -> tuple[Image | None, Image | None, Image | None]:
    return condition.image, condition.static_render, condition.hand_render


def _nearest(maps: ndarray, width_px: int, height_px: int) -> ndarray:
    """Masks, ids or depths at another size, none of them mixed."""
    as_numbers: ndarray = maps.astype(np.uint8) if maps.dtype == np.bool_ else maps
    sized = [cv2.resize(np.asarray(one), (width_px, height_px), interpolation=cv2.INTER_NEAREST) for one in as_numbers]
    return np.stack(sized).astype(maps.dtype)

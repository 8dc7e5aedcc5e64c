"""What `h2w evaluate` does: held-out episodes, streamed by the model and by baselines, measured region by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from h2w_ros.condition import Image
from h2w_ros.evaluation.contenders import Contender
from h2w_ros.evaluation.episodes import HeldOutEpisode
from h2w_ros.evaluation.estimators import Estimators
from h2w_ros.evaluation.frechet import can_be_measured, frechet_distance
from h2w_ros.evaluation.over_time import OverTime
from h2w_ros.evaluation.picture_metrics import flows
from h2w_ros.evaluation.regions import REGIONS, RegionErrors
from h2w_ros.evaluation.user_networks import UserErrors, UserNetworks
from h2w_ros.evaluation.world_errors import WorldErrors, watch_episode, watch_pictures

CEILING = "codec_ceiling"

Metrics = dict[str, float | None]
Table = dict[str, Metrics]
"""{region: {metric: value}}; None where nothing could be measured."""


@dataclass
class Score:
    """Everything that is measured of one contender."""

    regions: RegionErrors = field(default_factory=RegionErrors)
    over_time: OverTime = field(default_factory=OverTime)
    world: WorldErrors = field(default_factory=WorldErrors)
    user: UserErrors = field(default_factory=UserErrors)


@dataclass
class Evaluation:
    """Scores of every contender, and the frames of the first episodes to look at."""

    estimators: Estimators
    user_networks: UserNetworks = field(default_factory=UserNetworks)
    scores: dict[str, Score] = field(default_factory=dict)
    real: WorldErrors = field(default_factory=WorldErrors)
    """The estimators' own errors: what they say of the true pictures."""
    strips: list[dict[str, list[Image]]] = field(default_factory=list)
    num_episodes: int = 0

    def add(self, episode: HeldOutEpisode, table: Mapping[str, Contender], keep_frames: bool = False) -> None:
        """Measures one episode; ValueError when a contender answers fewer frames than were asked for."""
        truth, regions = episode.pictures, episode.regions
        true_flows, watched, strip = flows(truth), watch_episode(self.estimators, episode), {"truth": truth}
        self.real.add(self.estimators, watched, watched.clip)
        for name, contender in table.items():
            frames = _all_frames(name, list(contender(episode)), truth)
            score = self.scores.setdefault(name, Score())
            score.regions.add_clip(frames, truth, regions, true_flows)
            score.over_time.add(frames, truth)
            score.world.add(self.estimators, watched, watch_pictures(self.estimators, episode, frames))
            score.user.add(self.user_networks, frames, truth)
            strip[name] = frames
        self.num_episodes += 1
        if keep_frames:
            self.strips.append(strip)

    def table(self, name: str) -> Table:
        """One contender's numbers."""
        score = self.scores[name]
        table = {region: score.regions.metrics(region) for region in REGIONS}
        table["overall"] |= score.world.metrics(self.real) | {"drift": score.over_time.drift_db} | score.user.metrics()
        interval = score.world.frechet_interval(self.real)
        if interval:
            table["overall"] |= dict(zip(("frechet_world_low", "frechet_world_high"), interval, strict=True))
        return table

    def own_errors(self) -> Metrics:
        """What the estimators say of the true pictures; their Fréchet distance is that between every other episode and the rest."""
        halves = self.real.windows[::2], self.real.windows[1::2]
        apart = frechet_distance(*(np.concatenate(half) for half in halves)) if all(map(can_be_measured, halves)) else None
        return self.real.metrics(self.real) | {"frechet_world": apart, "windows": sum(map(len, self.real.windows))}

    def report(self, model: str, seed: int, num_frames: int) -> dict[str, object]:
        """What `--json` writes."""
        if not self.num_episodes:
            raise ValueError("no episode could be evaluated, so there is nothing to report")
        return {
            "model": model,
            "seed": seed,
            "episodes": self.num_episodes,
            "frames": num_frames,
            CEILING: self.table(CEILING),
            "results": {name: self.table(name) for name in self.scores if name != CEILING},
            "estimators": self.own_errors(),
            "psnr_by_frame": {name: score.over_time.psnr_db for name, score in self.scores.items()},
        }


def _all_frames(name: str, frames: list[Image], truth: Sequence[Image]) -> list[Image]:
    if len(frames) != len(truth):
        raise ValueError(f"{name} answered {len(frames)} of {len(truth)} frames; ask for 1 + a multiple of the model's block")
    return frames

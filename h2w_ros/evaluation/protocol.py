"""What `h2w evaluate` does: held-out episodes, streamed by the model and by baselines, measured region by region."""

from __future__ import annotations

from dataclasses import dataclass, field

from h2w_ros.condition import Image
from h2w_ros.evaluation.contenders import Contender
from h2w_ros.evaluation.episodes import HeldOutEpisode
from h2w_ros.evaluation.picture_metrics import flows
from h2w_ros.evaluation.regions import REGIONS, RegionErrors

CEILING = "codec_ceiling"

Metrics = dict[str, float | None]
Table = dict[str, Metrics]
"""{region: {metric: value}}; None where nothing could be measured."""


@dataclass
class Evaluation:
    """Errors of every contender, and the frames of the first episodes to look at."""

    errors: dict[str, RegionErrors] = field(default_factory=dict)
    strips: list[dict[str, list[Image]]] = field(default_factory=list)
    num_episodes: int = 0

    def add(self, episode: HeldOutEpisode, table: dict[str, Contender], keep_frames: bool = False) -> None:
        """Measures one episode; ValueError when a contender answers fewer frames than were asked for."""
        truth, regions = episode.pictures, episode.regions
        true_flows, strip = flows(truth), {"truth": truth}
        for name, contender in table.items():
            frames = list(contender(episode))
            if len(frames) != len(truth):
                raise ValueError(f"{name} answered {len(frames)} of {len(truth)} frames; ask for 1 + a multiple of the model's block")
            self.errors.setdefault(name, RegionErrors()).add_clip(frames, truth, regions, true_flows)
            strip[name] = frames
        self.num_episodes += 1
        if keep_frames:
            self.strips.append(strip)

    def table(self, name: str) -> Table:
        """One contender's numbers."""
        return {region: self.errors[name].metrics(region) for region in REGIONS}

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
            "results": {name: self.table(name) for name in self.errors if name != CEILING},
            "estimators": {},
        }

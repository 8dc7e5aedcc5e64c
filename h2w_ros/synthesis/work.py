"""Makes one take: varies a recording's moments, predicts them, measures the result, and writes it if it is worth keeping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from h2w_ros.bulk.job import MakeWork, RejectedError, Work
from h2w_ros.camera import Resize
from h2w_ros.condition import Condition, Image
from h2w_ros.episodes.bag_writer import write_bag
from h2w_ros.episodes.layout import SCENE
from h2w_ros.episodes.recording import open_recording
from h2w_ros.episodes.writer import EpisodeWriter
from h2w_ros.generator.checkpoint import Generator, load_generator
from h2w_ros.scene.along import with_scene
from h2w_ros.scene.files import Scene, save_scene
from h2w_ros.session import Session
from h2w_ros.synthesis.gate import Meter, Worth, reasons_against
from h2w_ros.synthesis.motion import MIRROR_X, MOTIONS, flipped, mirrored, swapped
from h2w_ros.synthesis.source import Source, read_source
from h2w_ros.synthesis.take import KINDS, SynthesisConfig, Take

MCAP = "episode.mcap"
PROVENANCE = "synthesized"
SEED_STRIDE = 1_000_003
"""Between seeds that are compared: far from those of the next takes."""


def work_maker(config: SynthesisConfig) -> MakeWork:
    """What every worker begins with."""
    return partial(_make_work, config)


def _make_work(config: SynthesisConfig) -> Work:
    return Synthesizer(config, load_generator(config.model))


def described(take: Take, description: Mapping[str, Any]) -> dict[str, Any]:
    """What the take's recording says of itself, as far as it holds of the take: hands of the other side, or of another recording, do other things."""
    told = dict(description)
    if take.kind == "mirrored" and isinstance(tasks := told.get("tasks"), Mapping):
        told["tasks"] = {{"left": "right", "right": "left"}.get(side, side): done for side, done in tasks.items()}
    if take.donor is not None:
        told = {name: value for name, value in told.items() if name not in ("tasks", "moved")}
    return told


class Synthesizer:
    """Makes takes with one generator. The recording that was read last is kept: takes of one recording come one after another."""

    def __init__(self, config: SynthesisConfig, generator: Generator) -> None:
        self._config, self._generator = config, generator
        self._last: tuple[Path, Source] | None = None

    def __call__(self, take: Take, place: Path) -> Mapping[str, Any]:
        """Writes the take's episode; RejectedError when the gate is against it."""
        source = self._source(take.source)
        donor = None if take.donor is None else read_source(open_recording(take.donor, self._config.bag), self._config.max_frames)
        moments, scene = varied(take, source, donor)
        session = Session(self._generator, table_height_m=source.table_height_m)
        seeds = [take_seed(take) + SEED_STRIDE * index for index in range(self._config.seeds_compared)]
        static = source.static.moved(MIRROR_X) if source.static is not None and take.kind == "mirrored" else source.static
        prediction = Prediction(session, moments, scene, seeds, source, static)
        return self._written(prediction, take, source, place)

    def _source(self, path: Path) -> Source:
        if self._last is None or self._last[0] != path:
            self._last = path, read_source(open_recording(path, self._config.bag), self._config.max_frames)
        return self._last[1]

    def _written(self, prediction: Prediction, take: Take, source: Source, place: Path) -> Mapping[str, Any]:
        """Episode, and bag inside it, grow together; neither is kept unless the whole is worth it."""
        description = {**described(take, source.recording.description), PROVENANCE: provenance(take, self._config)}
        bag = place.parent / MCAP
        with EpisodeWriter(place, prediction.rate_hz, source.recording.domain, description) as writer:
            conditions = _written_too(writer, prediction.conditions())
            if self._config.mcap:
                write_bag(bag, conditions, source.recording.domain, description)
            else:
                for _ in conditions:
                    pass
            worth = prediction.worth()
            writer.description[PROVENANCE]["worth"] = worth.as_json()
            writer.dropped = {name: count for name, count in {**source.recording.dropped, **prediction.dropped}.items() if count}
            reasons = reasons_against(worth, self._config.gate)
            if reasons:
                raise RejectedError("; ".join(reasons), {"worth": worth.as_json()})
        if self._config.mcap:
            bag.rename(place / MCAP)
        if prediction.static is not None:
            save_scene(place / SCENE, prediction.static)
        return {"frames": writer.num_frames, "worth": worth.as_json()}


@dataclass(eq=False)
class Prediction:
    """The generator's answer to varied moments. `dropped` and `worth` are complete once all conditions were taken."""

    session: Session
    moments: list[Condition]
    scene: Image
    seeds: list[int]
    source: Source
    static: Scene | None = None

    def __post_init__(self) -> None:
        self.rate_hz = self.source.recording.rate_hz
        self.dropped = {"incomplete_last_block": (len(self.moments) - 1) % self.session.frames_per_block}

    def conditions(self) -> Iterator[Condition]:
        """Every moment with its predicted picture, of the generator's size."""
        session, resize = self.session, Resize(self.session.config.width_px, self.session.config.height_px)
        session.reset(self.scene, self.seeds[0])
        start, first = session.push(self._in_scene(self.moments[0]))[0].image, self.moments[0]
        self._meter = Meter(start, np.asarray(session.hand_render(first).any(axis=-1)), self.source.likelihood)
        yield _answered(first, start, resize)
        branches, waiting = session.branch(1, self.seeds), list[Condition]()
        for moment in self.moments[1:]:
            waiting.append(moment)
            block = branches.push([self._in_scene(moment)])
            if block is None:
                continue
            for index, answered in enumerate(waiting):
                self._meter.add(block.pictures[0, :, index], np.asarray(block.hands[0, index].any(axis=-1)))
                yield _answered(answered, block.pictures[0, 0, index], resize)
            waiting.clear()

    def _in_scene(self, moment: Condition) -> Condition:
        """The moment with the untouched scene as its camera sees it, where that is known. What is written has the scene once, not its pictures."""
        return moment if self.static is None else with_scene(moment, self.static)

    def worth(self) -> Worth:
        """What the gate judges."""
        return self._meter.worth()


def varied(take: Take, source: Source, donor: Source | None) -> tuple[list[Condition], Image]:
    """The take's moments, and the picture of the first one. ValueError where a recording knows no hands that could be moved."""
    if take.kind not in ("seed", "mirrored", "camera") and not any(moment.hands for moment in source.moments):
        raise ValueError(f"{take.source} has no hand poses, only ready-made pictures or none at all: its hands' motion can't be varied")
    if take.kind in MOTIONS:
        return MOTIONS[take.kind](source.moments, np.random.default_rng(take_seed(take))), source.scene
    if take.kind == "mirrored":
        return mirrored(source.moments), flipped(source.scene)
    if donor is not None:
        return swapped(source.moments, donor.moments), source.scene
    return list(source.moments), source.scene


def take_seed(take: Take) -> int:
    """The seed of the variation and of the generator: another for every take of a recording."""
    return take.number * len(KINDS) + KINDS.index(take.kind)


def provenance(take: Take, config: SynthesisConfig) -> dict[str, Any]:
    """Where an episode comes from, for its manifest."""
    donor = {} if take.donor is None else {"donor": str(take.donor), "donor_sha256": take.donor_hash}
    return {
        "source": str(take.source),
        "source_sha256": take.source_hash,
        "variation": {"kind": take.kind, "number": take.number, **donor},
        "seed": take_seed(take),
        "model": config.model,
        "model_sha256": config.model_hash,
        "code_version": config.code_version,
        "gate": asdict(config.gate),
    }


def _answered(moment: Condition, picture: Image, resize: Resize) -> Condition:
    render = None if moment.hand_render is None else resize.picture(moment.hand_render)
    return replace(moment, camera=resize.camera(moment.camera), image=picture, hand_render=render)


def _written_too(writer: EpisodeWriter, conditions: Iterator[Condition]) -> Iterator[Condition]:
    for condition in conditions:
        writer.write(condition)
        yield condition

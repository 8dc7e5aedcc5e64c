"""What `h2w evaluate` does: held-out simulated episodes, streamed by the model and by baselines that know less.

Every baseline passes through the codec like the model, so that nobody is judged for the codec's blur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from h2w_ros.condition import Condition, Image
from h2w_ros.evaluation.regions import RegionErrors, regions_of
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.scene.table_photo import TablePhoto
from h2w_ros.session import Session
from h2w_ros.world.spec import TABLE_HEIGHT_M

if TYPE_CHECKING:
    from h2w_ros.world.simulate import WorldEpisode

Contender = Callable[[Sequence[Condition]], Iterator[Image]]


@dataclass
class Evaluation:
    """Errors of every contender, and the frames of the first episodes to look at."""

    results: dict[str, RegionErrors] = field(default_factory=dict)
    strips: list[dict[str, list[Image]]] = field(default_factory=list)

    def as_json(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """{contender: {region: {"psnr": dB}}}."""
        return {name: {region: {"psnr": errors.psnr_db(region)} for region in errors.values} for name, errors in self.results.items()}


def contenders(generator: Generator, seed: int) -> dict[str, Contender]:
    """The model with the table's height, without it, with the true static scene; its codec alone, and those who know less."""
    session, blind = Session(generator, table_height_m=TABLE_HEIGHT_M), Session(generator)
    table: dict[str, Contender] = {
        "model": lambda conditions: _stream(session, [replace(c, static_render=None) for c in conditions], seed),
        "repeat": lambda conditions: _through_codec(generator, [_image(conditions[0])] * len(conditions)),
        "codec_ceiling": lambda conditions: _through_codec(generator, [_image(c) for c in conditions]),
    }
    if generator.config.static_scene:
        table["photo_on_table"] = lambda conditions: _through_codec(generator, _photos(conditions))
        table["model_without_table"] = lambda conditions: _stream(blind, [replace(c, static_render=None) for c in conditions], seed)
        table["model_with_static_scene"] = lambda conditions: _stream(session, conditions, seed)
        table["static_scene"] = lambda conditions: _through_codec(generator, [_static(c) for c in conditions])
    return table


def evaluate(episode: WorldEpisode, table: dict[str, Contender], into: Evaluation, keep_frames: bool) -> None:
    """Adds one episode; frame 0, which everybody is given, does not count."""
    truth = [_image(c) for c in episode.conditions]
    strip = {"truth": truth}
    for name, contender in table.items():
        frames = list(contender(episode.conditions))
        errors = into.results.setdefault(name, RegionErrors())
        for i in range(1, len(frames)):
            errors.add(frames[i], truth[i], regions_of(episode.hand_masks[i], episode.object_masks[i]))
        strip[name] = frames
    if keep_frames:
        into.strips.append(strip)


def _stream(session: Session, conditions: Sequence[Condition], seed: int) -> Iterator[Image]:
    """What a live session answers; only the first picture is shown to it."""
    session.reset(seed=seed)
    for i, condition in enumerate(conditions):
        for frame in session.push(condition if i == 0 else replace(condition, image=None)):
            yield frame.image


def _through_codec(generator: Generator, pictures: Sequence[Image]) -> Iterator[Image]:
    import torch

    encode, decode = generator.codec.encoder_stream(), generator.codec.decoder_stream()
    with torch.inference_mode():
        stride = generator.config.codec.temporal_stride
        for block in (pictures[:1], *(pictures[i : i + stride] for i in range(1, len(pictures), stride))):
            yield from decode(encode(np.stack(block)))


def _photos(conditions: Sequence[Condition]) -> list[Image]:
    """The first picture laid on the table, seen from every moment's camera."""
    first = conditions[0]
    scene = TablePhoto(_image(first), first.camera, first.T_world_camera, TABLE_HEIGHT_M)
    return [scene.render(c.camera, c.T_world_camera) for c in conditions]


def _image(condition: Condition) -> Image:
    if condition.image is None:
        raise ValueError(f"evaluation needs the true picture of every moment, the one at {condition.stamp_ns} ns has none")
    return condition.image


def _static(condition: Condition) -> Image:
    if condition.static_render is None:
        raise ValueError(f"evaluation of the static scene needs its render at every moment, the one at {condition.stamp_ns} ns has none")
    return condition.static_render

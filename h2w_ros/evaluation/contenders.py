"""Who is compared: the model as a live session runs it, and baselines that know less.

Every baseline passes through the codec like the model, so that nobody is judged for the codec's blur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from h2w_ros.condition import Image
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.evaluation.episodes import HeldOutEpisode, picture_of
from h2w_ros.evaluation.fused_scenes import with_fused_scene
from h2w_ros.generator.checkpoint import Generator, load_generator
from h2w_ros.geometry import invert
from h2w_ros.hands.render import HandRenderer
from h2w_ros.scene.table_photo import TablePhoto
from h2w_ros.session import Session

Contender = Callable[[HeldOutEpisode], Iterator[Image]]

EXTRAS = ("model_grounded", "model_without_table", "model_with_static_scene", "model_with_fused_scene", "static_scene", "fused_scene")
"""What may stand beside the model and its baselines."""
TOLD = {"": "everything", ":without_table": "no_table", ":camera_still": "no_camera"}
"""What the end of an ablation's name says that its model is told."""
GROUND_EVERY_S = 2.0
"""How often `model_grounded` is shown what the camera really sees, after it has answered."""


@dataclass(frozen=True)
class Ablation:
    """Another model beside the one that is evaluated, under a name.

    `told`: "everything"; "no_table", not the table's height; or "no_camera", neither that nor how the camera moves (`as_if_still`).
    """

    name: str
    path: str
    told: str = "everything"


def parse_ablation(text: str) -> Ablation:
    """Of NAME=MODEL, NAME=MODEL:without_table or NAME=MODEL:camera_still."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"an ablation must be {', '.join('NAME=MODEL' + end for end in TOLD)}, got {text!r}")
    end = next(end for end in sorted(TOLD, key=len, reverse=True) if path.endswith(end))
    return Ablation(name, path.removesuffix(end), TOLD[end])


def ablated(ablations: Sequence[Ablation], generator: Generator, seed: int) -> dict[str, Contender]:
    """The ablations as contenders; ValueError for one that does not answer the same pictures as the generator, or takes a name that is used."""
    taken = {"model", "repeat", "warp", "teacher", *EXTRAS}
    table: dict[str, Contender] = {}
    for ablation in ablations:
        if ablation.name in taken | set(table):
            hint = "; --teacher MODEL sets one beside its student" if ablation.name == "teacher" else ""
            raise ValueError(f"an ablation's name must be new, got {ablation.name!r}{hint}")
        table[ablation.name] = _ablated(ablation, generator, seed)
    return table


def _alike(path: str, generator: Generator, dtype: torch.dtype | None = None) -> Generator:
    """The model of this folder, which answers the same pictures as the generator."""
    other = load_generator(path, dtype)
    for rule in ("width_px", "height_px", "rate_hz"):
        wanted, got = getattr(generator.config, rule), getattr(other.config, rule)
        if wanted != got:
            raise ValueError(f"{path} must have {rule} {wanted} as {generator.config.name} has, got {got}")
    return other


def _ablated(ablation: Ablation, generator: Generator, seed: int) -> Contender:
    other = _alike(ablation.path, generator)
    if ablation.told == "no_camera":
        return lambda episode: _stream(other, as_if_still(_without_static(episode)), seed, None)
    return lambda episode: _stream(other, _without_static(episode), seed, episode.table_height_m if ablation.told == "everything" else None)


def taught_by(path: str, generator: Generator, seed: int) -> dict[str, Contender]:
    """The teacher of this folder as a contender: it sees whole clips, what comes included; ValueError for one that answers other pictures."""
    teacher = _alike(path, generator, torch.float32)  # as it was trained, outside of autocast
    if teacher.config.clip_frames is None:
        raise ValueError(f"--teacher takes a network that answers whole clips (`h2w train ship --teacher`), and {path} streams")
    return {"teacher": lambda episode: _answer_clips(teacher, _without_static(episode), seed)}


def contenders(generator: Generator, seed: int, extras: Sequence[str] = ()) -> dict[str, Contender]:
    """The model as a robot runs it (it knows its table's height), and who knows less; then the extras asked for.

    `repeat`: the first frame for ever. `warp`: the first frame moved over the table plane as the camera truly moves, the
    hands' render pasted on.
    """
    _check(generator, extras)
    table: dict[str, Contender] = {
        "model": lambda episode: _stream(generator, _without_static(episode), seed, episode.table_height_m),
        "repeat": lambda episode: through_codec(generator, [picture_of(episode.conditions[0])] * len(episode.conditions)),
        "warp": lambda episode: through_codec(generator, warped(episode, HandRenderer(style=generator.config.hand_style))),
        "model_grounded": lambda episode: _stream(generator, _without_static(episode), seed, episode.table_height_m, GROUND_EVERY_S),
        "model_without_table": lambda episode: _stream(generator, _without_static(episode), seed, None),
        "model_with_static_scene": lambda episode: _stream(generator, episode, seed, episode.table_height_m),
        "model_with_fused_scene": lambda episode: _stream(generator, with_fused_scene(episode), seed, episode.table_height_m),
        "static_scene": lambda episode: through_codec(generator, _static_scenes(episode)),
        "fused_scene": lambda episode: through_codec(generator, _static_scenes(with_fused_scene(episode))),
    }
    return {name: contender for name, contender in table.items() if name not in EXTRAS or name in extras}


def codec_ceiling(generator: Generator) -> Contender:
    """The truth itself through the codec: nobody who uses that codec can be better."""
    return lambda episode: through_codec(generator, episode.pictures)


def warped(episode: HeldOutEpisode, renderer: HandRenderer) -> list[Image]:
    """The first frame laid on the table and seen from every camera, with the drawn hands over it."""
    first = episode.conditions[0]
    photo = TablePhoto(picture_of(first), first.camera, first.T_world_camera, episode.table_height_m)
    pictures = []
    for condition in episode.conditions:
        picture = photo.render(condition.camera, condition.T_world_camera)
        drawn = condition.hand_render
        hands = renderer.render(condition.hands, condition.camera, condition.T_world_camera) if drawn is None else drawn
        pictures.append(np.where(hands.any(axis=-1, keepdims=True), hands, picture))
    pictures[0] = picture_of(first)
    return pictures


def through_codec(generator: Generator, pictures: Sequence[Image]) -> Iterator[Image]:
    """The pictures encoded and decoded as a stream."""
    import torch

    encode, decode = generator.codec.encoder_stream(), generator.codec.decoder_stream()
    with torch.inference_mode():
        stride = generator.config.codec.temporal_stride
        for block in (pictures[:1], *(pictures[i : i + stride] for i in range(1, len(pictures), stride))):
            yield from decode(encode(np.stack(block)))


def _check(generator: Generator, extras: Sequence[str]) -> None:
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise ValueError(f"what stands beside the model must be among {', '.join(EXTRAS)}, got {unknown[0]!r}")
    for name in {"model_with_static_scene", "model_with_fused_scene"} & set(extras):
        if not generator.config.static_scene:
            raise ValueError(f"{name} needs a model that knows static scenes; {generator.config.name} does not")


def _stream(
    generator: Generator, episode: HeldOutEpisode, seed: int, table_height_m: float | None, ground_every_s: float | None = None
) -> Iterator[Image]:
    """What a live session answers; only the first picture is shown to it, and those of whole blocks when it is time to ground it."""
    session = Session(generator, table_height_m=table_height_m)
    session.reset(seed=seed + episode.number)
    grounded_ns, block = episode.conditions[0].stamp_ns, []
    for index, condition in enumerate(episode.conditions):
        block.append(condition)
        frames = session.push(condition if index == 0 else replace(condition, image=None))
        yield from (frame.image for frame in frames)
        if frames and ground_every_s is not None and condition.stamp_ns - grounded_ns >= ground_every_s * 1e9:
            grounded_ns = condition.stamp_ns
            for seen in block:
                session.observe(picture_of(seen))
        block = [] if frames else block


def _answer_clips(teacher: Generator, episode: HeldOutEpisode, seed: int) -> Iterator[Image]:
    """What a teacher answers, clip after clip, from the conditions that a session would draw for it."""
    from h2w_ros.generator.clips import answered_clips

    own_seed, first = seed + episode.number, episode.conditions[0]
    drawer = ConditionDrawer(teacher.config, "squash", None, episode.table_height_m).begin(own_seed)
    scene = drawer.resize.picture(picture_of(first))
    drawer.take_picture(scene, first)
    return answered_clips(teacher, scene, [drawer.draw(condition) for condition in episode.conditions], own_seed)


def _without_static(episode: HeldOutEpisode) -> HeldOutEpisode:
    return replace(episode, conditions=[replace(condition, static_render=None) for condition in episode.conditions])


def as_if_still(episode: HeldOutEpisode) -> HeldOutEpisode:
    """The episode as if its camera stayed where it was first: hands are where they are in each picture, and nothing tells how the camera moves."""
    first = episode.conditions[0].T_world_camera
    conditions = []
    for condition in episode.conditions:
        T_still_world = first @ invert(condition.T_world_camera)
        hands = tuple(replace(hand, T_world_wrist=T_still_world @ hand.T_world_wrist) for hand in condition.hands)
        conditions.append(replace(condition, T_world_camera=first, hands=hands))
    return replace(episode, conditions=conditions)


def _static_scenes(episode: HeldOutEpisode) -> list[Image]:
    renders = [condition.static_render for condition in episode.conditions]
    if any(render is None for render in renders):
        raise ValueError("static_scene needs the untouched scene's render at every moment, and this episode lacks some; leave it out of --also")
    return [render for render in renders if render is not None]

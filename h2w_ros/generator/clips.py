"""A teacher at work: clip after clip of one stream, each begun by the last picture of the one before (see `bidirectional`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from h2w_ros.condition import Image
from h2w_ros.generator.bidirectional import WholeClip, integrate
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.drawn import DrawnCondition, dressed_hands, packed_rays, static_scenes
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.generator.schedule import draw_noise, steps


@torch.inference_mode()
def answered_clips(teacher: Generator, scene: Image, drawn: Sequence[DrawnCondition], seed: int) -> Iterator[UInt8[ndarray, "H W 3"]]:
    """The scene as the codec shows it, and the pictures that answer all conditions after the first, which is the scene's.

    ValueError for a network that streams.
    """
    num_frames = _clip_frames(teacher)
    reference, decode = teacher.codec.encoder_stream()(scene[None]), teacher.codec.decoder_stream()
    yield from decode(reference)
    for number, first in enumerate(range(0, len(drawn) - 1, num_frames - 1)):
        clip = drawn[first : first + num_frames]
        latents = _answer(teacher, reference, _conditions(teacher, clip, drawn[first - 1] if first else None), (seed, number))
        yield from decode(latents)
        reference = latents[:, :, -1:]


def _clip_frames(teacher: Generator) -> int:
    if teacher.config.clip_frames is None:
        raise ValueError(f"a teacher answers whole clips (clip_frames in its config), and {teacher.config.name} streams")
    return teacher.config.clip_frames


def _conditions(teacher: Generator, clip: Sequence[DrawnCondition], before: DrawnCondition | None) -> BlockConditions:
    """What a clip's network is shown; nobody else draws on these encoders, so each clip has its own."""
    encode, config = teacher.codec.encoder_stream, teacher.config
    static, coloured = static_scenes(clip) if config.static_scene else None, dressed_hands(clip)
    return BlockConditions(
        encode()(np.stack([moment.control for moment in clip])),
        packed_rays(clip, before, config.codec.temporal_stride),
        None if static is None else encode()(np.stack(static)),
        None,
        None if coloured is None else encode()(np.stack(coloured)),
    )


def _answer(teacher: Generator, reference: Tensor, conditions: BlockConditions, key: tuple[int, int]) -> Tensor:
    """All frames of a clip but its reference: from noise along the flow, by the steps of the teacher's rollout."""
    rollout = teacher.config.rollout
    sigmas = [*(step.sigma for step in steps(rollout.timesteps, rollout.shift)), 0.0]
    seed, number = key
    noise = draw_noise((seed,), number, 0, tuple(conditions.control[:, :, 1:].shape[1:])).to(reference)
    return integrate(WholeClip(teacher.transformer, teacher.config, reference, conditions).clean, noise, sigmas)

"""Several futures of one stream as one batch: the common past is copied, never computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.drawn import DrawnCondition, dressed_hands, moved_places, packed_rays, static_scenes
from h2w_ros.generator.pixels import Decode, Encode
from h2w_ros.generator.rollout import BlockConditions, Rollout


@dataclass(frozen=True, eq=False)
class BranchedCodec:
    """Codec streams that go on where one stream was: of candidates for hands and static scenes, of candidates times seeds for pictures."""

    encode_hands: Encode
    encode_static: Encode
    decode: Decode


class StreamBranches:
    """C candidates, each with S seeds, that advance together; a batch of C x S, candidate by candidate."""

    def __init__(
        self, config: GeneratorConfig, rollout: Rollout, codec: BranchedCodec, num_candidates: int, first: DrawnCondition, last: DrawnCondition
    ) -> None:
        """`first` and `last` are the conditions at the stream's start and of its newest frame."""
        self._config, self._rollout, self._codec = config, rollout, codec
        self._first_drawn, self._last_drawn = [first] * num_candidates, [last] * num_candidates
        self._num_seeds = len(rollout.seeds) // num_candidates
        self._unsettled = False

    @torch.inference_mode()
    def step(self, blocks: Sequence[Sequence[DrawnCondition]]) -> UInt8[ndarray, "C S T H W 3"]:
        """The pictures that answer one full block of conditions a candidate."""
        if self._unsettled:
            self._rollout.commit()
        latents = self._rollout.generate(self._conditions(blocks))
        if not torch.isfinite(latents).all():
            raise FloatingPointError(f"block {self._rollout.num_blocks} of a candidate came out with numbers that are not finite")
        self._unsettled = True
        pictures = self._codec.decode(latents)
        return pictures.reshape(len(blocks), self._num_seeds, *pictures.shape[1:])

    def _conditions(self, blocks: Sequence[Sequence[DrawnCondition]]) -> BlockConditions:
        """What is drawn and encoded once a candidate, for all its seeds."""
        control = self._codec.encode_hands(_stacked([[drawn.control for drawn in block] for block in blocks]))
        last, self._last_drawn = self._last_drawn, [block[-1] for block in blocks]
        rays, stride = None, self._config.codec.temporal_stride
        if self._rollout.hears_rays:
            rays = torch.cat([packed_rays(block, before, stride) for block, before in zip(blocks, last, strict=True)])
        scenes = [static_scenes(block) for block in blocks] if self._config.static_scene else []
        known = [scene for scene in scenes if scene is not None]
        static = self._codec.encode_static(_stacked(known)) if len(known) == len(blocks) else None
        places = moved_places(self._config, [block[0] for block in blocks], last, self._first_drawn)
        coloured = [pictures for pictures in map(dressed_hands, blocks) if pictures is not None]
        dressed = self._codec.encode_hands(_stacked(coloured)) if coloured else None
        return BlockConditions(control, rays, static, places, dressed).repeated(self._num_seeds)


def _stacked(clips: Sequence[Sequence[Image]]) -> UInt8[ndarray, "N T H W 3"]:
    return np.stack([np.stack(clip) for clip in clips])

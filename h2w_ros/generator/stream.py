"""The network's side of one live session: codec and rollout, driven picture by picture.

`step` answers as soon as pixels exist; `settle` then writes the answer into the context, while codec and transport are
busy elsewhere. Whoever forgets to settle pays for it in the next step, never with another result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from h2w_ros.condition import Image
from h2w_ros.generator.branches import BranchedCodec, StreamBranches
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.drawn import DrawnCondition, dressed_hands, moved_places, packed_rays, static_scenes
from h2w_ros.generator.rollout import BlockConditions, Rollout

Pictures = UInt8[ndarray, "T H W 3"]


class GeneratorStream:
    """One stream of predicted pictures. `stages_ms` holds how long each stage of the last step took, and of what followed it."""

    def __init__(self, generator: Generator, seed: int) -> None:
        self.config = generator.config
        self.stages_ms: dict[str, float] = {}
        self.num_frames = 0
        self._codec = generator.codec
        self._rollout = Rollout(generator.transformer, generator.config.rollout, seeds=(seed,), text=generator.text)
        self._encode_hands, self._encode_static = (generator.codec.encoder_stream() for _ in range(2))
        self._decode = generator.codec.decoder_stream()
        self._first_drawn: DrawnCondition | None = None
        self._last_drawn: DrawnCondition | None = None
        self._last_latents: Tensor | None = None
        self._recent: list[Image] = []  # the pictures of the last latent, and the one before them
        self._unsettled = False

    @torch.inference_mode()
    def start(self, scene: Image, drawn: DrawnCondition) -> Image:
        """Begins with the scene; returns it as the codec shows it."""
        self._first_drawn, self.stages_ms = drawn, {}
        with self._stage("encode"):
            reference = self._codec.encoder_stream()(scene[None])
            conditions = self._conditions([drawn])
        with self._stage("commit"):
            self._rollout.start(reference, conditions)
        self._last_latents = reference
        return self._show(reference)[0]

    @torch.inference_mode()
    def step(self, block: Sequence[DrawnCondition]) -> Pictures:
        """The pictures that answer a full block of conditions."""
        self.stages_ms = {}
        self.settle()
        with self._stage("encode"):
            conditions = self._conditions(block)
        with self._stage("generate"):
            self._last_latents = self._rollout.generate(conditions)
        if not torch.isfinite(self._last_latents).all():
            raise FloatingPointError(f"block {self._rollout.num_blocks} came out with numbers that are not finite; reset the session")
        self._unsettled = True
        return self._show(self._last_latents)

    @torch.inference_mode()
    def settle(self) -> None:
        """Writes the last answer into the context, if that is still to do."""
        if self._unsettled:
            with self._stage("commit"):
                self._rollout.commit()
            self._unsettled = False

    @torch.inference_mode()
    def branch(self, num_candidates: int, seeds: Sequence[int]) -> StreamBranches:
        """Candidates that go on from here, each once a seed, in one batch; this stream answers as if they had never been."""
        if self._first_drawn is None or self._last_drawn is None:
            raise ValueError("nothing to branch from: the stream has no reference yet")
        self.settle()
        num_streams = num_candidates * len(seeds)
        codec = BranchedCodec(self._encode_hands.branch(num_candidates), self._encode_static.branch(num_candidates), self._decode.branch(num_streams))
        rollout = self._rollout.branch([*seeds] * num_candidates)
        return StreamBranches(self.config, rollout, codec, num_candidates, self._first_drawn, self._last_drawn)

    @torch.inference_mode()
    def ground(self, seen: Pictures) -> None:
        """What was really seen takes the place of the last latent in the context: as many pictures as that latent holds."""
        if self._last_latents is None:
            raise ValueError("nothing to ground: the stream has no reference yet")
        with self._stage("encode"):
            latents = torch.cat([self._last_latents[:, :, :-1], self._encode_seen(seen)], dim=2)
        with self._stage("commit"):
            self._rollout.commit(latents) if self._unsettled else self._rollout.replace(latents)
        self._unsettled = False
        self._last_latents, self._recent = latents, [*self._recent[: -len(seen)], *seen]

    def _encode_seen(self, seen: Pictures) -> Tensor:
        """The latent of what was seen. A causal codec is given the picture before it as its past."""
        encode = self._codec.encoder_stream()
        if self.config.codec.temporal_stride > 1 and len(self._recent) > len(seen):
            encode(self._recent[0][None])
        return encode(seen).float()

    def _conditions(self, block: Sequence[DrawnCondition]) -> BlockConditions:
        """Encoded hands, packed rays, and the encoded static scene where it is known for the whole block."""
        control = self._encode_hands(np.stack([drawn.control for drawn in block]))
        known = static_scenes(block) if self.config.static_scene else None
        static = None if known is None else self._encode_static(np.stack(known))
        last, self._last_drawn = self._last_drawn, block[-1]
        rays = packed_rays(block, last, self.config.codec.temporal_stride) if self._rollout.hears_rays else None
        places = None if last is None or self._first_drawn is None else moved_places(self.config, block[:1], [last], [self._first_drawn])
        coloured = dressed_hands(block)
        dressed = None if coloured is None else self._encode_hands(np.stack(coloured))  # such networks' codecs keep nothing in mind
        return BlockConditions(control, rays, static, places, dressed)

    def _show(self, latents: Tensor) -> Pictures:
        with self._stage("decode"):
            pictures = self._decode(latents)
        self._recent = [*self._recent, *pictures][-1 - self.config.codec.temporal_stride :]
        self.num_frames += len(pictures)
        return pictures

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + 1e3 * (time.perf_counter() - began)

"""The network's side of one live session: codec and rollout, driven picture by picture.

`step` answers as soon as pixels exist; `settle` then writes the answer into the context, while codec and transport are
busy elsewhere. Whoever forgets to settle pays for it in the next step, never with another result. Nor does it change any result whether the
next block was `expect`ed: what was generated early is taken back where another one comes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

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

log = logging.getLogger(__name__)

Pictures = UInt8[ndarray, "T H W 3"]


@dataclass(frozen=True, eq=False)
class _Expected:
    """A block that will probably be the next; its latents where they were generated early, and the condition before it."""

    block: tuple[DrawnCondition, ...]
    before: DrawnCondition | None = None
    latents: Tensor | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)


class GeneratorStream:
    """One stream of predicted pictures. `stages_ms` holds how long each stage of the last step took, and of what followed it."""

    def __init__(self, generator: Generator, seed: int) -> None:
        self.config = generator.config
        if self.config.clip_frames is not None:
            raise ValueError(f"{self.config.name} answers whole clips and does not stream: it is a teacher, for `h2w evaluate --teacher`")
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
        self._expected: _Expected | None = None

    @torch.inference_mode()
    def start(self, scene: Image, drawn: DrawnCondition) -> Image:
        """Begins with the scene; returns it as the codec shows it."""
        self._first_drawn, self.stages_ms, self._expected = drawn, {}, None
        with _stage(self.stages_ms, "encode"):
            reference = self._codec.encoder_stream()(scene[None])
            conditions = self._conditions([drawn])
        with _stage(self.stages_ms, "commit"):
            self._rollout.start(reference, conditions)
        self._last_latents = reference
        return self._show(reference, self.stages_ms)[0]

    def step(self, block: Sequence[DrawnCondition] | None = None) -> Pictures:
        """The pictures that answer a full block of conditions; None is the block that was expected."""
        return self.begin(block)()

    @torch.inference_mode()
    def begin(self, block: Sequence[DrawnCondition] | None = None) -> Callable[[], Pictures]:
        """The first half of a step. The second half is what comes back: it decodes, and may run on another thread beside an `expect`."""
        ahead = self._expected if block is None else _Expected(tuple(block))
        if ahead is None:
            raise ValueError("no block is expected: step with one")
        if ahead.latents is None:
            self._take_back()
            ahead = self._generated(ahead.block)
        latents = ahead.latents
        assert latents is not None  # they have just been generated
        self._expected, self._last_latents, self.stages_ms = None, latents, ahead.stages_ms
        if not torch.isfinite(latents).all():
            raise FloatingPointError(f"block {self._rollout.num_blocks} came out with numbers that are not finite; reset the session")
        self._unsettled = True
        return partial(self._show, latents, ahead.stages_ms)

    @torch.inference_mode()
    def expect(self, block: Sequence[DrawnCondition], now: bool = True) -> None:
        """This block will probably be the next. It is generated `now`, if the codec can take that back."""
        self._take_back()
        self._expected = _Expected(tuple(block))
        if now and self._last_latents is not None and self.config.codec.kind == "folded":
            self.settle()
            before = self._last_drawn
            try:
                self._expected = self._generated(tuple(block), may_take_back=True)
            except Exception:  # it belongs to the step of this block, where it comes again if that is ever made
                log.exception("a block could not be generated before its turn")
                self._rollout.take_back()
                self._last_drawn = before

    def _generated(self, block: tuple[DrawnCondition, ...], may_take_back: bool = False) -> _Expected:
        """The next block with its latents."""
        self.settle()
        before, stages_ms = self._last_drawn, dict[str, float]()
        with _stage(stages_ms, "encode"):
            conditions = self._conditions(block)
        with _stage(stages_ms, "generate"):
            return _Expected(block, before, self._rollout.generate(conditions, may_take_back=may_take_back), stages_ms)

    def _take_back(self) -> None:
        """What was generated early is forgotten. The block is still expected."""
        ahead = self._expected
        if ahead is not None and ahead.latents is not None:
            self._rollout.take_back()
            self._last_drawn, self._expected = ahead.before, _Expected(ahead.block)

    @torch.inference_mode()
    def settle(self) -> None:
        """Writes the last answer into the context, if that is still to do."""
        if self._unsettled:
            with _stage(self.stages_ms, "commit"):
                self._rollout.commit()
            self._unsettled = False

    @torch.inference_mode()
    def branch(self, num_candidates: int, seeds: Sequence[int]) -> StreamBranches:
        """Candidates that go on from here, each once a seed, in one batch; this stream answers as if they had never been."""
        if self._first_drawn is None or self._last_drawn is None:
            raise ValueError("nothing to branch from: the stream has no reference yet")
        self._take_back()
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
        self._take_back()
        with _stage(self.stages_ms, "encode"):
            latents = torch.cat([self._last_latents[:, :, :-1], self._encode_seen(seen)], dim=2)
        with _stage(self.stages_ms, "commit"):
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

    @torch.inference_mode()
    def _show(self, latents: Tensor, stages_ms: dict[str, float]) -> Pictures:
        with _stage(stages_ms, "decode"):
            pictures = self._decode(latents)
        self._recent = [*self._recent, *pictures][-1 - self.config.codec.temporal_stride :]
        self.num_frames += len(pictures)
        return pictures


@contextmanager
def _stage(stages_ms: dict[str, float], name: str) -> Iterator[None]:
    """Adds the time that this takes."""
    began = time.perf_counter()
    yield
    stages_ms[name] = stages_ms.get(name, 0.0) + 1e3 * (time.perf_counter() - began)

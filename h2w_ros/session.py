"""One live session: conditions in, predicted frames out. Draws what the network sees and owns all run state.

A session is not thread-safe: one thread drives it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h2w_ros.branches import Branches
from h2w_ros.camera import ResizePolicy
from h2w_ros.condition import Condition, Image
from h2w_ros.conditioning import ConditionDrawer
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.drawn import DrawnCondition
from h2w_ros.generator.network_process import RemoteGenerator, RemoteStream
from h2w_ros.hands.render import HandRenderer
from h2w_ros.look_ahead import LookAhead


@dataclass(frozen=True, eq=False)
class PredictedFrame:
    """One frame of the answer: RGB at the model's size, and the stamp of the condition that it answers.

    `index` counts from the session's start; `is_reference` marks frame 0, the given scene as the codec shows it.
    """

    index: int
    stamp_ns: int
    image: Image
    is_reference: bool = False


class Session:
    """Predictions for one stream of conditions.

    `reset` begins a session; the first condition pushed after it is the reference's moment. Later conditions are
    collected until a block is full (one frame for `tiny`, four for Wan's stride-4 codec) and then answered at once.
    Call `settle` after an answer has been passed on: it does the work that the next answer needs and this one does not.
    With a generator in another process, `expect` draws the next condition while the network answers this one, and begins to answer it.
    `table_height_m` keeps the background in place; see `ConditionDrawer`.
    """

    def __init__(
        self,
        generator: Generator | RemoteGenerator,
        resize_policy: ResizePolicy = "squash",
        renderer: HandRenderer | None = None,
        table_height_m: float | None = None,
    ) -> None:
        self.config: GeneratorConfig = generator.config
        self._generator = generator
        self._drawing = LookAhead(ConditionDrawer(self.config, resize_policy, renderer, table_height_m))
        self._draw_ms = 0.0
        self.reset()

    def close(self) -> None:
        """Ends the network's process, where it has one; other sessions of this generator end with it."""
        if isinstance(self._generator, RemoteGenerator):
            self._generator.close()

    def reset(self, image: Image | None = None, seed: int = 0) -> None:
        """Forgets everything. `image` is the scene to begin from; None takes it from the first condition pushed."""
        self._scene = None if image is None else self.resized(image)
        self._stream = self._generator.stream(seed)
        self._drawing = LookAhead(self._drawing.drawer.begin(seed))
        self._pending: list[tuple[int, DrawnCondition]] = []
        self._seen: list[Image] = []
        self._drawn: Condition | None = None
        self._answered: Condition | None = None

    def push(self, condition: Condition) -> list[PredictedFrame]:
        """The frames that this condition completes: none while a block is filling up."""
        if self._stream.num_frames == 0:
            return [self._begin(condition)]
        self._pending.append((condition.stamp_ns, self._draw(condition)))
        return self._predict() if len(self._pending) == self.frames_per_block else []

    def expect(self, condition: Condition) -> bool:
        """This condition will probably be pushed next: where the network is in another process, it is drawn already, and answered as far
        as that can be taken back. Any thread may say so. Whether it has been begun."""
        stream = self._stream
        if not isinstance(stream, RemoteStream):
            return False
        self._drawing.expect(condition, lambda drawn: stream.expect((drawn,)) if self.frames_per_block == 1 else None)
        return True

    def settle(self) -> None:
        """Writes the last answer into the context, if that is still to do."""
        self._stream.settle()

    def observe(self, image: Image) -> None:
        """Grounds the session: what the camera really saw at the last answered frame replaces what was imagined.

        It takes effect at once where one latent is one picture. A stride-4 latent holds four pictures: observe those
        four in order, and the fourth takes effect; an incomplete set is dropped when the next block is answered.
        """
        if self._stream.num_frames == 0:
            raise ValueError("nothing to ground yet: push the reference's condition first")
        self._seen.append(self.resized(image))
        if len(self._seen) == self._pictures_of_last_latent:
            self._stream.ground(np.stack(self._seen))
            if self._answered is not None:
                self._drawing.take_picture(self._seen[-1], self._answered)
            self._seen = []

    def beside(self) -> Session:
        """Another session of the same generator, settings included, that has seen nothing."""
        other = copy.copy(self)
        other.reset()
        return other

    def branch(self, num_candidates: int, seeds: Sequence[int] = (0,)) -> Branches:
        """Candidates that go on after the last answered frame, each once a seed; this session answers as if they had never been.

        The context is copied as it is now. ValueError before the reference, and while conditions wait for their block to fill up.
        """
        if self._pending or num_candidates < 1 or not seeds:
            got = f"{len(self._pending)} waiting conditions, {num_candidates} candidates and {len(seeds)} seeds"
            raise ValueError(f"a session branches between blocks, into at least one candidate with at least one seed; got {got}")
        stream, drawer = self._stream.branch(num_candidates, seeds), self._drawing.drawer
        return Branches(stream, drawer, num_candidates, self.frames_per_block, self.config.rate_hz)

    def resized(self, picture: Image) -> Image:
        """The picture at the generator's size."""
        return self._drawing.drawer.resize.picture(picture)

    def hand_render(self, condition: Condition) -> Image:
        """The hands of this moment as the network would be shown them."""
        return self._drawing.drawer.hands(condition)

    @property
    def stages_ms(self) -> dict[str, float]:
        """How long each stage of the last push took, and of what followed it (settle, observe)."""
        return {"draw": self._draw_ms, **self._stream.stages_ms}

    @property
    def frames_per_block(self) -> int:
        """Conditions that one block answers, after the reference."""
        return self.config.rollout.latents_per_block * self.config.codec.temporal_stride

    @property
    def num_frames(self) -> int:
        """Frames answered since the session began."""
        return self._stream.num_frames

    @property
    def _pictures_of_last_latent(self) -> int:
        return 1 if self._stream.num_frames == 1 else self.config.codec.temporal_stride

    def _begin(self, condition: Condition) -> PredictedFrame:
        """Opens the stream with the scene and the condition of its moment."""
        scene = self._scene
        if scene is None:
            if condition.image is None:
                raise ValueError("a session needs a picture to begin from: reset(image=...), or a first condition with its image")
            scene = self.resized(condition.image)
        self._drawing.take_picture(scene, condition)
        picture = self._stream.start(scene, self._draw(condition))
        self._answered = self._drawn
        return PredictedFrame(0, condition.stamp_ns, picture, is_reference=True)

    def _predict(self) -> list[PredictedFrame]:
        """Answers the pending conditions."""
        first, (stamps_ns, block) = self._stream.num_frames, zip(*self._pending, strict=True)
        self._pending, self._seen = [], []
        pictures = self._stream.step(block)
        self._answered = self._drawn
        return [PredictedFrame(first + i, stamp_ns, pictures[i]) for i, stamp_ns in enumerate(stamps_ns)]

    def _draw(self, condition: Condition) -> DrawnCondition:
        """The condition as pictures and rays of the model's size."""
        began = time.perf_counter()
        drawn = self._drawing.draw(condition)
        self._drawn = condition
        self._draw_ms = 1e3 * (time.perf_counter() - began)
        return drawn

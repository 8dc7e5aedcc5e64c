"""One live session: conditions in, predicted frames out. Draws what the network sees and owns all run state.

A session is not thread-safe: one thread drives it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from h2w_ros.camera import Resize, ResizePolicy
from h2w_ros.condition import Camera, Condition, Image
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.stream import DrawnCondition, GeneratorStream
from h2w_ros.geometry import Transform
from h2w_ros.hands.render import HandRenderer
from h2w_ros.scene.table_photo import TablePhoto

View = tuple[Camera, Transform]


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

    With `table_height_m`, the table's height in a world whose z axis points up, a model that knows static scenes is shown
    the scene's photo laid on that table wherever a condition brings no static render of its own.
    """

    def __init__(
        self,
        generator: Generator,
        resize_policy: ResizePolicy = "squash",
        renderer: HandRenderer | None = None,
        table_height_m: float | None = None,
    ) -> None:
        self.config: GeneratorConfig = generator.config
        self._generator = generator
        self._resize = Resize(self.config.width_px, self.config.height_px, resize_policy)
        self._renderer = renderer or HandRenderer(style=self.config.hand_style)
        self._table_height_m = table_height_m if generator.config.static_scene else None
        self._draw_ms = 0.0
        self.reset()

    def reset(self, image: Image | None = None, seed: int = 0) -> None:
        """Forgets everything. `image` is the scene to begin from; None takes it from the first condition pushed."""
        self._scene = None if image is None else self._resize.picture(image)
        self._stream = GeneratorStream(self._generator, seed)
        self._rays = RayTrack(self.config.rays, self.config.width_px, self.config.height_px)
        self._pending: list[tuple[int, DrawnCondition]] = []
        self._seen: list[Image] = []
        self._photo: TablePhoto | None = None
        self._drawn_view: View | None = None
        self._answered_view: View | None = None

    def push(self, condition: Condition) -> list[PredictedFrame]:
        """The frames that this condition completes: none while a block is filling up."""
        self._stream.stages_ms.clear()
        if self._stream.num_frames == 0:
            return [self._begin(condition)]
        self._pending.append((condition.stamp_ns, self._draw(condition)))
        return self._predict() if len(self._pending) == self.frames_per_block else []

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
        self._seen.append(self._resize.picture(image))
        if len(self._seen) == self._pictures_of_last_latent:
            self._stream.ground(np.stack(self._seen))
            self._take_photo(self._seen[-1], self._answered_view)
            self._seen = []

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
            scene = self._resize.picture(condition.image)
        self._take_photo(scene, self._view_of(condition))
        picture = self._stream.start(scene, self._draw(condition))
        self._answered_view = self._drawn_view
        return PredictedFrame(0, condition.stamp_ns, picture, is_reference=True)

    def _predict(self) -> list[PredictedFrame]:
        """Answers the pending conditions."""
        first, (stamps_ns, block) = self._stream.num_frames, zip(*self._pending, strict=True)
        self._pending, self._seen = [], []
        pictures = self._stream.step(block)
        self._answered_view = self._drawn_view
        return [PredictedFrame(first + i, stamp_ns, pictures[i]) for i, stamp_ns in enumerate(stamps_ns)]

    def _draw(self, condition: Condition) -> DrawnCondition:
        """The condition as pictures and rays of the model's size; a ready-made hand render is taken as it is."""
        began = time.perf_counter()
        if condition.hand_render is not None:
            hands = self._resize.picture(condition.hand_render)
        else:
            hands = self._renderer.render(condition.hands, self._resize.camera(condition.camera), condition.T_world_camera)
        static = self._static_scene(condition)
        rays = self._rays.push(self._resize.kept(condition.camera), condition.T_world_camera)
        drawn = DrawnCondition(hands, rays, static)
        self._drawn_view = self._view_of(condition)
        self._draw_ms = 1e3 * (time.perf_counter() - began)
        return drawn

    def _static_scene(self, condition: Condition) -> Image | None:
        """The untouched scene from this camera: the condition's own render, else the photo on the table, else unknown."""
        if condition.static_render is not None:
            return self._resize.picture(condition.static_render)
        return None if self._photo is None else self._photo.render(*self._view_of(condition))

    def _take_photo(self, picture: Image, view: View | None) -> None:
        """From now on the table looks as in this picture, taken from this view."""
        if self._table_height_m is not None and view is not None:
            self._photo = TablePhoto(picture, *view, self._table_height_m)

    def _view_of(self, condition: Condition) -> View:
        """The camera at the model's size, and where it is."""
        return self._resize.camera(condition.camera), condition.T_world_camera

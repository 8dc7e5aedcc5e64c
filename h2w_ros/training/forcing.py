"""Teacher forcing: one sequence holds a clip's clean history and its noisy frames, and a mask says who sees whom.

The sequence is [reference | clean 1..m-1 | noisy k..m] with k = 1 where the clip starts right after the reference and
k = 2 where it starts later (then frame 1 is only history). Noisy frame i sees the reference, clean frames before i and
itself: what the streaming rollout's cache holds when it generates frame i (Causal Forcing, thu-ml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining

LEAST_CHANGE, FULL_CHANGE = 0.15, 0.6
"""Mean difference of latents from the untouched scene: from the first on something has changed there, at the second surely."""

Rows = Tensor | np.ndarray | int


@dataclass(frozen=True)
class Layout:
    """Which clip frame stands where in the sequence: 0 is the reference, 1..m the clip."""

    num_frames: int  # m
    first_noisy: int  # k
    first_position: int  # temporal position of clip frame 1

    @property
    def clean(self) -> range:
        """Clip frames that are given without noise."""
        return range(1, self.num_frames)

    @property
    def noisy(self) -> range:
        """Clip frames that are predicted from noise."""
        return range(self.first_noisy, self.num_frames + 1)

    @property
    def frames(self) -> list[int]:
        """Clip frame of every place in the sequence."""
        return [0, *self.clean, *self.noisy]

    @property
    def positions(self) -> Tensor:
        """Temporal position of every place in the sequence."""
        return torch.tensor([0 if frame == 0 else self.first_position + frame - 1 for frame in self.frames])

    @property
    def mask(self) -> np.ndarray:
        """Who (row) sees whom (column)."""
        frame = np.array(self.frames)
        is_clean = np.arange(len(frame)) < self.num_frames
        sees_history = is_clean[None, :] & (frame[None, :] < frame[:, None])
        return sees_history | np.eye(len(frame), dtype=bool)


@dataclass(frozen=True)
class ClipBatch:
    """B clips: latents (B, Z, 1 + m, h, w) of image, control, static (zero where `has_static` (B,) says no) and `dressed` hands, the
    `history` that predictions see (the images, or dreams of them), and the loss weight (B, 1, 1 + m, h, w).
    `index` (B, 1 + m) says which frames of which `episodes` (B,) they are."""

    image: Tensor
    history: Tensor
    control: Tensor
    static: Tensor
    dressed: Tensor | None
    has_static: Tensor
    weight: Tensor
    episodes: np.ndarray
    index: np.ndarray

    def part(self, clips: slice) -> ClipBatch:
        """Some of the clips."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[clips] for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class ClipGeometry:
    """What a batch's frames look from: rays (B, 6, 1 + m, H, W), and for the noisy ones where everything stood before."""

    rays: Tensor
    places: Tensor | None = None


def clip_geometry(source: ClipSource, model: GeneratorConfig, rays: ClipRays, batch: ClipBatch, layout: Layout) -> ClipGeometry:
    """That of a batch of the source whose rays these are."""
    return ClipGeometry(rays(batch.episodes, batch.index), batch_places(source, model, batch, layout))


def draw_layout(config: CausalTraining, window: int, sink: int, rng: np.random.Generator) -> Layout:
    """The layout of one step: early clips follow the reference, later ones fill the end of the window."""
    num_frames = int(rng.choice(config.clip_frames))
    if num_frames > window:
        raise ValueError(f"clip_frames must be at most the rollout's window of {window}, got {num_frames}")
    if rng.random() < config.first_frame_share:
        return Layout(num_frames, 1, sink)
    return Layout(num_frames, 2, sink + window - num_frames)


def draw_batch(
    source: ClipSource,
    layout: Layout,
    config: CausalTraining,
    rng: np.random.Generator,
    dreams: Mapping[int, Tensor] | None = None,
) -> ClipBatch:
    """Clips of random episodes at random offsets, frame 0 of each being its episode's reference.

    With `dreams` (episode -> latents of all its frames), clips come from those episodes and have the dreamt past.
    """
    episode_frames, choices = source.image.shape[1], np.array(list(dreams)) if dreams else np.arange(len(source.image))
    episodes = rng.choice(choices, config.batch_clips, replace=len(choices) < config.batch_clips)
    last_offset = episode_frames - 1 - layout.num_frames
    if last_offset < 1:
        raise ValueError(f"episodes must be longer than a clip by 2 frames at least, got {episode_frames} frames for clips of {layout.num_frames}")
    offsets = np.zeros(len(episodes), int) if layout.first_noisy == 1 else rng.integers(1, last_offset + 1, len(episodes))
    index = np.concatenate([np.zeros((len(episodes), 1), int), offsets[:, None] + np.arange(1, layout.num_frames + 1)], axis=1)
    batch = clips_at(source, episodes, index, config, rng)
    if not dreams:
        return batch
    pasts = [dreams[e][i] for e, i in zip(episodes.tolist(), torch.from_numpy(index), strict=True)]
    return replace(batch, history=torch.stack(pasts).float().transpose(1, 2))


def clips_at(source: ClipSource, episodes: np.ndarray, index: np.ndarray, config: CausalTraining, rng: np.random.Generator) -> ClipBatch:
    """The frames `index` (B, F) of `episodes` (B,); which scene each clip knows is drawn."""
    rows = torch.from_numpy(episodes)[:, None], torch.from_numpy(index)
    chosen = torch.from_numpy(rng.choice(3, len(episodes), p=config.scene_shares))  # photo, true static scene, nothing
    chosen[torch.from_numpy(~source.knows_scene[episodes])] = 2
    by_scene = torch.stack([source.photo[rows], source.static[rows], torch.zeros_like(source.static[rows])])
    image = source.image[rows].float().transpose(1, 2)
    return ClipBatch(
        image=image,
        history=image,
        control=source.hand[rows].float().transpose(1, 2),
        static=by_scene[chosen, torch.arange(len(episodes))].float().transpose(1, 2),
        dressed=None if source.dressed is None else source.dressed[rows].float().transpose(1, 2),
        has_static=(chosen < 2).to(image.device),
        weight=frame_weight(source, rows[0], rows[1], config),
        episodes=episodes,
        index=index,
    )


def frame_weight(source: ClipSource, episodes: Rows, index: Rows, config: CausalTraining) -> Tensor:
    """Loss weights of frames, (B, 1, F, h, w): more where hands are, objects that move, and what these have left; `index` one frame, or (B, F)."""
    hand, moved = source.hand_share[episodes, index].float(), source.object_share[episodes, index].float()
    change = (source.image[episodes, index] - source.static[episodes, index]).float().abs().mean(-3)
    changed = ((change - LEAST_CHANGE) / (FULL_CHANGE - LEAST_CHANGE)).clamp(0.0, 1.0) * (1.0 - hand)
    is_known = torch.from_numpy(source.knows_scene[np.asarray(episodes).reshape(-1)]).to(hand)
    changed = changed * is_known.reshape(-1, *[1] * (changed.ndim - 1))  # from what is not known nothing has changed
    weight = 1.0 + config.hand_weight * hand + config.object_weight * torch.maximum(moved, changed)
    return weight.reshape(len(weight), 1, -1, *weight.shape[-2:])


def batch_places(source: ClipSource, model: GeneratorConfig, batch: ClipBatch, layout: Layout) -> Tensor | None:
    """Where everything stood a frame before each noisy frame, (B, n, V, H, W, 2); None for models that don't ask."""
    frames = batch.index[:, list(layout.noisy)]
    rows = (np.repeat(x, frames.shape[1]) for x in (batch.episodes, batch.has_static.cpu().numpy()))
    episodes, has_static = rows
    places = source.places_since(model, episodes, frames.reshape(-1), has_static)
    return None if places is None else places.unflatten(0, frames.shape)

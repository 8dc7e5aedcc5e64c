"""The teacher: rectified flow over whole clips in which every frame sees every other.

Its conditions are the stream's (hands, rays, reference, and the static scene, which a share of the clips does without), so that one network
runs with and without a static scene, and every later stage may ask it about what the stream generates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from h2w_ros.generator.bidirectional import Denoise, WholeClip
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.generator.schedule import NUM_TIMESTEPS, renoised
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, TeacherTraining
from h2w_ros.training.forcing import ClipBatch, Layout, clips_at, draw_batch
from h2w_ros.training.precision import mixed_precision
from h2w_ros.training.processes import Processes, SharedRandom, weighted_mean

TEACHER = "-teacher"
TEACHER_STEPS = tuple(NUM_TIMESTEPS * (1.0 - step / 16) for step in range(16))


def teacher_of(model: GeneratorConfig, training: TeacherTraining) -> GeneratorConfig:
    """The teacher of a streaming model: the same transformer and conditions, without a refiner, which needs a finished frame before each.

    It predicts what is to be added to the static scene or the reference, with the hands in their colours over it for a model that is shown them.
    """
    network = replace(model.transformer, refiner=None, out_dim=model.codec.latent_channels)
    rollout = replace(model.rollout, prediction="residual", fold=1, timesteps=TEACHER_STEPS, first_block=None, shift=training.shift)
    named = replace(model, name=model.name + TEACHER, transformer=network, rollout=rollout)
    return replace(named, clip_frames=max(training.clip_frames), dressed_scene=model.dressed and model.static_scene)


def draw_clips(
    source: ClipSource, weights: CausalTraining, batch_clips: int, num_frames: int, rng: np.random.Generator, processes: Processes
) -> ClipBatch:
    """This process's part of a batch of clips that begin with their episodes; scene shares and loss weights are those of `weights`."""
    batch = draw_batch(source, Layout(num_frames - 1, 1, 1), replace(weights, batch_clips=batch_clips), rng)
    return batch.part(processes.part(batch_clips))


def draw_windows(
    source: ClipSource, weights: CausalTraining, batch_clips: int, num_frames: int, rng: np.random.Generator, processes: Processes
) -> ClipBatch:
    """The same from anywhere in their episodes, each clip's first frame being its reference; a share of them is from the beginning."""
    available = source.image.shape[1]
    if available < num_frames:
        raise ValueError(f"episodes must be as long as a clip, got {available} frames for clips of {num_frames}; take shorter clips (`clip_frames`)")
    episodes = rng.choice(len(source.image), batch_clips, replace=len(source.image) < batch_clips)
    offsets = rng.integers(0, available - num_frames + 1, batch_clips)
    offsets[rng.random(batch_clips) < weights.first_frame_share] = 0
    batch = clips_at(source, episodes, offsets[:, None] + np.arange(num_frames), weights, rng)
    return batch.part(processes.part(batch_clips))


def whole_clip(teacher: Transformer, model: GeneratorConfig, batch: ClipBatch, rays: ClipRays) -> WholeClip:
    """A batch as a teacher sees it; `model` is the teacher's."""
    conditions = BlockConditions(batch.control, rays(batch.episodes, batch.index), batch.static if model.static_scene else None, None, batch.dressed)
    return WholeClip(teacher, model, batch.image[:, :, :1], conditions, batch.has_static)


def draw_sigma(batch: int, shift: float, random: SharedRandom) -> Tensor:
    """Noise levels, one a clip, even before the shift, (B, 1, 1, 1, 1)."""
    even = 1.0 - random.even(batch, 1, 1, 1, 1)  # in (0, 1]: at 0 there is no flow to learn
    return shift * even / (1.0 + (shift - 1.0) * even)


def flow_loss(denoise: Denoise, truth: Tensor, sigma: Tensor, noise: Tensor, least_sigma: float, weight: Tensor, processes: Processes) -> Tensor:
    """Weighted mean squared error of the flow's velocity; near sigma 0, where it is a division by nothing, as if sigma were `least_sigma`."""
    clean = denoise(renoised(truth, sigma, noise), sigma)
    return weighted_mean(((clean - truth) / sigma.clamp(min=least_sigma)).square(), weight, processes)


def teacher_loss(
    teacher: Transformer, model: GeneratorConfig, config: TeacherTraining, batch: ClipBatch, rays: ClipRays, random: SharedRandom
) -> Tensor:
    """The teacher's error on a batch of clips."""
    truth = batch.image[:, :, 1:]
    sigma, noise = draw_sigma(len(truth), config.shift, random), random.normal(*truth.shape)
    clip = whole_clip(teacher, model, batch, rays)
    return flow_loss(clip.clean, truth, sigma, noise, config.least_sigma, batch.weight[:, :, 1:], random.processes)


@torch.no_grad()
def teacher_validation(
    teacher: Transformer, model: GeneratorConfig, source: ClipSource, config: TeacherTraining, weights: CausalTraining, most_clips: int = 16
) -> float:
    """The loss on kept-back episodes, the same clips and noise at every call."""
    rng, random = np.random.default_rng(0), SharedRandom(torch.Generator(source.image.device).manual_seed(0))
    batch = draw_windows(source, weights, min(most_clips, len(source.image)), max(config.clip_frames), rng, random.processes)
    with mixed_precision(source.image.device):
        return teacher_loss(teacher, model, config, batch, ClipRays(source, model), random).item()

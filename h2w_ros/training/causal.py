"""The causal stage's loss: rectified flow on noisy frames whose history is clean, corrupted or self-generated."""

from __future__ import annotations

import torch
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.memory import as_channels, empty_memory, moved_memory, remembered
from h2w_ros.generator.rollout import moved_past, previous_channels
from h2w_ros.generator.schedule import clean_from_output
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.config import CausalTraining
from h2w_ros.training.forcing import ClipBatch, ClipGeometry, Layout


def causal_loss(
    transformer: Transformer,
    model: GeneratorConfig,
    config: CausalTraining,
    batch: ClipBatch,
    geometry: ClipGeometry,
    layout: Layout,
    random: torch.Generator,
) -> Tensor:
    """Mean weighted squared error of the predicted clean latents.

    The network's own output may be a velocity; the loss is always on the x0 that the rollout would take from it.
    """
    stream = _Sequence(transformer, model, batch, geometry, layout)
    history = batch.history
    if torch.rand((), generator=random) < config.generated_history_share:
        num_passes = int(torch.randint(1, config.generated_passes + 1, (), generator=random))
        history = _with_generated_history(stream, history, num_passes, random)
    history = _corrupted(history, config.history_noise, random)
    sigma = _draw_sigma(batch.image.shape[0], len(layout.noisy), config, random)
    predicted, target = stream.predict(history, sigma, random)
    weight = batch.weight[:, :, list(layout.noisy)]
    return (weight * (predicted - target).square()).mean() / weight.mean()


def _draw_sigma(num_clips: int, num_frames: int, config: CausalTraining, random: torch.Generator) -> Tensor:
    """(B, m): 1 for a share of the frames, uniform above the lowest for the others; independent from frame to frame."""
    sigma = config.lowest_sigma + (1.0 - config.lowest_sigma) * torch.rand(num_clips, num_frames, generator=random)
    return torch.where(torch.rand(sigma.shape, generator=random) < config.pure_noise_share, torch.ones(()), sigma)


def _corrupted(history: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """History with noise of a strength drawn per clip, mostly little; the reference (frame 0) stays clean."""
    strength = largest * torch.rand(history.shape[0], 1, 1, 1, 1, generator=random).square()
    noise = strength * torch.randn(history.shape, generator=random)
    noise[:, :, 0] = 0
    return history + noise


@torch.no_grad()
def _with_generated_history(stream: _Sequence, history: Tensor, num_passes: int, random: torch.Generator) -> Tensor:
    """History whose predictable frames are the model's own one-step predictions instead of the truth.

    Each pass predicts from what the pass before it predicted, so errors grow over passes and frames as in a rollout.
    """
    frames, mixed = list(stream.layout.noisy), history.clone()
    for _ in range(num_passes):
        mixed[:, :, frames] = stream.predict(mixed, torch.ones(history.shape[0], len(frames)), random)[0].float()
    return mixed


class _Sequence:
    """A batch laid out as [reference | clean | noisy], ready for any history and noise levels."""

    def __init__(self, transformer: Transformer, model: GeneratorConfig, batch: ClipBatch, geometry: ClipGeometry, layout: Layout) -> None:
        self.transformer, self.model, self.batch, self.layout = transformer, model, batch, layout
        self._frames = layout.frames
        rays, self._places = geometry.rays, geometry.places_before
        ray_tokens = transformer.embed_rays(rays).unflatten(1, (rays.shape[2], -1))
        self._ray_tokens = ray_tokens[:, self._frames].flatten(1, 2)
        reference = torch.zeros_like(batch.image[:, :, self._frames])
        reference[:, :, 0] = batch.image[:, :, 0]
        conditions = [batch.control[:, :, self._frames], reference]
        if model.static_scene:
            conditions.append(batch.static[:, :, self._frames])
        self._conditions = torch.cat(conditions, dim=1)

    def predict(self, history: Tensor, sigma: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Predicted and true clean latents of the noisy frames, (B, Z, m, h, w); sigma (B, m)."""
        target = self.batch.image[:, :, list(self.layout.noisy)]
        noise_level = sigma[:, None, :, None, None]
        noisy = (1 - noise_level) * target + noise_level * torch.randn(target.shape, generator=random)
        clean = history[:, :, : self.layout.num_frames]
        latents = torch.cat([torch.cat([clean, noisy], dim=2), self._conditions], dim=1)
        t = torch.cat([torch.zeros(sigma.shape[0], clean.shape[2]), 1000.0 * sigma], dim=1)
        out = self.transformer(latents, t, ray_tokens=self._ray_tokens, positions=self.layout.positions, mask=self.layout.mask)
        inputs, before = latents[:, :, clean.shape[2] :], [frame - 1 for frame in self.layout.noisy]
        seen = previous_channels(history[:, :, before], self._conditions[:, :, before], self.batch.image[:, :, :1])
        seen, layers = self._past(seen, self.batch.static[:, :, list(self.layout.noisy)])
        output = self._refined(out[:, :, clean.shape[2] :], inputs, seen)
        return clean_from_output(self.model.rollout.prediction, output, noisy, noise_level, layers), target

    def _refined(self, drafts: Tensor, inputs: Tensor, seen: Tensor) -> Tensor:
        """The refined output of all noisy frames; a memory goes through them one after the other, and is empty before the first."""
        control, fold = self.batch.control[:, :, :1], self.model.rollout.fold
        memory = empty_memory(self.transformer.config.refiner, drafts)
        if memory is None:
            return self.transformer.refine(drafts, inputs, seen, control)[0].float()
        outputs = []
        for i in range(drafts.shape[2]):
            ways = moved_memory(memory, None if self._places is None else self._places[:, i : i + 1], fold)
            draft, inputs_now, seen_now = (part[:, :, i : i + 1] for part in (drafts, inputs, seen))
            output, noted = self.transformer.refine(draft, inputs_now, seen_now, control, as_channels(ways))
            outputs.append(output.float())
            assert ways is not None  # there is a memory
            memory = remembered(noted.float(), ways)
        return torch.cat(outputs, dim=2)

    def _past(self, previous: Tensor, static: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Rollout` has them: what the refiner sees of the frames before, and the layers of the output."""
        rollout, has_static = self.model.rollout, self.batch.has_static[:, None, None, None, None]
        if rollout.prediction != "layers":
            return previous, (torch.where(has_static, static, previous[:, : static.shape[1]]),)
        seen, (unknown, *moved) = moved_past(previous, None, self._places, rollout.fold)
        return seen, (torch.where(has_static, static, unknown), *moved)

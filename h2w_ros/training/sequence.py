"""The causal network on one sequence [reference | clean | noisy], ready for any history and noise: what it predicts of the noisy frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.dressed import dressed_layer
from h2w_ros.generator.motion import WAYS
from h2w_ros.generator.recall import Recall, recalled, seen_beside
from h2w_ros.generator.rollout import moved_past, previous_channels
from h2w_ros.generator.schedule import clean_from_output, layered
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.forcing import ClipBatch, ClipGeometry, Layout


class ClipSequence:
    """A batch of B clips with m noisy frames, and the network that sees it."""

    def __init__(self, transformer: Transformer, model: GeneratorConfig, batch: ClipBatch, geometry: ClipGeometry, layout: Layout) -> None:
        self.transformer, self.model, self.batch, self.layout = transformer, model, batch, layout
        self.target = batch.image[:, :, list(layout.noisy)]
        self._frames, self._rays, self._places = layout.frames, geometry.rays, geometry.places
        reference = torch.zeros_like(batch.image[:, :, self._frames])
        reference[:, :, 0] = batch.image[:, :, 0]
        conditions = [batch.control[:, :, self._frames], reference]
        if model.static_scene:
            conditions.append(batch.static[:, :, self._frames])
        self._conditions = torch.cat(conditions, dim=1)

    def predict(
        self, history: Float[Tensor, "B Z F h w"], noisy: Float[Tensor, "B Z m h w"], sigma: Float[Tensor, "B m"]
    ) -> Float[Tensor, "B Z m h w"]:
        """The clean latents of the noisy frames, float32; `history` holds the frames that they follow."""
        clean = history[:, :, : self.layout.num_frames]
        latents = torch.cat([torch.cat([clean, noisy], dim=2), self._conditions], dim=1)
        t = torch.cat([sigma.new_zeros(sigma.shape[0], clean.shape[2]), 1000.0 * sigma], dim=1)
        positions = self.layout.positions.to(noisy.device)
        transformed = self.transformer(latents, t, ray_tokens=self._ray_tokens(), positions=positions, mask=self.layout.mask)
        inputs, before = latents[:, :, clean.shape[2] :], [frame - 1 for frame in self.layout.noisy]
        seen = previous_channels(history[:, :, before], self._conditions[:, :, before], self.batch.image[:, :, :1])
        seen, layers = self._past(seen, self.batch.static[:, :, list(self.layout.noisy)])
        output, layers = self._refined(transformed[:, :, clean.shape[2] :], inputs, seen, layers)
        return clean_from_output(self.model.rollout.prediction, output, noisy, sigma[:, None, :, None, None], layers)

    def _refined(self, transformed: Tensor, inputs: Tensor, seen: Tensor, layers: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The refined output of all noisy frames, and its layers; what is kept in mind goes through the frames one after the other."""
        recall = self._recall_before()
        rays = self._rays[:, :, list(self.layout.noisy)]
        if recall is None:
            beside = seen_beside(self.transformer.config, None, rays, rays.device)
            return transformed.float() + self.transformer.refinement(inputs, seen, self.batch.control[:, :, :1], beside)[0].float(), layers
        frames = []
        for i in range(transformed.shape[2]):
            now = slice(i, i + 1)
            given = [layer[:, :, now] for layer in layers]
            dressed = self._dressed(self.layout.noisy[i], given[1])
            kept = recalled(recall, self._places_at(now), self.batch.image[:, :, :1], given, self.batch.has_static, dressed)
            own, inputs_now, seen_now = (part[:, :, now] for part in (transformed, inputs, seen))
            beside = seen_beside(self.transformer.config, kept, rays[:, :, now], rays.device)
            added, noted = self.transformer.refinement(inputs_now, seen_now, self.batch.control[:, :, :1], beside)
            output = own.float() + added.float()
            frames.append((output, kept.layers))
            recall = kept.after(layered(output, kept.layers)[1], noted.float())
        outputs, every_layer = zip(*frames, strict=True)
        return torch.cat(outputs, dim=2), tuple(torch.cat(layer, dim=2) for layer in zip(*every_layer, strict=True))

    def _recall_before(self) -> Recall | None:
        """What is kept in mind before the first noisy frame: a clip that does not begin with the reference is entered as if all had rested."""
        recall = Recall.at_start(self.transformer.config.refiner, self.batch.image[:, :, :1])
        first = self._places_at(slice(0, 1))
        if recall is None or first is None or self.layout.first_noisy == 1:
            return recall
        return recall.resting_since(first[:, 0, WAYS].to(self.batch.image))

    def _dressed(self, frame: int, resting: Tensor) -> Tensor | None:
        here = slice(frame, frame + 1)
        dressed = None if self.batch.dressed is None else self.batch.dressed[:, :, here]
        return dressed_layer(self.transformer.config.refiner, dressed, self.batch.control[:, :, here], resting)

    def _places_at(self, frames: slice) -> Tensor | None:
        return None if self._places is None else self._places[:, frames]

    def _ray_tokens(self) -> Tensor | None:
        if not self.transformer.config.add_control_adapter:
            return None
        tokens = self.transformer.embed_rays(self._rays).unflatten(1, (self._rays.shape[2], -1))
        return tokens[:, self._frames].flatten(1, 2)

    def _past(self, previous: Tensor, static: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Rollout` has them: what the refiner sees of the frames before, and the layers of the output."""
        rollout, has_static = self.model.rollout, self.batch.has_static[:, None, None, None, None]
        if rollout.prediction != "layers":
            return previous, (torch.where(has_static, static, previous[:, : static.shape[1]]),)
        seen, (unknown, *moved) = moved_past(previous, None, self._places, rollout.fold)
        return seen, (torch.where(has_static, static, unknown), *moved)

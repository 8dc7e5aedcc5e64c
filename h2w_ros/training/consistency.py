"""Consistency distillation: the student answers at once where the teacher's flow would end (2303.01469), block by block as streams do.

The teacher is the causal network itself, frozen, behind the same clean history; no flow is ever integrated. One Euler step of the teacher
leads from each noise level to the next, and the student's answers at both must agree (Causal Forcing++, thu-ml).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from h2w_ros.generator.bidirectional import Denoise, euler
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.schedule import renoised
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.causal import corrupted
from h2w_ros.training.config import CausalTraining, ConsistencyTraining
from h2w_ros.training.forcing import ClipBatch, ClipGeometry, Layout
from h2w_ros.training.processes import ALONE, Processes, SharedRandom, weighted_mean
from h2w_ros.training.sequence import ClipSequence


def consistency_loss(
    student: Denoise,
    later: Denoise,
    teacher: Denoise,
    truth: Tensor,
    noise: Tensor,
    levels: Float[Tensor, "L"],
    place: Int[Tensor, "..."],
    weight: Tensor,
    processes: Processes = ALONE,
) -> Tensor:
    """Weighted mean squared difference of the student's answer and what `later`, a slow copy of it, answers one step nearer to the end.

    `levels` fall from 1 to 0; `place` (broadcasts to the latents) says at which of them each frame is, the last excluded. At the end of the
    flow the teacher's step itself is the answer.
    """
    sigma, next_sigma = levels[place], levels[place + 1]
    noisy = renoised(truth, sigma, noise)
    with torch.no_grad():
        stepped = euler(noisy, teacher(noisy, sigma), sigma, next_sigma)
        wanted = torch.where(next_sigma > 0, later(stepped, next_sigma), stepped)
    return weighted_mean((student(noisy, sigma) - wanted).square(), weight, processes)


class CausalConsistency:
    """The loss on clips: student, slow copy and teacher behind the same history, every noisy frame at a noise level of its own."""

    def __init__(self, student: Transformer, teacher: Transformer, later: Transformer, model: GeneratorConfig) -> None:
        self._networks, self._model = (student, later, teacher), model

    def loss(
        self,
        config: ConsistencyTraining,
        weights: CausalTraining,
        batch: ClipBatch,
        geometry: ClipGeometry,
        layout: Layout,
        levels: Float[Tensor, "L"],
        random: SharedRandom,
    ) -> Tensor:
        """The loss of one batch; its history is the truth with `weights`' noise."""
        history = corrupted(batch.history, weights.history_noise, random)
        student, later, teacher = (self._denoiser(network, batch, geometry, layout, history) for network in self._networks)
        noise = random.normal(*batch.image[:, :, list(layout.noisy)].shape)
        place = (random.even(len(batch.image), 1, len(layout.noisy), 1, 1) * config.num_levels).long()
        weight = batch.weight[:, :, list(layout.noisy)]
        truth = batch.image[:, :, list(layout.noisy)]
        return consistency_loss(student, later, teacher, truth, noise, levels, place, weight, random.processes)

    def _denoiser(self, network: Transformer, batch: ClipBatch, geometry: ClipGeometry, layout: Layout, history: Tensor) -> Denoise:
        sequence = ClipSequence(network, self._model, batch, geometry, layout)
        return lambda noisy, sigma: sequence.predict(history, noisy, sigma[:, 0, :, 0, 0])


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, decay: float) -> None:
    """Moves the slow copy's weights a little towards those of the module."""
    for behind, ahead in zip(slow.parameters(), fast.parameters(), strict=True):
        behind.lerp_(ahead, 1.0 - decay)

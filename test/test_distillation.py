"""Distillation on toys whose right answer is known, and on the network's own streams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_transformer
from test_forcing import random_source
from torch import Tensor, nn

from h2w_ros.generator.bidirectional import integrate, noise_levels
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rollout import Rollout, roll_out
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, MatchingTraining, TeacherTraining
from h2w_ros.training.consistency import consistency_loss, follow
from h2w_ros.training.matching import DistributionMatching, matching_gradient, matching_loss, self_rollout, stopped_at, stream_conditions
from h2w_ros.training.processes import ALONE, SharedRandom
from h2w_ros.training.teacher import draw_clips, flow_loss, teacher_of

MODES, SPREAD = (-1.0, 2.0), 0.3
MODEL = preset("debug")
TWO_STEPS = replace(MODEL, rollout=replace(MODEL.rollout, timesteps=(1000.0, 500.0)))
SOURCE = random_source(MODEL)
PHOTO_ONLY = CausalTraining(photo_share=1.0, static_share=0.0)


def two_modes(x: Tensor, sigma: Tensor) -> Tensor:
    """The clean value that is expected behind x, for data that are one of two narrow Gaussians: the teacher of all toys."""
    variance = SPREAD**2 * (1 - sigma) ** 2 + sigma**2
    means = torch.tensor(MODES, dtype=x.dtype).view(2, *[1] * x.ndim)
    apart = x - (1 - sigma) * means
    chance = (-(apart**2) / (2 * variance)).softmax(0)
    return (chance * (means + SPREAD**2 * (1 - sigma) / variance * apart)).sum(0)


class Toy(nn.Module):
    """A small network of a value and its noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.expand_as(x)
        return self.layers(torch.cat([x, level, x * level, level.square()], dim=-1))


class LevelByLevel(nn.Module):
    """A line for each of a few noise levels: of Gaussian data, the flow's end is a line of where it begins."""

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self._levels = levels
        self.lines = nn.Parameter(torch.tensor([[0.0, 1.0]]).repeat(len(levels), 1))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        is_level = (sigma.expand_as(x) - self._levels).abs() < 1e-6
        offset, slope = (is_level.float() @ self.lines).split(1, dim=-1)
        return offset + slope * x


def test_a_consistency_student_answers_where_the_teachers_flow_ends() -> None:
    torch.manual_seed(0)
    levels, teacher = torch.tensor(noise_levels(8, 3.0)), gaussian(1.5, 0.4)
    student, slow = LevelByLevel(levels), LevelByLevel(levels)
    optimiser = torch.optim.Adam(student.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 300)
    for _ in range(300):
        truth, noise, place = 1.5 + 0.4 * torch.randn(512, 1), torch.randn(512, 1), torch.randint(8, (512, 1))
        loss = consistency_loss(student, slow, teacher, truth, noise, levels, place, torch.ones(512, 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        follow(slow, student, 0.8)
    noise = torch.linspace(-2, 2, 9)[:, None]
    ends = integrate(teacher, noise, noise_levels(8, 3.0))
    with torch.no_grad():
        torch.testing.assert_close(student(noise, torch.ones(())), ends, atol=0.05, rtol=0)
    assert (teacher(noise, torch.ones(())) - ends).abs().max() > 0.4  # one step of the teacher itself ends elsewhere


def test_at_the_end_of_the_flow_the_teachers_own_answer_is_wanted() -> None:
    truth, noise, levels = torch.randn(6, 1), torch.randn(6, 1), torch.tensor([1.0, 0.5, 0.0])
    loss = consistency_loss(two_modes, lambda x, _: x + 100.0, two_modes, truth, noise, levels, torch.ones(6, 1, dtype=torch.long), torch.ones(6, 1))
    assert loss.item() == pytest.approx(0.0, abs=1e-10)


def test_a_slow_copy_moves_by_its_share() -> None:
    slow, fast = nn.Linear(1, 1), nn.Linear(1, 1)
    begin, end = slow.weight.item(), fast.weight.item()
    follow(slow, fast, 0.75)
    assert slow.weight.item() == pytest.approx(0.75 * begin + 0.25 * end)


def gaussian(mean: Tensor | float, spread: Tensor | float):
    """The clean value expected behind x, for data N(mean, spread^2)."""

    def expected(x: Tensor, sigma: Tensor) -> Tensor:
        variance = spread**2 * (1 - sigma) ** 2 + sigma**2
        return mean + spread**2 * (1 - sigma) / variance * (x - (1 - sigma) * mean)

    return expected


def test_nothing_pulls_a_student_whose_distribution_is_the_teachers() -> None:
    sample, noise, sigma = 1.5 + 0.4 * torch.randn(500, 1), torch.randn(500, 1), torch.rand(500, 1)
    assert not matching_gradient(sample, gaussian(1.5, 0.4), gaussian(1.5, 0.4), sigma, noise).any()
    too_far_left = matching_gradient(sample - 1.0, gaussian(1.5, 0.4), gaussian(0.5, 0.4), sigma, noise)
    assert (too_far_left < 0).all()  # what is taken away: samples move to the right


def test_the_losss_gradient_is_the_one_given() -> None:
    sample, gradient = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    matching_loss(sample, gradient).backward()
    torch.testing.assert_close(sample.grad, gradient / 12)


def test_matching_finds_the_mean_and_the_spread_of_the_data() -> None:
    """The critic is exact here: it knows the student's own mean and spread."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = (torch.tensor(x, requires_grad=True) for x in (0.0, 1.0))
    optimiser = torch.optim.Adam([mean, spread], 0.03)
    for _ in range(250):
        sample = mean + spread * torch.randn(512, 1, generator=generator)
        sigma, noise = torch.rand(512, 1, generator=generator).clamp(0.02, 0.98), torch.randn(512, 1, generator=generator)
        with torch.no_grad():
            gradient = matching_gradient(sample, gaussian(1.5, 0.4), gaussian(mean, spread), sigma, noise)
        optimiser.zero_grad()
        matching_loss(sample, gradient).backward()
        optimiser.step()
    assert mean.item() == pytest.approx(1.5, abs=0.05)
    assert abs(spread.item()) == pytest.approx(0.4, abs=0.05)


@pytest.mark.slow
def test_matching_with_a_learned_critic_finds_both_modes() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    student, critic = Toy(), Toy()
    chosen = torch.optim.Adam(student.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 3e-3)

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        sample = student(torch.randn(256, 1, generator=generator), torch.ones(()))
        return sample, torch.rand(256, 1, generator=generator).clamp(0.02, 0.98), torch.randn(256, 1, generator=generator)

    for step in range(2400):
        sample, sigma, noise = drawn()
        if step % 4:
            loss = flow_loss(critic, sample.detach(), sigma, noise, 0.1, torch.ones(256, 1), ALONE)
        else:
            with torch.no_grad():
                gradient = matching_gradient(sample, two_modes, critic, sigma, noise)
            loss = matching_loss(sample, gradient)
        optimiser = chosen[int(step % 4 > 0)]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        sample = student(torch.randn(4000, 1, generator=generator), torch.ones(()))[:, 0]
    is_left = sample < 0.5
    assert 0.3 < is_left.float().mean() < 0.7
    for mode, own in zip(MODES, (sample[is_left], sample[~is_left]), strict=True):
        assert own.median().item() == pytest.approx(mode, abs=0.25)


def streamed(model=TWO_STEPS, seen: float = 0.0, seed: int = 0, transformer: Transformer | None = None) -> tuple[Tensor, Transformer]:
    """Two streams of four blocks."""
    batch = draw_clips(SOURCE, PHOTO_ONLY, 2, 5, np.random.default_rng(seed), ALONE)
    transformer = transformer or random_transformer(model.transformer)
    rollout = Rollout(transformer, model.rollout, (3, 4))
    is_seen = np.full((2, 4), seen > 0.5)
    return self_rollout(rollout, batch.image, stream_conditions(SOURCE, model, batch, ClipRays(SOURCE, model)), is_seen), transformer


def test_a_students_own_clip_is_what_a_session_would_stream() -> None:
    answers, transformer = streamed()
    batch = draw_clips(SOURCE, PHOTO_ONLY, 2, 5, np.random.default_rng(0), ALONE)
    conditions = stream_conditions(SOURCE, TWO_STEPS, batch, ClipRays(SOURCE, TWO_STEPS))
    expected = roll_out(Rollout(transformer, TWO_STEPS.rollout, (3, 4)), batch.image[:, :, :1], conditions)
    torch.testing.assert_close(answers, expected[:, :, 1:])


def test_frames_that_are_seen_become_the_past() -> None:
    own, seen = streamed()[0], streamed(seen=1.0)[0]
    assert torch.equal(own[:, :, 0], seen[:, :, 0])  # the first has no past of its own yet
    assert not torch.allclose(own[:, :, 1], seen[:, :, 1])


def test_gradients_reach_the_network_from_every_block_and_not_from_earlier_steps() -> None:
    transformer = random_transformer(TWO_STEPS.transformer).requires_grad_(True)
    answers, _ = streamed(transformer=transformer)
    for block in range(answers.shape[2]):
        transformer.zero_grad()
        answers[:, :, block].square().sum().backward(retain_graph=True)
        assert transformer.patch_embedding.weight.grad.abs().max() > 0


def test_a_rollout_stopped_early_takes_its_first_steps_only() -> None:
    rollout = replace(TWO_STEPS.rollout, timesteps=(1000.0, 750.0, 500.0), first_block=(1000.0, 250.0))
    assert stopped_at(rollout, 2).timesteps == (1000.0, 750.0)
    assert stopped_at(rollout, 1).first_block == (1000.0,)
    assert stopped_at(rollout, 3) == rollout


def matching(config: MatchingTraining | None = None) -> DistributionMatching:
    student, models = random_transformer(MODEL.transformer).requires_grad_(True), (MODEL, teacher_of(MODEL, TeacherTraining()))
    teacher = random_transformer(models[1].transformer, seed=1)
    config = config or MatchingTraining(batch_clips=2, clip_frames=(4,), critic_updates=1)
    random = SharedRandom(torch.Generator().manual_seed(0))
    return DistributionMatching(student, teacher, models, SOURCE, config, PHOTO_ONLY, np.random.default_rng(0), random)


def test_a_loss_teaches_the_critic_and_leaves_the_teacher_alone() -> None:
    lessons = matching()
    before = {name: value.clone() for name, value in lessons.critic.state_dict().items()}
    kept = {name: value.clone() for name, value in lessons._teacher.state_dict().items()}
    lessons.loss(1.0).backward()
    assert any(not torch.equal(value, before[name]) for name, value in lessons.critic.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in lessons._teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in lessons.critic.parameters())
    assert all(parameter.grad is None for parameter in lessons._teacher.parameters())
    assert lessons._student.patch_embedding.weight.grad.abs().max() > 0


def test_while_the_critic_is_the_teacher_the_student_is_not_pulled() -> None:
    lessons = matching(MatchingTraining(batch_clips=2, clip_frames=(4,), critic_updates=1, critic_learning_rate=1e-12))
    lessons.loss(1.0).backward()
    gradients = [parameter.grad.abs().max() for parameter in lessons._student.parameters() if parameter.grad is not None]
    assert max(gradients) < 1e-5


def test_the_past_turns_from_the_truth_to_the_students_own() -> None:
    lessons = matching(MatchingTraining(annealed_share=0.5))
    assert [lessons.clean_share(spent) for spent in (0.0, 0.25, 0.5, 1.0)] == [1.0, 0.5, 0.0, 0.0]

"""The teacher sees whole clips, learns the flow's velocity, and its flow ends where it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_transformer
from test_forcing import random_source

from h2w_ros.generator.bidirectional import WholeClip, euler, integrate, noise_levels
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.dressed import laid_over
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rollout import BlockConditions
from h2w_ros.generator.schedule import renoised
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, TeacherTraining
from h2w_ros.training.forcing import ClipBatch
from h2w_ros.training.processes import ALONE, SharedRandom
from h2w_ros.training.teacher import draw_clips, draw_sigma, draw_windows, flow_loss, teacher_loss, teacher_of, whole_clip

MODEL = teacher_of(preset("debug"), TeacherTraining(clip_frames=(4,)))
SOURCE = random_source(MODEL)
NUM_FRAMES = 5
HALF = torch.tensor(0.5)


def drawn(photo: float = 0.0, static: float = 1.0, clips: int = 2) -> ClipBatch:
    weights = CausalTraining(photo_share=photo, static_share=static)
    return draw_clips(SOURCE, weights, clips, NUM_FRAMES, np.random.default_rng(0), ALONE)


def predicted(batch: ClipBatch, noisy: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return whole_clip(random_transformer(MODEL.transformer), MODEL, batch, ClipRays(SOURCE, MODEL)).clean(noisy, HALF)


def known_alone(batch: ClipBatch, model: GeneratorConfig) -> torch.Tensor:
    """What is answered when the network adds nothing."""
    silent = random_transformer(model.transformer)
    torch.nn.init.zeros_(silent.head.head.weight)
    torch.nn.init.zeros_(silent.head.head.bias)
    noisy = torch.zeros(2, model.codec.latent_channels, NUM_FRAMES - 1, *model.latent_size)
    return whole_clip(silent, model, batch, ClipRays(SOURCE, model)).clean(noisy, HALF)


def test_a_teacher_has_its_students_conditions_and_no_refiner() -> None:
    student = preset("tiny")
    teacher = teacher_of(student, TeacherTraining())
    assert teacher.transformer.in_dim == student.transformer.in_dim
    assert teacher.transformer.refiner is None
    assert (teacher.rays, teacher.codec, teacher.static_scene) == (student.rays, student.codec, student.static_scene)


@pytest.mark.parametrize("changed", ["noisy", "control"])
def test_every_frame_sees_the_last_one(changed: str) -> None:
    batch = drawn()
    noisy = torch.randn(2, MODEL.codec.latent_channels, NUM_FRAMES - 1, *MODEL.latent_size, generator=torch.Generator().manual_seed(1))
    before = predicted(batch, noisy)
    (noisy if changed == "noisy" else batch.control)[:, :, -1] += 1.0
    moved = (predicted(batch, noisy) - before).abs().amax((0, 1, 3, 4))
    assert (moved > 1e-4).all()


def test_a_clip_without_a_static_scene_adds_to_its_reference_and_is_told_nothing_else() -> None:
    known, unknown = drawn(static=1.0), drawn(static=0.0)
    assert not unknown.static.any()
    bare = replace(MODEL, dressed_scene=False)
    torch.testing.assert_close(known_alone(known, bare), known.static[:, :, 1:])
    reference = unknown.image[:, :, :1]
    torch.testing.assert_close(known_alone(unknown, bare), reference.expand_as(unknown.image[:, :, 1:]))


@pytest.mark.parametrize("static", [0.0, 1.0])
def test_hands_in_their_colours_are_laid_over_the_scene_or_the_reference(static: float) -> None:
    batch = drawn(static=static)
    scene = batch.static if static else batch.image[:, :, :1].expand_as(batch.image)
    bare, dressed = (known_alone(batch, replace(MODEL, dressed_scene=is_dressed)) for is_dressed in (False, True))
    assert batch.dressed is not None
    torch.testing.assert_close(dressed, laid_over(scene, batch.dressed, batch.control)[:, :, 1:])
    assert not torch.allclose(bare, dressed)


def test_a_teacher_that_is_shown_dressed_hands_asks_for_them() -> None:
    with pytest.raises(ValueError, match=r"dressed_scene.*got none"):
        known_alone(replace(drawn(), dressed=None), MODEL)


@pytest.mark.parametrize("clip_frames", [None, 1])
def test_a_dressed_scene_is_for_clips(clip_frames: int | None) -> None:
    with pytest.raises(ValueError, match="clip_frames"):
        replace(MODEL, clip_frames=clip_frames)


@pytest.mark.parametrize("first_frame_share", [0.0, 1.0])
def test_clips_to_learn_from_begin_anywhere_in_their_episodes(first_frame_share: float) -> None:
    weights = CausalTraining(first_frame_share=first_frame_share)
    batches = [draw_windows(SOURCE, weights, 2, NUM_FRAMES, np.random.default_rng(seed), ALONE) for seed in range(60)]
    index = np.concatenate([batch.index for batch in batches])
    assert (np.diff(index, axis=1) == 1).all()
    last = SOURCE.image.shape[1] - NUM_FRAMES
    assert set(index[:, 0]) == ({0} if first_frame_share else set(range(last + 1)))
    batch = batches[0]
    torch.testing.assert_close(batch.image[0, :, 0], SOURCE.image[batch.episodes[0], batch.index[0, 0]].float())


def test_the_reference_is_never_noisy() -> None:
    """It is given clean at time 0 whatever the noise level of the others, so the teacher's own time embedding is all that differs."""
    batch, seen = drawn(), []
    teacher = random_transformer(MODEL.transformer)
    plain = teacher.forward
    teacher.forward = lambda latents, t, **rest: seen.append((latents, t)) or plain(latents, t, **rest)
    noisy = torch.randn(2, MODEL.codec.latent_channels, NUM_FRAMES - 1, *MODEL.latent_size)
    with torch.no_grad():
        whole_clip(teacher, MODEL, batch, ClipRays(SOURCE, MODEL)).clean(noisy, torch.tensor([0.3, 0.9]).view(2, 1, 1, 1, 1))
    latents, t = seen[0]
    assert torch.equal(latents[:, : MODEL.codec.latent_channels, 0], batch.image[:, :, 0])
    torch.testing.assert_close(t, torch.tensor([[0.0] + [300.0] * 4, [0.0] + [900.0] * 4]))


def test_the_loss_is_the_squared_error_of_the_velocity() -> None:
    truth, noise, sigma = torch.randn(3, 2, 4, 2, 2), torch.randn(3, 2, 4, 2, 2), torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1, 1, 1)
    velocity = torch.randn(3, 2, 4, 2, 2)
    loss = flow_loss(lambda x, s: x - s * velocity, truth, sigma, noise, 0.1, torch.ones(3, 1, 4, 2, 2), ALONE)
    torch.testing.assert_close(loss, (velocity - (noise - truth)).square().mean())


def test_noise_levels_are_never_zero_and_lean_to_noise() -> None:
    sigma = draw_sigma(4000, 3.0, SharedRandom(torch.Generator().manual_seed(0)))
    assert 0.0 < sigma.min() < sigma.max() <= 1.0
    assert sigma.median() == pytest.approx(3.0 * 0.5 / (1.0 + 2.0 * 0.5), abs=0.02)  # the shift of one half


def test_a_euler_step_to_no_noise_is_the_clean_answer_and_to_the_same_level_is_none() -> None:
    noisy, clean = torch.randn(4), torch.randn(4)
    torch.testing.assert_close(euler(noisy, clean, HALF, torch.tensor(0.0)), clean)
    torch.testing.assert_close(euler(noisy, clean, HALF, HALF), noisy)
    noise = torch.randn(4)
    torch.testing.assert_close(euler(renoised(clean, 0.8, noise), clean, torch.tensor(0.8), torch.tensor(0.3)), renoised(clean, 0.3, noise))


def test_the_flow_of_a_gaussian_ends_in_that_gaussian() -> None:
    """Of data N(m, s^2) the flow is known: it takes noise z to m + s z."""
    mean, spread = 1.5, 0.4

    def expected(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        gain = spread**2 * (1 - sigma) / (spread**2 * (1 - sigma) ** 2 + sigma**2)
        return mean + gain * (x - (1 - sigma) * mean)

    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(integrate(expected, noise, noise_levels(400, 3.0)), mean + spread * noise, atol=0.01, rtol=0)


def test_a_teacher_learns_one_clip_by_heart() -> None:
    torch.manual_seed(0)
    model = replace(MODEL, transformer=replace(MODEL.transformer, dim=48, num_layers=1))
    teacher = type(random_transformer(model.transformer))(model.transformer)
    batch, rays = drawn(clips=1), ClipRays(SOURCE, MODEL)
    optimiser = torch.optim.AdamW(teacher.parameters(), 4e-3)
    losses = []
    for step in range(40):
        loss = teacher_loss(teacher, model, TeacherTraining(least_sigma=0.5), batch, rays, SharedRandom(torch.Generator().manual_seed(step % 4)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


def test_a_whole_clip_needs_no_static_scene() -> None:
    batch = drawn()
    conditions = BlockConditions(batch.control, ClipRays(SOURCE, MODEL)(batch.episodes, batch.index), dressed=batch.dressed)
    clip = WholeClip(random_transformer(MODEL.transformer), MODEL, batch.image[:, :, :1], conditions)
    assert torch.isfinite(clip.clean(batch.image[:, :, 1:], HALF)).all()

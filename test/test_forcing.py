"""The teacher-forcing sequence tells each noisy frame exactly what a stream's cache would."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_transformer

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rays import RayTrack
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.generator.transformer import Transformer
from h2w_ros.geometry import rotation_from_axis_angle, transform
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.causal import causal_loss
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, DreamConfig
from h2w_ros.training.dreams import DreamBank
from h2w_ros.training.forcing import Layout, clip_geometry, draw_batch, draw_layout
from h2w_ros.training.processes import SharedRandom
from h2w_ros.training.sequence import ClipSequence


@pytest.fixture
def model() -> GeneratorConfig:
    return preset("tiny")


@pytest.fixture
def source(model: GeneratorConfig) -> ClipSource:
    return random_source(model)


def random_source(model: GeneratorConfig) -> ClipSource:
    generator = torch.Generator().manual_seed(0)
    shape = (3, 20, model.codec.latent_channels, *model.latent_size)
    latents = [torch.randn(shape, generator=generator).clamp(-2, 2).bfloat16() for _ in range(5)]
    shares = [torch.rand(3, 20, *model.latent_size, generator=generator) for _ in range(2)]
    T_world_camera = np.tile(np.eye(4), (3, 20, 1, 1))
    T_world_camera[:, :, 0, 3] = 0.01 * np.arange(20)
    cameras = np.tile([128.0, 96.0, 100.0, 100.0, 64.0, 48.0], (3, 1))
    return ClipSource(*latents, *shares, T_world_camera, waving_right_hands(3, 20), cameras, np.ones(3, bool), np.zeros(3, int))


def waving_right_hands(num_episodes: int, num_frames: int) -> torch.Tensor:
    grips = torch.full((num_episodes, num_frames, 2, 4, 4), torch.nan)
    grips[:, :, 1] = torch.eye(4)
    grips[:, :, 1, :3, 3] = torch.tensor([0.0, 0.0, 0.5]) + torch.arange(num_frames)[:, None] * torch.tensor([0.02, -0.01, 0.01])
    return grips


def test_a_noisy_frame_sees_the_reference_clean_history_and_itself() -> None:
    layout = Layout(num_frames=3, first_noisy=1, first_position=1)
    assert layout.frames == [0, 1, 2, 1, 2, 3]
    assert layout.mask[5].tolist() == [True, True, True, False, False, True]
    assert layout.mask[3].tolist() == [True, False, False, True, False, False]
    assert layout.mask[2].tolist() == [True, True, True, False, False, False]


def test_both_copies_of_a_frame_share_their_position() -> None:
    layout = Layout(num_frames=3, first_noisy=2, first_position=6)
    assert layout.positions.tolist() == [0, 6, 7, 7, 8]


def test_later_clips_end_where_a_full_window_ends(model: GeneratorConfig) -> None:
    config, rng = CausalTraining(first_frame_share=0.0), np.random.default_rng(0)
    layouts = [draw_layout(config, model.rollout.window, model.rollout.sink, rng) for _ in range(8)]
    assert {int(layout.positions[-1]) for layout in layouts} == {model.rollout.capacity - 1}


def test_a_clip_longer_than_the_window_is_refused(model: GeneratorConfig) -> None:
    with pytest.raises(ValueError, match="window"):
        draw_layout(CausalTraining(clip_frames=(9,)), model.rollout.window, model.rollout.sink, np.random.default_rng(0))


@pytest.mark.parametrize("first_noisy", [1, 2])
def test_a_batch_holds_frame_zero_as_reference_and_consecutive_frames(model: GeneratorConfig, source: ClipSource, first_noisy: int) -> None:
    config = CausalTraining(batch_clips=5, photo_share=0.0, static_share=0.0)
    batch = draw_batch(source, Layout(4, first_noisy, 1), config, np.random.default_rng(1))
    assert batch.image.shape == (5, model.codec.latent_channels, 5, *model.latent_size)
    references = source.image[:, 0].float()
    assert all(any(torch.equal(clip[:, 0], reference) for reference in references) for clip in batch.image)
    assert not batch.static.any()
    assert not batch.has_static.any()


def test_rays_of_a_later_clip_are_those_of_the_running_stream(model: GeneratorConfig, source: ClipSource) -> None:
    """The camera moves at constant speed, so after the first frame all frames have the same rays."""
    batch = draw_batch(source, Layout(4, 2, 1), CausalTraining(batch_clips=1), np.random.default_rng(1))
    reference, *clip = ClipRays(source, model)(batch.episodes, batch.index)[0].unbind(1)
    assert not reference[:3].any()
    assert all(torch.allclose(frame, clip[0], atol=1e-6) for frame in clip)
    assert clip[0][:3].abs().max() > 0.01


def test_rays_of_many_frames_at_once_are_those_of_a_stream(model: GeneratorConfig, source: ClipSource) -> None:
    rng = np.random.default_rng(0)
    turning = np.stack([transform(rotation_from_axis_angle(0.02 * rng.normal(size=3)), rng.normal(size=3) * 0.01) for _ in range(60)])
    source = replace(source, T_world_camera=turning.reshape(3, 20, 4, 4), cameras=np.array([[256.0, 144.0, 150.0, 140.0, 120.0, 80.0]] * 3))
    index = np.array([[0, 7, 8], [0, 1, 19]])
    together = ClipRays(source, model)(np.array([2, 0]), index)
    for clip, episode, frames in zip(together, (2, 0), index, strict=True):
        track = RayTrack(model.rays, model.width_px, model.height_px)
        streamed = [track.push(source.camera(episode), pose).plucker for pose in source.T_world_camera[episode]]
        expected = torch.from_numpy(np.stack([streamed[frame] for frame in frames])).permute(3, 0, 1, 2)
        torch.testing.assert_close(clip, expected.float(), atol=1e-6, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("scene", "rays"), [("photo", False), ("true", False), ("unknown", False), ("photo", True)])
def test_training_predicts_what_the_stream_generates(scene: str, rays: bool) -> None:
    """From pure noise, behind a true history: every noisy frame of the one long sequence, and the stream block by block."""
    model = preset("debug")
    network = replace(model.transformer, refiner=replace(model.transformer.refiner, rays=rays))
    model = replace(model, transformer=network, rollout=replace(model.rollout, timesteps=(1000.0,)))
    config = CausalTraining(batch_clips=1, photo_share=float(scene == "photo"), static_share=float(scene == "true"))
    layout = Layout(model.rollout.window, 1, model.rollout.sink)
    source = random_source(model)
    batch = draw_batch(source, layout, config, np.random.default_rng(0))
    geometry = clip_geometry(source, model, ClipRays(source, model), batch, layout)
    transformer = random_transformer(model.transformer)

    num_frames = layout.num_frames
    noises = torch.randn(1, model.codec.latent_channels, num_frames, *model.latent_size, generator=torch.Generator().manual_seed(5))
    predicted = ClipSequence(transformer, model, batch, geometry, layout).predict(batch.image, noises, torch.ones(1, num_frames))
    still = torch.zeros_like(geometry.places[:, :1])  # the reference's: never looked at
    places = torch.cat([still, geometry.places], dim=1)
    conditions = BlockConditions(batch.control, geometry.rays, batch.static if scene != "unknown" else None, places, batch.dressed)
    rollout = Rollout(transformer, model.rollout)
    rollout.start(batch.image[:, :, :1], conditions.part(0, 1))
    for i in range(num_frames):
        generated = rollout.generate(conditions.part(i + 1, i + 2), [noises[:, :, i : i + 1]])
        torch.testing.assert_close(generated, predicted[:, :, i : i + 1], atol=1e-4, rtol=1e-4)
        rollout.commit(batch.image[:, :, i + 1 : i + 2])


def test_a_network_that_begins_knows_what_stays_as_it_was() -> None:
    """An output of zero is nearly all what is known: for a frame that does not change, nearly the answer."""
    model = preset("debug")
    source = random_source(model)
    still = replace(source, image=source.image[:, :1].expand_as(source.image).contiguous())
    config = CausalTraining(batch_clips=2, photo_share=0.0, static_share=0.0, generated_history_share=0.0, history_noise=0.0)
    layout = Layout(3, 1, 1)
    transformer = random_transformer(model.transformer)
    for output in (transformer.head.head, transformer.refiner.conv_out):
        torch.nn.init.zeros_(output.weight)
        torch.nn.init.zeros_(output.bias)
    losses = []
    for episodes in (still, source):
        batch = draw_batch(episodes, layout, config, np.random.default_rng(0))
        geometry = replace(clip_geometry(episodes, model, ClipRays(episodes, model), batch, layout), places=None)  # nothing moves
        losses.append(causal_loss(transformer, model, config, batch, geometry, layout, SharedRandom(torch.Generator().manual_seed(0))).item())
    assert losses[0] < 0.01 * losses[1]


def test_an_episode_shorter_than_its_clips_is_refused() -> None:
    model = preset("debug")
    with pytest.raises(ValueError, match="got 20 frames for clips of 19"):
        draw_batch(random_source(model), Layout(19, 1, 1), CausalTraining(batch_clips=1), np.random.default_rng(0))


def test_dreams_are_the_streaming_rollout_and_become_the_past_of_a_clip(source: ClipSource) -> None:
    model = preset("debug")
    torch.manual_seed(0)
    shape = (3, 6, model.codec.latent_channels, *model.latent_size)
    latents = [torch.randn(shape).bfloat16() for _ in range(5)]
    shares = [torch.rand(3, 6, *model.latent_size) for _ in range(2)]
    small = ClipSource(
        *latents, *shares, source.T_world_camera[:, :6], source.T_world_grips[:, :6], source.cameras, source.knows_scene, source.num_carried
    )
    bank = DreamBank(small, model, DreamConfig(from_step=2, every_steps=5, episodes_at_once=2, episodes_kept=2, limit=3.0))
    assert not bank.is_due(1)
    assert bank.is_due(2)
    bank.dream(Transformer(model.transformer), np.random.default_rng(0))
    assert len(bank.latents) == 2
    assert not bank.is_due(6)
    episode, dreamt = next(iter(bank.latents.items()))
    assert torch.equal(dreamt[0], small.image[episode, 0].float())
    assert dreamt.abs().max() <= 3.0
    batch = draw_batch(small, Layout(3, 1, 1), CausalTraining(batch_clips=2), np.random.default_rng(1), bank.latents)
    assert any(torch.equal(clip, past[:4].transpose(0, 1)) for clip in batch.history for past in bank.latents.values())
    assert not torch.equal(batch.history, batch.image)

"""A session over a stride-4 codec and a network that knows text: four conditions a block, four pictures a latent."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_transformer

from h2w_ros.camera import pack_plucker, plucker_rays
from h2w_ros.condition import Camera, Condition
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import CodecConfig, RaysConfig, RolloutConfig
from h2w_ros.generator.drawn import packed_rays
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rollout import BlockConditions, Rollout, roll_out
from h2w_ros.generator.wan_codec import WanCodec
from h2w_ros.geometry import transform
from h2w_ros.session import PredictedFrame, Session

diffusers = pytest.importorskip("diffusers", reason="diffusers is an optional extra (h2w_ros[wan])")

CAMERA = Camera(48, 32, 40.0, 40.0, 24.0, 16.0)
TEXT_DIM = 12


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    released = preset("wan2.1-1.3b")
    config = replace(
        released,
        transformer=replace(released.transformer, in_dim=12, dim=32, ffn_dim=64, out_dim=4, num_heads=2, num_layers=2, text_dim=TEXT_DIM),
        codec=CodecConfig("wan", 4, 8, 4),
        rays=RaysConfig(),
        rollout=RolloutConfig(window=3, timesteps=(1000.0, 500.0)),
        height_px=CAMERA.height_px,
        width_px=CAMERA.width_px,
    )
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1, latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[0.2, 0.2, 0.2, 0.2]
    )
    return Generator(config, random_transformer(config.transformer), WanCodec(vae), torch.randn(1, 5, TEXT_DIM))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (CAMERA.height_px, CAMERA.width_px, 3), dtype=np.uint8)


def moments(count: int) -> list[Condition]:
    """A camera that moves to the right, with ready-made hand pictures."""
    poses = [transform(np.eye(3), np.array([0.02 * i, 0.0, 0.0])) for i in range(count)]
    return [Condition(round(i * 62.5e6), CAMERA, poses[i], hand_render=picture(100 + i), image=picture(0)) for i in range(count)]


def push_all(session: Session, conditions: list[Condition]) -> list[PredictedFrame]:
    return [frame for condition in conditions for frame in session.push(condition)]


def test_one_condition_opens_and_every_four_are_answered_with_their_stamps(generator: Generator) -> None:
    session, conditions = Session(generator), moments(11)
    answers = [session.push(condition) for condition in conditions]
    assert [len(frames) for frames in answers] == [1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0]
    frames = [frame for answer in answers for frame in answer]
    assert [frame.index for frame in frames] == list(range(9))
    assert [frame.stamp_ns for frame in frames] == [condition.stamp_ns for condition in conditions[:9]]
    assert [frame.is_reference for frame in frames] == [True] + 8 * [False]


def test_rays_packed_block_by_block_equal_those_of_the_whole_clip(generator: Generator) -> None:
    maps = list(np.random.default_rng(0).normal(size=(9, 32, 48, 6)).astype(np.float32))
    parts = ((maps[:1], None), (maps[1:5], maps[0]), (maps[5:], maps[4]))
    packed = torch.cat([packed_rays(part, before, 4) for part, before in parts], dim=2)
    assert torch.equal(packed[0], torch.from_numpy(pack_plucker(np.stack(maps), 4)))


@torch.inference_mode()
def test_the_stream_equals_the_batch_rollout(generator: Generator) -> None:
    conditions = moments(9)
    session = Session(generator)
    drawn = [session._draw(condition) for condition in conditions]
    hands = np.stack([d.hands for d in drawn])
    encode = generator.codec.encoder_stream()
    control = torch.cat([encode(hands[:1]), encode(hands[1:])], dim=2)
    rays = torch.from_numpy(pack_plucker(np.stack([d.rays.plucker for d in drawn]), 4))[None]
    rollout = Rollout(generator.transformer, generator.config.rollout, seeds=(0,), text=generator.text)
    latents = roll_out(rollout, generator.codec.encoder_stream()(picture(0)[None]), BlockConditions(control, rays))
    expected = generator.codec.decoder_stream()(latents)
    frames = push_all(Session(generator), conditions)
    assert max(np.abs(frame.image.astype(int) - p).max() for frame, p in zip(frames, expected, strict=True)) <= 1


@pytest.mark.parametrize("aspect", ["per_axis", "released"])
def test_rays_of_a_cropped_picture_are_those_of_the_part_that_is_kept(generator: Generator, aspect: str) -> None:
    config = replace(generator.config, rays=RaysConfig(aspect=aspect))
    session = Session(replace(generator, config=config), resize_policy="crop")
    wide = Condition(0, Camera(120, 64, 80.0, 80.0, 60.0, 32.0), np.eye(4), image=np.zeros((64, 120, 3), np.uint8))
    kept = Camera(48, 32, 40.0, 40.0, 24.0, 16.0)
    np.testing.assert_allclose(session._draw(wide).rays.plucker, plucker_rays(kept, np.eye(4)), atol=1e-6)


def test_branches_are_what_single_sessions_answer(generator: Generator) -> None:
    """The codec's past and the text are shared too."""
    session = Session(generator)
    push_all(session, moments(5))
    futures = [moments(9)[5:], [replace(moment, hand_render=picture(7)) for moment in moments(9)[5:]]]
    branches = session.branch(2)
    answers = [branches.push(pair) for pair in zip(*futures, strict=True)]
    assert [answer is None for answer in answers] == [True, True, True, False]
    for future, answer in zip(futures, answers[-1].pictures, strict=True):
        alone = Session(generator)
        frames = push_all(alone, [*moments(5), *future])[5:]
        assert np.abs(np.stack([frame.image for frame in frames]).astype(int) - answer[0]).max() <= 1


def test_another_text_is_another_video(generator: Generator) -> None:
    other = replace(generator, text=generator.text + 1.0)
    last = [push_all(Session(model), moments(5))[-1].image for model in (generator, other)]
    assert not np.array_equal(*last)


@pytest.mark.parametrize(("num_observed", "has_effect"), [(0, False), (3, False), (4, True)])
def test_an_observation_takes_effect_with_its_fourth_picture(generator: Generator, num_observed: int, has_effect: bool) -> None:
    plain, observing = Session(generator), Session(generator)
    for session in (plain, observing):
        push_all(session, moments(9)[:5])
    for i in range(num_observed):
        observing.observe(picture(i))
    expected, got = (push_all(session, moments(9)[5:])[-1].image for session in (plain, observing))
    assert np.array_equal(expected, got) is not has_effect


def test_an_incomplete_observation_is_not_finished_by_pictures_of_the_next_block(generator: Generator) -> None:
    session = Session(generator)
    push_all(session, moments(9)[:5])
    session.observe(picture(1))
    push_all(session, moments(9)[5:])
    before = session._stream._last_latents.clone()
    for i in range(3):
        session.observe(picture(i))
    assert torch.equal(session._stream._last_latents, before)


@torch.inference_mode()
@pytest.mark.parametrize("latents_per_block", [1, 2])
def test_what_was_seen_is_encoded_behind_the_picture_before_it(generator: Generator, latents_per_block: int) -> None:
    rollout = replace(generator.config.rollout, latents_per_block=latents_per_block)
    session = Session(replace(generator, config=replace(generator.config, rollout=rollout)))
    frames = push_all(session, moments(9))
    seen = [picture(i) for i in range(4)]
    for image in seen:
        session.observe(image)
    encode = generator.codec.encoder_stream()
    encode(frames[-5].image[None])
    assert torch.equal(session._stream._last_latents[:, :, -1:], encode(np.stack(seen)))

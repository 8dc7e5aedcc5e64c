"""A session repeats itself, streams what the batch rollout gives, and can be grounded in what the camera really sees."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_tiny import conditions, small_tiny

from h2w_ros.condition import Condition
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import RaysConfig
from h2w_ros.generator.drawn import moved_places
from h2w_ros.generator.rollout import BlockConditions, Rollout, roll_out
from h2w_ros.session import PredictedFrame, Session


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_tiny()


def run(session: Session, moments: list[Condition], seed: int = 0) -> list[PredictedFrame]:
    session.reset(seed=seed)
    return [frame for condition in moments for frame in session.push(condition)]


def same(first: list[PredictedFrame], second: list[PredictedFrame]) -> bool:
    return all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_every_condition_is_answered_with_its_own_stamp(generator: Generator) -> None:
    frames = run(Session(generator), conditions(6))
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.stamp_ns for frame in frames] == [c.stamp_ns for c in conditions(6)]
    assert [frame.is_reference for frame in frames] == [True] + 5 * [False]


def test_a_reset_session_repeats_itself_and_another_seed_differs(generator: Generator) -> None:
    session = Session(generator)
    first = run(session, conditions(7))
    assert same(first, run(session, conditions(7)))
    assert not same(first, run(session, conditions(7), seed=1))


def test_settling_early_changes_nothing(generator: Generator) -> None:
    session = Session(generator)
    lazy = run(session, conditions(7))
    session.reset()
    eager = []
    for condition in conditions(7):
        eager += session.push(condition)
        session.settle()
    assert same(lazy, eager)


@torch.inference_mode()
def test_the_stream_equals_the_batch_rollout(generator: Generator) -> None:
    """The same pictures and rays, encoded as one clip and rolled out offline."""
    session = Session(generator)
    session.reset()
    scene = session._drawing.drawer.resize.picture(conditions(1)[0].image)
    session._drawing.drawer.take_picture(scene, conditions(1)[0])
    drawn = [session._draw(condition) for condition in conditions(7)]
    streamed = run(session, conditions(7))
    control = generator.codec.encoder_stream()(np.stack([d.control for d in drawn]))
    dressed = generator.codec.encoder_stream()(np.stack([d.dressed for d in drawn]))
    plucker = torch.from_numpy(np.stack([d.rays.plucker for d in drawn])).permute(3, 0, 1, 2)[None]
    reference = generator.codec.encoder_stream()(scene[None])
    rollout = Rollout(generator.transformer, generator.config.rollout, seeds=(0,))
    pairs = zip(drawn[:1] + drawn, drawn, strict=False)
    places = torch.cat([moved_places(generator.config, [now], [before], drawn[:1]) for before, now in pairs], dim=1)
    latents = roll_out(rollout, reference, BlockConditions(control, plucker, places=places, dressed=dressed))
    pictures = generator.codec.decoder_stream()(latents)
    assert max(np.abs(f.image.astype(int) - p).max() for f, p in zip(streamed, pictures, strict=True)) <= 1


def test_observing_the_prediction_itself_is_not_observing_something_else(generator: Generator) -> None:
    black, white = (np.full((32, 48, 3), value, np.uint8) for value in (0, 255))
    outcomes = []
    for seen in (black, white):
        session = Session(generator)
        run(session, conditions(4))
        session.observe(seen)
        outcomes.append(session.push(conditions(5)[4])[0].image)
    assert not np.array_equal(*outcomes)


def test_an_observation_counts_whether_the_answer_was_settled_or_not(generator: Generator) -> None:
    seen = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    outcomes = []
    for settled in (True, False):
        session = Session(generator)
        run(session, conditions(4))
        if settled:
            session.settle()
        session.observe(seen)
        outcomes.append(session.push(conditions(5)[4])[0].image)
    assert np.array_equal(*outcomes)


def test_a_session_without_a_picture_says_what_is_missing(generator: Generator) -> None:
    session = Session(generator)
    with pytest.raises(ValueError, match="needs a picture to begin from"):
        session.push(conditions(1, picture=False)[0])
    with pytest.raises(ValueError, match="push the reference"):
        session.observe(np.zeros((32, 48, 3), np.uint8))


def test_rays_anchored_to_the_first_frame_grow_with_the_way(generator: Generator) -> None:
    session = Session(Generator(replace(generator.config, rays=RaysConfig(anchor_lag=None)), generator.transformer, generator.codec))
    moments = [session._draw(condition).rays.plucker[..., :3] for condition in conditions(4)]
    assert not moments[0].any()
    assert np.abs(moments[3]).max() == pytest.approx(3 * np.abs(moments[1]).max(), rel=1e-3)


def test_a_known_table_shows_the_scene_as_the_head_moves_until_a_better_photo_comes(generator: Generator) -> None:
    session = Session(generator, table_height_m=-1.0)
    moments = conditions(4)
    run(session, moments)
    seen_first = session._draw(moments[3]).static
    assert seen_first is not None
    session.observe(np.full((32, 48, 3), 200, np.uint8))
    drawn = session._draw(moments[3])
    is_new, shows_hand = (drawn.static == 200).all(-1), drawn.hands.any(-1)
    assert is_new.mean() > 0.5
    assert shows_hand.any()
    assert not is_new[shows_hand].any()  # the table behind the hand is as it was known before


def test_without_a_table_the_static_scene_is_unknown_and_a_given_render_goes_first(generator: Generator) -> None:
    moments = conditions(2)
    session = Session(generator)
    run(session, moments)
    assert session._draw(moments[1]).static is None
    told = Session(generator, table_height_m=-1.0)
    run(told, moments)
    render = np.full((64, 96, 3), 9, np.uint8)
    assert (told._draw(replace(moments[1], static_render=render)).static == 9).all()


@pytest.mark.parametrize("table_height_m", [None, -1.0])
def test_a_static_render_that_shows_the_hands_of_the_first_picture_does_not_keep_them(generator: Generator, table_height_m: float | None) -> None:
    """As where the camera stands still, and its first picture is all that is known of the scene."""
    first, later = conditions(2)
    session = Session(generator, table_height_m=table_height_m)
    is_hand = session.hand_render(first).any(-1)
    picture = np.full((64, 96, 3), 60, np.uint8)
    picture[cv2.resize(is_hand.astype(np.uint8), (96, 64), interpolation=cv2.INTER_NEAREST) > 0] = 200
    run(session, [replace(first, image=picture, static_render=picture)])
    still = replace(later, T_world_camera=first.T_world_camera, static_render=picture)
    shown = session._draw(still).static
    assert shown is not None
    assert is_hand.any()
    assert np.abs(shown[is_hand].astype(float) - 60).max() < 10

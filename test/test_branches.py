"""Branches of a session: each is what a session by itself would have answered, and the session does not notice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_conditions, random_latents, random_transformer, small_config
from numpy import ndarray
from small_tiny import CAMERA, conditions, small_tiny

from h2w_ros.condition import Condition
from h2w_ros.generator.checkpoint import Generator
from h2w_ros.generator.config import RolloutConfig
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.geometry import transform
from h2w_ros.session import Session

SEEDS = (3, 8)
PAST = 6


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_tiny()


def futures(count: int, candidates: int = 3, heads_differ: bool = False) -> list[list[Condition]]:
    """What may follow on PAST conditions: hands that go different ways, and heads too if wanted."""

    def moment(condition: Condition, candidate: int, step: int) -> Condition:
        way = transform(np.eye(3), np.array([0.0, 0.02 * (candidate - 1) * step, 0.0]))
        hands = tuple(replace(hand, T_world_wrist=way @ hand.T_world_wrist) for hand in condition.hands)
        head = condition.T_world_camera.copy()
        head[0, 3] += heads_differ * 0.02 * (candidate - 1) * step
        return replace(condition, hands=hands, T_world_camera=head)

    later = conditions(PAST + count)[PAST:]
    return [[moment(condition, candidate, step) for step, condition in enumerate(later)] for candidate in range(candidates)]


def begun(generator: Generator, seed: int = 0, **options) -> Session:
    """A session that has answered PAST conditions."""
    session = Session(generator, **options)
    session.reset(seed=seed)
    for condition in conditions(PAST):
        session.push(condition)
    return session


def alone(session: Session, future: list[Condition]) -> ndarray:
    return np.stack([frame.image for condition in future for frame in session.push(condition)])


def together(session: Session, candidates: list[list[Condition]], seeds: tuple[int, ...]) -> ndarray:
    branches = session.branch(len(candidates), seeds)
    return np.concatenate([branches.push(moments).pictures for moments in zip(*candidates, strict=True)], axis=2)


@pytest.mark.parametrize("heads_differ", [False, True], ids=["one view", "many views"])
@pytest.mark.parametrize("table", [None, -1.0], ids=["no table", "table"])
def test_branches_answer_what_single_sessions_would(generator: Generator, table: float | None, heads_differ: bool) -> None:
    candidates = futures(5, heads_differ=heads_differ)
    batch = together(begun(generator, seed=SEEDS[0], table_height_m=table), candidates, SEEDS[:1])
    assert batch.shape == (3, 1, 5, 32, 48, 3)
    singles = [alone(begun(generator, seed=SEEDS[0], table_height_m=table), future) for future in candidates]
    assert np.abs(batch[:, 0].astype(int) - np.stack(singles)).max() <= 1
    assert np.abs(batch[0].astype(int) - batch[2]).max() > 3


def test_what_is_known_to_follow_may_be_drawn_ahead(generator: Generator) -> None:
    candidates = futures(5, heads_differ=True)
    moments = list(zip(*candidates, strict=True))
    branches = begun(generator, table_height_m=-1.0).branch(len(candidates), SEEDS[:1])
    ahead = [branches.push(now, following).pictures for now, following in zip(moments, [*moments[1:], None], strict=True)]
    assert np.array_equal(np.concatenate(ahead, axis=2), together(begun(generator, table_height_m=-1.0), candidates, SEEDS[:1]))

    branches = begun(generator).branch(len(candidates), SEEDS[:1])
    branches.push(moments[0], moments[1])
    with pytest.raises(ValueError, match="what the push before said would follow"):
        branches.push(moments[2])


def test_each_seed_of_each_candidate_has_its_place_in_the_batch(generator: Generator) -> None:
    candidates = futures(3)
    batch = together(begun(generator), candidates, SEEDS)
    for place, seed in enumerate(SEEDS):
        assert np.abs(batch[:, place].astype(int) - together(begun(generator), candidates, (seed,))[:, 0]).max() <= 1
    assert not np.array_equal(batch[:, 0], batch[:, 1])


@pytest.mark.parametrize("settled", [True, False])
def test_a_session_answers_as_if_it_had_never_branched(generator: Generator, settled: bool) -> None:
    session, other = begun(generator), begun(generator)
    if settled:
        session.settle()
    branches = session.branch(3, SEEDS)
    answers = []
    for moments in zip(conditions(PAST + 4)[PAST:], *futures(4, heads_differ=True), strict=True):
        branches.push(moments[1:])
        answers.append(session.push(moments[0])[0].image)
    assert np.array_equal(np.stack(answers), alone(other, conditions(PAST + 4)[PAST:]))


def test_what_the_session_does_next_does_not_reach_its_branches(generator: Generator) -> None:
    session, later = begun(generator), conditions(PAST + 8)[PAST:]
    branches = session.branch(3, SEEDS)
    alone(session, later)
    session.observe(np.zeros((CAMERA.height_px, CAMERA.width_px, 3), np.uint8))
    answers = np.concatenate([branches.push(moments).pictures for moments in zip(*futures(4), strict=True)], axis=2)
    assert np.array_equal(answers, together(begun(generator), futures(4), SEEDS))


def test_what_cannot_branch_says_why(generator: Generator) -> None:
    with pytest.raises(ValueError, match="no reference yet"):
        Session(generator).branch(2)
    with pytest.raises(ValueError, match="at least one candidate"):
        begun(generator).branch(0)
    with pytest.raises(ValueError, match="one condition for each of 3 candidates"):
        begun(generator).branch(3).push(conditions(2))


@torch.inference_mode()
@pytest.mark.parametrize("keys", ["relative", "rotated"])
def test_a_branched_rollout_goes_on_exactly_where_single_ones_would(keys: str) -> None:
    transformer = random_transformer(small_config(text_dim=5))
    config = RolloutConfig(window=3, sink=1, keys=keys, timesteps=(1000.0, 500.0))
    text = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0))

    def begun_rollout() -> Rollout:
        rollout = Rollout(transformer, config, (4,), text)
        rollout.start(random_latents(1), random_conditions(1))
        for block in range(5):
            rollout.generate(random_conditions(1, seed=block))
            rollout.commit()
        return rollout

    future = random_conditions(6, batch=2, seed=9)
    both = rolled_on(begun_rollout().branch((4, 4)), future)
    for row in range(2):
        own = BlockConditions(future.control[row : row + 1], future.plucker[row : row + 1])
        assert torch.allclose(both[row : row + 1], rolled_on(begun_rollout(), own), atol=1e-5)
    assert not torch.allclose(both[0], both[1])
    with pytest.raises(ValueError, match="one stream"):
        begun_rollout().branch((0, 1)).branch((2,))


def rolled_on(rollout: Rollout, future: BlockConditions) -> torch.Tensor:
    latents = []
    for block in range(future.num_latents):
        latents.append(rollout.generate(future.part(block, block + 1)))
        rollout.commit()
    return torch.cat(latents, dim=2)

"""Training in the stream: the lessons are the rollout's own predictions, and gradients stay within a block."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from generators import random_conditions, random_latents, random_transformer, small_config
from test_forcing import random_source
from torch import Tensor

from h2w_ros.generator.config import RefinerConfig, RolloutConfig
from h2w_ros.generator.presets import preset
from h2w_ros.generator.rollout import BlockConditions, Rollout, roll_out
from h2w_ros.generator.transformer import Transformer
from h2w_ros.training.augment import plain_looks
from h2w_ros.training.cache import ClipSource
from h2w_ros.training.clip_rays import ClipRays
from h2w_ros.training.config import CausalTraining, StreamTraining
from h2w_ros.training.streamed import FULL_MOTION, StreamedEpisodes
from h2w_ros.training.streaming import StreamingLessons, choice_error, robust_error

MODEL = preset("debug")
ROLLOUT = RolloutConfig(window=3, sink=1, keys="relative", timesteps=(1000.0, 500.0), prediction="residual")
PHOTO_ONLY = CausalTraining(photo_share=1.0, static_share=0.0)
ALWAYS, NEVER = (1.0, 1.0), (1e-9, 1e-9)


@pytest.mark.parametrize("refiner", [None, RefinerConfig(8, 2), RefinerConfig(8, 2, fold=2, detail_width=4)])
def test_a_block_with_gradients_is_the_block_without_them(refiner: RefinerConfig | None) -> None:
    """Past the window's end, so that the ring has wrapped and the open block's slot lies between others."""
    transformer = random_transformer(small_config(refiner=refiner))
    conditions, reference = random_conditions(8), random_latents(1)
    expected = roll_out(Rollout(transformer, ROLLOUT), reference, conditions)
    transformer.requires_grad_(True)
    rollout = Rollout(transformer, ROLLOUT)
    rollout.start(reference, conditions.part(0, 1))
    for index in range(1, 8):
        generated = rollout.generate(conditions.part(index, index + 1))
        torch.testing.assert_close(generated, expected[:, :, index : index + 1], atol=1e-5, rtol=1e-5)
        rollout.commit()
    generated.sum().backward()
    without = [name for name, parameter in transformer.named_parameters() if parameter.grad is None]
    assert without == []
    assert not rollout.cache.keys.requires_grad


def test_weights_that_change_between_blocks_change_their_modulations() -> None:
    transformer = random_transformer(small_config()).train()
    conditions, reference = random_conditions(2), random_latents(1)
    rollout = Rollout(transformer, ROLLOUT)
    rollout.start(reference, conditions.part(0, 1))
    before = rollout.generate(conditions.part(1, 2))
    transformer.time_projection[1].bias += 1.0
    assert not torch.allclose(rollout.generate(conditions.part(1, 2)), before)


def lessons(config: StreamTraining, transformer: Transformer, weights: CausalTraining = PHOTO_ONLY, seed: int = 0) -> StreamingLessons:
    return StreamingLessons(transformer, MODEL, random_source(MODEL), config, weights, seed)


def test_the_lessons_of_a_stream_are_its_rollout() -> None:
    """One stream of one episode at a time: its losses are those of the rollout that the generator would run."""
    source = random_source(MODEL)
    one = replace(source, **{name: getattr(source, name)[:1] for name in source.__dataclass_fields__})
    transformer = random_transformer(MODEL.transformer)
    config = StreamTraining(streams=1, groups=1, seen_share=NEVER, limit=1e3, other_looks=False, choice_share=0.0)
    stream = StreamingLessons(transformer, MODEL, one, config, PHOTO_ONLY, 0)
    losses = [stream.loss().item() for _ in range(5)]

    rng = np.random.default_rng(0)
    rng.choice(1, 1, replace=False, p=[1.0]), rng.choice(3, p=PHOTO_ONLY.scene_shares), rng.uniform(size=1)  # the draws that come before the seed's
    rollout = Rollout(transformer, MODEL.rollout, seeds=rng.integers(2**31, size=1).tolist())
    rays = ClipRays(one, MODEL)(np.zeros(1, int), np.arange(20)[None])
    places = one.places_since(MODEL, np.zeros(20, int), np.maximum(np.arange(20), 1), True)[None]
    clip = BlockConditions(one.hand.float().transpose(1, 2), rays, one.photo.float().transpose(1, 2), places, one.dressed.float().transpose(1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        generated = roll_out(rollout, one.image[:, :1].float().transpose(1, 2), clip.part(0, 6))
    shown = StreamedEpisodes(one, MODEL, np.array([0]), plain_looks(1), one.photo, False)
    weight = torch.cat([shown.weight(i, PHOTO_ONLY) for i in range(1, 6)], dim=2)
    true = one.image[:, :6].float().transpose(1, 2)
    expected = [robust_error(generated[:, :, [i]], true[:, :, [i]], weight[:, :, [i - 1]], StreamTraining().tolerance).item() for i in range(1, 6)]
    np.testing.assert_allclose(losses, expected, rtol=0.02)


def test_a_frame_that_is_seen_becomes_the_past() -> None:
    """With everything seen, the context is the truth, so what the stream predicts does not depend on what it predicted."""
    transformer = random_transformer(MODEL.transformer)
    seen = [lessons(StreamTraining(streams=2, groups=1, seen_share=share), transformer).loss for share in (ALWAYS, NEVER)]
    first, second = ([loss().item() for loss in pair] for pair in (seen, seen))
    assert first[0] == first[1]  # the first block has no past of its own yet
    assert second[0] != second[1]


def test_an_error_counts_by_its_square_while_small_and_by_its_size_when_large() -> None:
    weight, zero = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 4, 1, 1, 1)
    error = [robust_error(zero + size, zero, weight, 0.1).item() for size in (0.001, 0.002, 10.0, 20.0)]
    assert error[1] / error[0] == pytest.approx(4, rel=0.01)
    assert error[3] / error[2] == pytest.approx(2, rel=0.01)


def test_groups_take_turns_and_streams_end_within_their_episodes() -> None:
    transformer = random_transformer(MODEL.transformer)
    source = lessons(StreamTraining(streams=2, groups=3, shortest_stream=2), transformer)
    assert source._staggered_lengths() == [6, 12, 19]
    losses = [source.loss() for _ in range(90)]  # past several ends in every group
    assert all(torch.isfinite(loss) for loss in losses)


def test_a_model_with_longer_blocks_is_refused() -> None:
    transformer = replace(MODEL.transformer, out_dim=MODEL.codec.latent_channels, refiner=None)
    longer = replace(MODEL, transformer=transformer, rollout=replace(MODEL.rollout, latents_per_block=2, prediction="residual"))
    with pytest.raises(ValueError, match="blocks of one frame"):
        StreamingLessons(Transformer(MODEL.transformer), longer, random_source(MODEL), StreamTraining(), PHOTO_ONLY, 0)


def test_a_network_without_layers_adds_nothing_and_refines() -> None:
    """Its stream is the refiner's alone: the same as with a transformer whose output is zero."""
    config = small_config(refiner=RefinerConfig(8, 2, fold=2, detail_width=4))
    whole = random_transformer(config)
    torch.nn.init.zeros_(whole.head.head.weight)
    torch.nn.init.zeros_(whole.head.head.bias)
    without_rays = replace(random_conditions(5), plucker=None)
    alone = Transformer(replace(config, num_layers=0, add_control_adapter=False))
    alone.refiner.load_state_dict(whole.refiner.state_dict())
    expected = roll_out(Rollout(whole, ROLLOUT), random_latents(1), without_rays)
    torch.testing.assert_close(roll_out(Rollout(alone, ROLLOUT), random_latents(1), without_rays), expected)


def offered(*values: float, logits: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Layers of one colour each, of 2 x 2 latents that hold 4 places in 3 colours, and the logits of all places."""
    candidates = torch.stack([torch.full((1, 12, 1, 2, 2), value) for value in values], dim=1)
    return candidates, torch.tensor(logits).view(1, -1, 1, 1, 1, 1).repeat(1, 1, 4, 1, 2, 2).requires_grad_()


def test_a_layer_that_is_right_but_closed_is_told_so_by_the_choice_and_not_by_the_sum():
    target, weight = torch.zeros(1, 12, 1, 2, 2), torch.ones(1, 1, 1, 2, 2)
    pulls = []
    for choice in (True, False):
        candidates, logits = offered(1.0, 0.0, logits=(10.0, 0.0))
        weights = logits.softmax(1).repeat(1, 1, 3, 1, 1, 1)
        summed = robust_error((weights * candidates).sum(1), target, weight, tolerance=0.5)
        (choice_error(candidates, logits, target, weight, tolerance=0.05) if choice else summed).backward()
        pulls.append(-logits.grad[:, 1].sum().item())
    assert pulls[0] > 0.04
    assert pulls[0] > 100 * pulls[1] > 0


def test_the_choice_is_free_where_layers_are_alike_and_costs_their_error():
    target, weight = torch.zeros(1, 12, 1, 2, 2), torch.ones(1, 1, 1, 2, 2)
    candidates, logits = offered(0.5, 0.5, logits=(2.0, -1.0))
    error = choice_error(candidates, logits, target, weight, tolerance=0.05)
    error.backward()
    assert error.item() == pytest.approx(0.25, abs=1e-6)
    assert logits.grad.abs().max() < 1e-8


def still_source() -> ClipSource:
    """Everything as it was in the first frame, camera and hands too."""
    source = random_source(MODEL)
    names = ("image", "static", "hand", "photo", "T_world_grips")
    held = {name: getattr(source, name)[:, :1].expand_as(getattr(source, name)).clone() for name in names}
    poses = np.tile(np.eye(4), (*source.T_world_camera.shape[:2], 1, 1))
    return replace(source, **held, T_world_camera=poses, hand_share=torch.zeros_like(source.hand_share))


def test_what_moves_just_now_weighs_most_unless_it_is_a_hand() -> None:
    source, late = still_source(), 3
    source.image[:, late, :, 0, 0] += 1.0
    source.image[:, late, :, 1, 1] += 1.0
    source.hand_share[:, late, 1, 1] = 1.0
    shown = StreamedEpisodes(source, MODEL, np.arange(3), plain_looks(3), source.photo, False)
    weighed, plain = (shown.weight(late, replace(PHOTO_ONLY, motion_weight=weight)) for weight in (10.0, 0.0))
    motion = (weighed - plain)[:, 0, 0]
    torch.testing.assert_close(motion[:, 0, 0], torch.full((3,), 10.0 * FULL_MOTION))
    torch.testing.assert_close(motion[:, 1, 1], torch.zeros(3))
    assert motion.count_nonzero() == 3  # nothing else moves


def test_the_truth_is_seen_often_at_first_and_seldom_later() -> None:
    stream = lessons(StreamTraining(streams=64, groups=1, first_seen_share=ALWAYS, seen_share=NEVER), random_transformer(MODEL.transformer))
    seen = []
    for spent in (0.0, 0.4, 0.8, 1.0):
        stream._spent = spent
        seen.append(stream._seen_share(np.linspace(0, 1, 64)).mean())
    assert seen[0] == 1.0
    assert seen[0] > seen[1] > seen[2] == seen[3]

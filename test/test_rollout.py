"""Streaming: what is cached equals what is not, and a stream depends on its own seed and context alone."""

import dataclasses
import itertools
import threading

import pytest
import torch
from generators import CHANNELS, random_conditions, random_latents, random_transformer, small_config

from h2w_ros.generator import side_thread
from h2w_ros.generator.attention import causal_mask
from h2w_ros.generator.cache import KeyValueCache
from h2w_ros.generator.config import RefinerConfig, Riflex, RolloutConfig
from h2w_ros.generator.rollout import Rollout, condition_channels, roll_out
from h2w_ros.generator.schedule import block_steps, shifted, steps, with_released_steps

RELATIVE = RolloutConfig(window=4, sink=1, keys="relative", timesteps=(1000.0, 500.0))
ROTATED = dataclasses.replace(RELATIVE, keys="rotated", sink=0, riflex=Riflex(k=2, L_test=9, L_test_scale=2.0))
RESIDUAL = dataclasses.replace(RELATIVE, prediction="residual")
ROLLOUTS = pytest.mark.parametrize("config", [RELATIVE, ROTATED, RESIDUAL], ids=["relative", "rotated", "residual"])


@pytest.fixture(scope="module")
def transformer():
    return random_transformer(small_config())


def _stream(rollout, reference, conditions, per_block=1):
    """A clip generated from conditions that arrive block by block."""
    rollout.start(reference, conditions.part(0, 1))
    blocks = [reference]
    for first in range(1, conditions.num_latents, per_block):
        blocks.append(rollout.generate(conditions.part(first, first + per_block)))
        rollout.commit()
    return torch.cat(blocks, dim=2)


def _clean_passes(transformer, config, latents, conditions):
    """Outputs of t = 0 passes over a clip, one block at a time through the cache."""
    cache = KeyValueCache(transformer.config, config, latents.shape[0], transformer.grid(latents))
    modulation, channels, outputs = transformer.modulation(torch.tensor(0.0)), _channels(conditions), []
    for first, last in _blocks(latents.shape[2], config.latents_per_block):
        cache.open_block(last - first)
        inputs = torch.cat([latents[:, :, first:last], channels[:, :, first:last]], dim=1)
        outputs.append(transformer.forward_block(inputs, modulation, cache, transformer.embed_rays(conditions.plucker[:, :, first:last])))
        cache.close_block()
    return torch.cat(outputs, dim=2)


def _blocks(num_latents, per_block):
    edges = [0, *range(1, num_latents + 1, per_block)]
    return list(itertools.pairwise(edges))


def _channels(conditions):
    return condition_channels(conditions, torch.zeros_like(conditions.control), 3 * CHANNELS)


@pytest.mark.parametrize("per_block", [1, 2, 3])
@pytest.mark.parametrize("sink", [0, 1, 2])
def test_cached_attention_equals_the_masked_clip_at_absolute_positions(transformer, per_block, sink):
    config = RolloutConfig(window=4, sink=sink, latents_per_block=per_block)
    latents, conditions = random_latents(13, batch=2), random_conditions(13, batch=2)
    rays, mask = transformer.embed_rays(conditions.plucker), causal_mask(13, 4, sink, per_block)
    expected = transformer(torch.cat([latents, _channels(conditions)], dim=1), torch.zeros(2, 1), rays, mask=mask)
    torch.testing.assert_close(_clean_passes(transformer, config, latents, conditions), expected, rtol=0, atol=1e-5)


def test_relative_keys_equal_the_masked_clip_until_the_window_is_full(transformer):
    latents, conditions = random_latents(5), random_conditions(5)
    rays = transformer.embed_rays(conditions.plucker)
    expected = transformer(torch.cat([latents, _channels(conditions)], dim=1), torch.zeros(1, 1), rays, mask=causal_mask(5, 4, 1))
    torch.testing.assert_close(_clean_passes(transformer, RELATIVE, latents, conditions), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("per_block", [1, 2])
def test_a_relative_sink_stays_right_before_the_window_and_each_latent_keeps_its_slot(transformer, per_block):
    config = dataclasses.replace(RELATIVE, sink=2, window=6, latents_per_block=per_block)
    cache = KeyValueCache(transformer.config, config, 1, (2, 3))
    for _, last in _blocks(101, per_block):
        window = range(max(2, last - 6), last)
        assert sorted([cache.slot(latent) for latent in window] + [0, 1][:last]) == list(range(min(last, 8)))
        assert last - cache.sink_positions(last).start <= 8
        assert last <= 8 or cache.sink_positions(last).stop == window.start


@pytest.mark.parametrize("num_layers", [1, 3])
def test_an_old_stream_equals_a_fresh_one_with_the_same_context(num_layers):
    # Each layer looks one window further back, so this is how much of the past an output can depend on.
    transformer = random_transformer(small_config(num_layers=num_layers))
    aged, reach = 10 * RELATIVE.window, num_layers * (RELATIVE.window - 1) + 1
    latents, conditions = random_latents(aged + 1), random_conditions(aged + 1)
    kept = [0, *range(aged - reach + 1, aged + 1)]
    young_conditions = dataclasses.replace(conditions, control=conditions.control[:, :, kept], plucker=conditions.plucker[:, :, kept])
    old = _clean_passes(transformer, RELATIVE, latents, conditions)[:, :, -1]
    young = _clean_passes(transformer, RELATIVE, latents[:, :, kept], young_conditions)[:, :, -1]
    torch.testing.assert_close(old, young, rtol=0, atol=1e-5)


@ROLLOUTS
@pytest.mark.parametrize("per_block", [1, 2])
def test_streaming_equals_the_rollout_of_a_whole_clip(transformer, config, per_block):
    config = dataclasses.replace(config, latents_per_block=per_block)
    reference, conditions = random_latents(1), random_conditions(13)
    streamed = _stream(Rollout(transformer, config, seeds=(7,)), reference, conditions, per_block)
    assert torch.equal(streamed, roll_out(Rollout(transformer, config, seeds=(7,)), reference, conditions))


@ROLLOUTS
def test_streams_of_a_batch_equal_single_streams(transformer, config):
    reference, conditions = random_latents(1, batch=2), random_conditions(9, batch=2)
    together = roll_out(Rollout(transformer, config, seeds=(3, 4)), reference, conditions)
    for i, seed in enumerate((3, 4)):
        alone_conditions = dataclasses.replace(conditions, control=conditions.control[i : i + 1], plucker=conditions.plucker[i : i + 1])
        alone = roll_out(Rollout(transformer, config, seeds=(seed,)), reference[i : i + 1], alone_conditions)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)


def test_a_restarted_stream_repeats_itself_and_another_seed_does_not(transformer):
    rollout, reference, conditions = Rollout(transformer, RELATIVE), random_latents(1), random_conditions(9)
    first = roll_out(rollout, reference, conditions)
    assert torch.equal(roll_out(rollout, reference, conditions), first)
    assert not torch.allclose(roll_out(Rollout(transformer, RELATIVE, seeds=(1,)), reference, conditions), first)


def test_given_noises_replace_the_seeds(transformer):
    reference, conditions = random_latents(1), random_conditions(5)
    noises = [[random_latents(1, seed=10 * block + draw) for draw in range(2)] for block in range(5)]
    clips = [roll_out(Rollout(transformer, RELATIVE, seeds=(seed,)), reference, conditions, noises) for seed in (0, 1)]
    assert torch.equal(*clips)


@ROLLOUTS
def test_generating_twice_changes_nothing(transformer, config):
    reference, conditions = random_latents(1), random_conditions(9)
    expected = roll_out(Rollout(transformer, config), reference, conditions)
    rollout = Rollout(transformer, config)
    rollout.start(reference, conditions.part(0, 1))
    for block in range(1, 9):
        rollout.generate(random_conditions(1, seed=50 + block))
        latents = rollout.generate(conditions.part(block, block + 1))
        assert torch.equal(latents, expected[:, :, block : block + 1])
        rollout.commit(latents)


@ROLLOUTS
def test_replacing_a_block_equals_having_committed_it(transformer, config):
    reference, conditions, seen = random_latents(1), random_conditions(9), random_latents(1, seed=99)
    clips = []
    for replaces in (False, True):
        rollout = Rollout(transformer, config)
        rollout.start(reference, conditions.part(0, 1))
        for block in range(1, 8):
            rollout.generate(conditions.part(block, block + 1))
            rollout.commit(None if replaces else seen)
            if replaces:
                rollout.replace(seen)
        clips.append(rollout.generate(conditions.part(8, 9)))
    assert torch.equal(*clips)


@pytest.mark.parametrize("keys", ["relative", "rotated"])
@pytest.mark.parametrize(("per_block", "sink", "window"), [(1, 1, 4), (2, 2, 4), (2, 3, 3), (3, 2, 6)])
def test_what_is_taken_back_leaves_no_trace_whatever_stood_in_its_place(transformer, keys, per_block, sink, window):
    config = dataclasses.replace(RELATIVE, window=window, sink=sink, latents_per_block=per_block, keys=keys)
    num_blocks, seen = 8, random_latents(per_block, seed=99)
    reference, conditions, others = random_latents(1), random_conditions(1 + num_blocks * per_block), random_conditions(per_block, seed=7)
    clips = []
    for takes_back in (False, True):
        rollout, blocks = Rollout(transformer, config), []
        rollout.start(reference, conditions.part(0, 1))
        for first in range(1, conditions.num_latents, per_block):
            blocks.append(rollout.generate(conditions.part(first, first + per_block)))
            rollout.commit()
            if takes_back:
                rollout.generate(others, may_take_back=True)
                rollout.take_back()
            rollout.replace(seen)
        clips.append(torch.cat(blocks, dim=2))
    assert torch.equal(*clips)


def test_a_block_is_taken_back_whole_or_not_at_all(transformer):
    rollout, conditions = Rollout(transformer, RELATIVE), random_conditions(2)
    rollout.start(random_latents(1), conditions.part(0, 1))
    rollout.generate(conditions.part(1, 2))
    rollout.generate(conditions.part(1, 2), may_take_back=True)  # over an attempt that was not to be
    with pytest.raises(ValueError, match="can't be taken back"):
        rollout.take_back()
    rollout.commit()


def test_what_a_failed_block_was_written_over_is_not_rewritten(transformer, monkeypatch):
    def fails(*_):
        raise RuntimeError("out of memory")

    rollout, conditions = Rollout(transformer, RELATIVE), random_conditions(3)
    rollout.start(random_latents(1), conditions.part(0, 1))
    rollout.generate(conditions.part(1, 2))
    rollout.commit()
    monkeypatch.setattr(transformer, "refinement", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        rollout.generate(conditions.part(2, 3))
    with pytest.raises(ValueError, match="can be replaced"):
        rollout.replace(random_latents(1))


@torch.inference_mode()
def test_a_networks_two_parts_are_computed_side_by_side_and_every_branch_has_its_own_thread(monkeypatch):
    transformer = random_transformer(small_config(refiner=RefinerConfig(8, 2)))
    reference, conditions = random_latents(1), random_conditions(5)
    threads, clips = [], []
    for name in ("forward_block", "refinement"):
        called = getattr(transformer, name)
        monkeypatch.setattr(transformer, name, lambda *words, called=called: threads.append(threading.current_thread()) or called(*words))
    for num_cores in (1, 2 * torch.get_num_threads()):
        monkeypatch.setattr(side_thread, "available_cores", lambda num_cores=num_cores: num_cores)
        threads.clear()
        rollout = Rollout(transformer, RELATIVE)
        clips.append(roll_out(rollout, reference, conditions))
        assert len(set(threads)) == (1 if num_cores == 1 else 2)
        rollout.branch((0,)).generate(conditions.part(4, 5))
        assert len(set(threads)) == (1 if num_cores == 1 else 3)
    assert torch.equal(*clips)


def test_what_is_committed_matters_later(transformer):
    reference, conditions = random_latents(1), random_conditions(3)
    rollout = Rollout(transformer, RELATIVE)
    rollout.start(reference, conditions.part(0, 1))
    rollout.generate(conditions.part(1, 2))
    rollout.commit(random_latents(1, seed=5))
    expected = roll_out(Rollout(transformer, RELATIVE), reference, conditions)
    assert not torch.allclose(rollout.generate(conditions.part(2, 3)), expected[:, :, 2:])


def test_without_commit_a_block_costs_one_pass_less(transformer):
    def passes(config):
        rollout, calls = Rollout(transformer, config), []
        hook = transformer.blocks[0].ffn.register_forward_hook(lambda *_: calls.append(1))
        roll_out(rollout, random_latents(1), random_conditions(3))
        hook.remove()
        return len(calls)

    assert passes(RELATIVE) - passes(dataclasses.replace(RELATIVE, commit=False)) == 2  # of two generated blocks; the reference is always written


def test_the_cache_never_grows(transformer):
    rollout = Rollout(transformer, RELATIVE)
    roll_out(rollout, random_latents(1), random_conditions(3))
    size = rollout.cache.num_bytes
    roll_out(rollout, random_latents(1), random_conditions(30))
    assert rollout.cache.num_bytes == size


def test_misuse_is_explained(transformer):
    rollout = Rollout(transformer, RELATIVE)
    with pytest.raises(ValueError, match="call start first"):
        rollout.generate(random_conditions(1))
    with pytest.raises(ValueError, match="call generate first"):
        rollout.commit()
    rollout.start(random_latents(1), random_conditions(1))
    with pytest.raises(ValueError, match="block 1 has 1 latents, got conditions for 2"):
        rollout.generate(random_conditions(2))
    with pytest.raises(ValueError, match="takes 2 draws of noise, got 1"):
        rollout.generate(random_conditions(1), [random_latents(1)])


def test_the_released_schedule_is_shifted_and_starts_longer():
    config = RolloutConfig(window=21)
    assert [step.t for step in steps(config.timesteps, config.shift)] == pytest.approx([1000, 937.5, 833.333, 625], abs=1e-3)
    assert len(block_steps(with_released_steps(config, 2), 1)) == 4
    assert len(block_steps(with_released_steps(config, 2), 2)) == 2
    assert len(block_steps(with_released_steps(config, 1), 1)) == 2
    assert shifted(0.3, 1.0) == 0.3


def test_a_silent_network_is_not_computed_and_streams_the_same():
    transformer = random_transformer(small_config(refiner=RefinerConfig(8, 2)))
    torch.nn.init.zeros_(transformer.head.head.weight)
    torch.nn.init.zeros_(transformer.head.head.bias)
    reference, conditions = random_latents(1), random_conditions(4)
    with torch.no_grad():
        computed = _stream(Rollout(transformer, RELATIVE), reference, conditions)
        transformer.pack()
        assert transformer.is_silent
        transformer.patch_embedding.weight.fill_(torch.nan)  # would show wherever it were used
        torch.testing.assert_close(_stream(Rollout(transformer, RELATIVE), reference, conditions), computed)
        transformer.head.head.bias[0] = 1.0
    assert not transformer.pack().is_silent

"""What places remember from frame to frame."""

from dataclasses import replace

import pytest
import torch
from generators import random_transformer

from h2w_ros.generator.config import GeneratorConfig, RefinerConfig, RolloutConfig
from h2w_ros.generator.folded_codec import LATENT_SCALE
from h2w_ros.generator.memory import KEPT_LOGIT, moved_memory, remembered
from h2w_ros.generator.presets import preset
from h2w_ros.generator.recall import Recall
from h2w_ros.generator.rollout import BlockConditions, Rollout
from h2w_ros.generator.schedule import composite

MODEL = preset("debug")
REFINER = MODEL.transformer.refiner
SIZE = MODEL.latent_size
SMALL = MODEL.small_size


def still() -> torch.Tensor:
    y, x = torch.meshgrid(*(2 * (torch.arange(n) + 0.5) / n - 1 for n in SMALL), indexing="ij")
    return torch.stack([x, y], -1)


def one_place_right() -> torch.Tensor:
    """What is at a place stood one place to its left."""
    return still() - torch.tensor([2.0 / SMALL[1], 0.0])


def conditions(num: int, ways: list[torch.Tensor]) -> BlockConditions:
    generator = torch.Generator().manual_seed(0)
    ways = [*ways, still()]  # and the reference's camera has not moved
    control = torch.randn(1, MODEL.codec.latent_channels, num, *SIZE, generator=generator)
    plucker = torch.randn(1, 6, num, MODEL.height_px, MODEL.width_px, generator=generator)
    static, dressed = (torch.randn(control.shape, generator=generator) for _ in range(2))
    return BlockConditions(control, plucker, static, torch.stack(ways).expand(1, num, -1, -1, -1, -1), dressed)


def begun(model: GeneratorConfig = MODEL, seed: int = 0) -> tuple[Rollout, BlockConditions]:
    given = conditions(5, [still(), still()])
    rollout = Rollout(random_transformer(model.transformer, seed), model.rollout)
    rollout.start(torch.randn(1, MODEL.codec.latent_channels, 1, *SIZE, generator=torch.Generator().manual_seed(1)), given.part(0, 1))
    return rollout, given


def outputs(written: float, resting: float, carried: float) -> torch.Tensor:
    return torch.tensor([written, resting, carried]).view(1, 3, 1, 1, 1)


WAYS = torch.tensor([0.5, -0.8]).view(2, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (outputs(0.0, 30.0, 0.0), 0.5),
        (outputs(0.0, 0.0, 40.0), -0.8),
        (outputs(30.0, -40.0, -40.0), 1.0),
    ],
    ids=["rested", "carried", "written"],
)
def test_a_place_keeps_what_rested_or_what_was_carried_or_writes_anew(output: torch.Tensor, expected: float) -> None:
    assert remembered(output, WAYS).item() == pytest.approx(expected, abs=1e-6)


def test_a_network_that_begins_forgets_slowly() -> None:
    kept = torch.tensor([0.0, KEPT_LOGIT, 0.0]).softmax(0)
    assert remembered(outputs(0.0, 0.0, 0.0), WAYS).item() == pytest.approx(0.5 * kept[1].item() - 0.8 * kept[2].item())
    assert kept[1] > 0.75


def test_memory_goes_where_things_go() -> None:
    """A note at one place is found one place to the right, where the hand has carried it, and where it was, if it rested."""
    noted = torch.zeros(1, 1, 1, *SMALL)
    noted[..., 3, 4] = 1.0
    memory = torch.nn.functional.pixel_unshuffle(noted[:, :, 0], MODEL.rollout.fold)[:, :, None]
    ways = moved_memory(memory, torch.stack([still(), one_place_right()])[None, None], MODEL.rollout.fold)
    rested, carried = (torch.nn.functional.pixel_shuffle(way[:, :, 0], MODEL.rollout.fold)[0, 0] for way in ways)
    assert rested[3, 4] == pytest.approx(1.0, abs=1e-5)
    assert carried[3, 5] == pytest.approx(1.0, abs=1e-4)
    assert carried[3, 4] == pytest.approx(0.0, abs=1e-4)


def test_memory_reaches_the_next_frame_and_not_the_present_one() -> None:
    first, second = (begun() for _ in range(2))
    (rollout, given), (twin, _) = first, second
    assert torch.equal(rollout.generate(given.part(1, 2)), twin.generate(given.part(1, 2)))
    rollout.commit()
    twin.commit()
    twin._recall = replace(twin._recall, memory=torch.zeros_like(twin._recall.memory))
    assert not torch.allclose(rollout.generate(given.part(2, 3)), twin.generate(given.part(2, 3)))


def test_asking_again_leaves_what_is_remembered() -> None:
    (rollout, given), (twin, _) = begun(), begun()
    rollout.generate(conditions(2, [one_place_right(), still()]).part(1, 2))
    for stream in (rollout, twin):
        stream.generate(given.part(1, 2))
        stream.commit()
    assert torch.equal(rollout.generate(given.part(2, 3)), twin.generate(given.part(2, 3)))


def test_a_stream_that_starts_again_remembers_nothing() -> None:
    (rollout, given), (twin, _) = begun(), begun()
    for index in range(1, 3):
        rollout.generate(given.part(index, index + 1))
        rollout.commit()
    reference = torch.randn(1, MODEL.codec.latent_channels, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    rollout.start(reference, given.part(0, 1))
    assert torch.equal(rollout.generate(given.part(1, 2)), twin.generate(given.part(1, 2)))


@pytest.mark.parametrize("detached", [False, True])
def test_gradients_flow_back_along_the_memory_until_it_is_detached(detached: bool) -> None:
    """With what was generated replaced by the truth, nothing but the memory ties a frame to the network's earlier outputs."""
    rollout, given = begun()
    rollout.generate(given.part(1, 2))
    rollout.transformer.refiner.conv_out.weight.requires_grad_(True)
    rollout.generate(given.part(2, 3))
    rollout.commit(torch.zeros(1, MODEL.codec.latent_channels, 1, *SIZE))
    if detached:
        rollout.detach()
    rollout.transformer.refiner.conv_out.weight.requires_grad_(False)
    with torch.enable_grad():
        later = rollout.generate(given.part(3, 4))
    assert later.requires_grad is not detached


def test_only_networks_with_a_memory_have_one() -> None:
    latents = torch.zeros(2, 12, 1, *SIZE)
    assert Recall.at_start(None, latents) is None
    assert Recall.at_start(replace(REFINER, memory=0, traced=False, dressed=False), latents) is None
    begun = Recall.at_start(replace(REFINER, traced=False), latents)
    assert begun.memory.shape == (2, REFINER.memory_channels, 1, *SIZE)
    assert begun.origins is None


def test_a_memory_without_layers_is_refused() -> None:
    network = replace(MODEL.transformer, out_dim=MODEL.codec.latent_channels)
    with pytest.raises(ValueError, match=r"refiner\.memory, traced, dressed and static_raised need prediction 'layers'"):
        replace(MODEL, transformer=network, rollout=RolloutConfig(window=3, prediction="residual"))
    with pytest.raises(ValueError, match="memory must not be negative, got 0 and -1"):
        RefinerConfig(8, 2, memory=-1)


def test_layers_are_those_of_the_network_whatever_it_remembers() -> None:
    """What is remembered is beside the output: the picture is made of the output alone."""
    rollout, given = begun()
    generated = rollout.generate(given.part(1, 2))
    output, layers = rollout.drawn
    assert output.shape[1] == MODEL.transformer.out_dim
    torch.testing.assert_close(generated, composite(output, layers))


@pytest.mark.parametrize("knows_static", [True, False])
def test_what_is_drawn_is_believed_more_where_it_is_drawn(knows_static: bool) -> None:
    """The static scene's logits come right after the new latents, those of hands in their colours last."""
    assert REFINER is not None
    num_channels, places = MODEL.codec.latent_channels, REFINER.fold**2
    plain = replace(MODEL.transformer, refiner=replace(REFINER, detail_width=0))
    raised = replace(MODEL.transformer, refiner=replace(REFINER, detail_width=0, static_raised=2.0, dressed_raised=3.0))
    inputs, previous = torch.randn(2, 1, plain.in_dim, 1, *SIZE, generator=torch.Generator().manual_seed(2))
    black, lit = -LATENT_SCALE, LATENT_SCALE
    inputs[:, num_channels : 2 * num_channels] = torch.where(torch.arange(SIZE[1]) < 2, lit, black)  # hands in the first columns
    inputs[:, 3 * num_channels :] *= knows_static
    before, after = (random_transformer(config, 0).refiner for config in (plain, raised))
    assert before is not None
    assert after is not None
    with torch.inference_mode():
        (was, noted), (now, noted_now) = before(inputs, previous), after(inputs, previous)
    expected = torch.zeros_like(was)
    expected[:, num_channels:][:, :places] = 2.0 * knows_static
    expected[:, -places:, ..., :2] = 3.0
    torch.testing.assert_close(now - was, expected, atol=1e-5, rtol=0)
    assert torch.equal(noted, noted_now)


def test_hands_in_their_colours_are_raised_only_where_they_are_shown() -> None:
    with pytest.raises(ValueError, match="dressed_raised must be 0"):
        RefinerConfig(8, 2, dressed_raised=1.0)

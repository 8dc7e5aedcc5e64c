"""Where the reference shows what is at each place."""

from dataclasses import replace

import pytest
import torch
from generators import random_transformer
from test_memory import MODEL, begun, conditions, one_place_right, still

from h2w_ros.generator.origins import chosen_origins, moved_origins, origins_at_start, shown_origins, traced
from h2w_ros.generator.recall import Recall
from h2w_ros.generator.rollout import Rollout
from h2w_ros.generator.schedule import layered

FOLD = MODEL.rollout.fold
SMALL, SIZE = MODEL.small_size, MODEL.latent_size
STEP = 2.0 / SMALL[1]


def picture(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, MODEL.codec.latent_channels, 1, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_at_the_start_the_reference_shows_itself() -> None:
    origins = origins_at_start(1, SMALL)
    torch.testing.assert_close(origins[0].permute(1, 2, 0), still())
    plain = picture(1)[None]
    torch.testing.assert_close(traced(picture(), origins[None], plain, FOLD)[0], picture(), atol=1e-5, rtol=0)


def test_origins_go_where_things_go() -> None:
    rested, carried = moved_origins(origins_at_start(1, SMALL), torch.stack([still(), one_place_right()])[None])
    torch.testing.assert_close(rested[0].permute(1, 2, 0), still())
    torch.testing.assert_close(carried[0, 0, :, 1:], still()[:, :-1, 0])
    assert carried[0, :, :, 0].isnan().all()  # came from outside the reference


def test_what_moves_by_less_than_a_place_adds_up() -> None:
    """Ten steps of a tenth of a place: a resampled picture would be a blur by now, an origin is a place farther."""
    origins = origins_at_start(1, SMALL)
    places = (still() - torch.tensor([STEP / 10, 0.0]))[None, None]
    for _ in range(10):
        origins = moved_origins(origins, places)[0]
    known = origins[0, 0, :, 1:]
    torch.testing.assert_close(known, still()[:, :-1, 0], atol=1e-5, rtol=0)
    right = traced(picture(), origins[None], picture(1)[None], FOLD)[0]
    small, moved = (torch.nn.functional.pixel_shuffle(x[:, :, 0], FOLD) for x in (picture(), right))
    torch.testing.assert_close(moved[..., 1:], small[..., :-1], atol=1e-4, rtol=0)


def test_between_two_things_no_origin_is_made_up() -> None:
    origins = origins_at_start(1, SMALL).clone()
    origins[:, 0, :, SMALL[1] // 2 :] -= 0.5  # two things beside each other, from far apart
    moved = moved_origins(origins, (still() - torch.tensor([0.4 * STEP, 0.0]))[None, None])[0]
    offset = moved[0, 0] - still()[..., 0]
    assert all(min(abs(value + 0.4 * STEP), abs(value + 0.4 * STEP + 0.5)) < 1e-5 for value in offset[:, 1:].flatten().tolist())


def test_what_the_reference_does_not_show_is_as_it_would_be_otherwise() -> None:
    outside = shown_origins((still() + 3.0)[None])
    assert outside.isnan().all()
    plain = picture(1)[None]
    torch.testing.assert_close(traced(picture(), outside[None], plain, FOLD), plain)


def test_each_place_keeps_the_origin_of_the_layer_that_counts_most() -> None:
    candidates = torch.stack([torch.full((1, 2, *SMALL), value) for value in (0.1, 0.2, 0.3)])
    logits = torch.zeros(1, 3, FOLD**2, 1, *SIZE)
    logits[:, 1] = 1.0
    logits[:, 2, 0, 0, 0, 0] = 5.0  # the first place of the first latent
    kept = chosen_origins(logits, candidates, FOLD)
    assert kept[0, 0, 0, 0] == pytest.approx(0.3)
    assert (kept.flatten()[1:] == 0.2).sum() == kept.numel() - 2


def always(layer: int) -> Rollout:
    """A stream whose every place is this layer: 0 static, 1 rests, 2 carried, 3 and 4 the reference's, at rest and carried."""
    transformer = random_transformer(MODEL.transformer)
    for conv in (transformer.refiner.conv_out, transformer.refiner.detail.conv_out, transformer.head.head):
        conv.weight.zero_()
        conv.bias.zero_()
    first = MODEL.codec.latent_channels + layer * FOLD**2
    transformer.refiner.conv_out.bias[first : first + FOLD**2] = 40.0
    return Rollout(transformer, MODEL.rollout)


@pytest.mark.parametrize(("layer", "places"), [(3, 0), (4, 5)], ids=["rests", "carried"])
def test_what_is_carried_stays_what_it_was_however_long(layer: int, places: int) -> None:
    """Five frames, one place to the right each: the stream is the reference, moved once."""
    rollout, given = always(layer), conditions(6, [still(), one_place_right()])
    rollout.start(picture(), given.part(0, 1))
    for index in range(1, 6):
        generated = rollout.generate(given.part(index, index + 1))
        rollout.commit()
    small, seen = (torch.nn.functional.pixel_shuffle(x[:, :, 0], FOLD) for x in (picture(), generated))
    torch.testing.assert_close(seen[..., places:], small[..., : SMALL[1] - places], atol=1e-4, rtol=0)


def test_a_stream_without_a_static_scene_takes_what_rests_in_its_place() -> None:
    """The static layer is then what rests, and so is its origin."""
    rollout, given = begun()
    unknown = replace(given, static=None)
    rollout.generate(unknown.part(1, 2))
    kept = rollout._recalled(unknown.part(1, 2), rollout._past(unknown.part(1, 2))[1])
    assert torch.equal(kept.origins[0], kept.origins[1])
    assert torch.equal(kept.layers[0], kept.layers[1])


def test_layers_and_origins_are_in_the_same_order() -> None:
    rollout, given = begun()
    now = given.part(1, 2)
    kept = rollout._recalled(now, rollout._past(now)[1])
    assert len(kept.layers) == len(kept.origins) == layered(torch.zeros(1, MODEL.transformer.out_dim, 1, *SIZE), kept.layers)[1].shape[1] - 1


def test_a_stream_entered_late_takes_it_that_all_has_rested() -> None:
    recall = Recall.at_start(MODEL.transformer.refiner, picture())
    later = recall.resting_since(one_place_right()[None])
    torch.testing.assert_close(later.origins, moved_origins(recall.origins, one_place_right()[None, None])[0], equal_nan=True)
    assert torch.equal(later.memory, recall.memory)

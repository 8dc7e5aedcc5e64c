"""Where everything stood a moment ago."""

import dataclasses
import math

import pytest
import torch

from h2w_ros.generator.motion import REACH_M, Moment, moved, places_before
from h2w_ros.generator.schedule import composite

SIZE = (12, 16)
DOWN = torch.tensor([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 0.5], [0, 0, 0, 1.0]])  # half a metre up, looking at the table


def shifted(T: torch.Tensor, *offset: float) -> torch.Tensor:
    out = T.clone()
    out[..., :3, 3] += torch.tensor(offset)
    return out


def moment(T_world_camera=DOWN, left=None, right=None, table_height_m: float = 0.0) -> Moment:
    missing = torch.full((4, 4), torch.nan)
    grips = torch.stack([missing if T is None else T for T in (left, right)])
    return Moment(torch.tensor([[1.0, 4 / 3, 0.5, 0.5]]), T_world_camera[None], grips[None], torch.tensor([table_height_m]))


def still() -> torch.Tensor:
    """Every place where it is."""
    y, x = torch.meshgrid(*(2 * (torch.arange(n) + 0.5) / n - 1 for n in SIZE), indexing="ij")
    return torch.stack([x, y], -1)


GRIP = shifted(torch.eye(4), 0.05, 0.0, 0.1)


def test_nothing_moves_while_neither_head_nor_hands_do():
    places = places_before(moment(right=GRIP), moment(right=GRIP), SIZE)[0]
    torch.testing.assert_close(places, still().expand(2, -1, -1, -1), rtol=0, atol=1e-5)


def test_the_table_rests_while_the_head_moves_along_it():
    resting, carried = places_before(moment(shifted(DOWN, 0.05, 0.0, 0.0)), moment(), SIZE)[0]
    torch.testing.assert_close(resting, still() + torch.tensor([2 * 0.05 / 0.5, 0.0]), rtol=0, atol=1e-5)
    assert torch.equal(carried, resting)  # nobody could carry it


def test_what_a_hand_carries_goes_with_it():
    now, before = moment(right=shifted(GRIP, 0.02, 0.0, 0.0)), moment(right=GRIP)
    resting, carried = places_before(now, before, SIZE)[0]
    torch.testing.assert_close(resting, still(), rtol=0, atol=1e-5)
    torch.testing.assert_close(carried, still() - torch.tensor([2 * 0.02 / 0.4, 0.0]), rtol=0, atol=1e-5)  # the hand is 0.4 m from the camera


def test_what_a_hand_turns_turns_about_it():
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # a quarter, counter-clockwise seen from above
    now, before = moment(right=GRIP @ turn), moment(right=GRIP)
    carried = places_before(now, before, SIZE)[0, 1]
    centre = torch.tensor([2 * 0.05 / 0.4, 0.0])  # of the hand in the picture, in half-widths
    square = torch.tensor([1.0, 3 / 4])  # the picture is wider than high
    was, now_at = (carried - centre) * square, (still() - centre) * square
    torch.testing.assert_close(was.norm(dim=-1), now_at.norm(dim=-1), rtol=0, atol=1e-4)
    torch.testing.assert_close((was * now_at).sum(-1), torch.zeros(SIZE), rtol=0, atol=1e-4)


def test_every_place_goes_with_the_hand_beside_it():
    far_left = shifted(torch.eye(4), -0.15, 0.0, 0.1)
    now = moment(left=far_left, right=shifted(GRIP, 0.02, 0.0, 0.0))
    carried = places_before(now, moment(left=far_left, right=GRIP), SIZE)[0, 1]
    is_still = (carried - still()).norm(dim=-1) < 1e-5
    assert is_still[:, 0].all()
    assert not is_still[:, -1].any()


@pytest.mark.parametrize("side", ["now", "before"])
def test_a_hand_that_is_not_known_at_both_moments_carries_nothing(side: str):
    moments = {"now": moment(shifted(DOWN, 0.01, 0.0, 0.0), right=shifted(GRIP, 0.02, 0.0, 0.0)), "before": moment(right=GRIP)}
    moments[side] = dataclasses.replace(moments[side], T_world_grips=torch.full((1, 2, 4, 4), torch.nan))
    resting, carried = places_before(moments["now"], moments["before"], SIZE)[0]
    assert torch.equal(carried, resting)


def test_a_table_that_is_not_known_stands_at_reach():
    now, before = moment(shifted(DOWN, 0.05, 0.0, 0.0), table_height_m=math.nan), moment(table_height_m=math.nan)
    middle = places_before(now, before, (3, 3))[0, 0, 1, 1]
    torch.testing.assert_close(middle, torch.tensor([2 * 0.05 / REACH_M, 0.0]), rtol=0, atol=1e-5)


def test_streams_do_not_mix():
    moments = [(moment(shifted(DOWN, dx, 0.0, 0.0), right=shifted(GRIP, 0.0, dx, 0.0)), moment(right=GRIP)) for dx in (0.01, 0.03)]
    together = places_before(*(Moment.together(side) for side in zip(*moments, strict=True)), SIZE)
    assert torch.equal(together, torch.cat([places_before(*pair, SIZE) for pair in moments]))


@pytest.mark.parametrize("fold", [1, 2])
def test_latents_stay_where_nothing_moves_and_shift_by_whole_places_exactly(fold: int):
    latents = torch.randn(2, 12, 1, SIZE[0] // fold, SIZE[1] // fold, generator=torch.Generator().manual_seed(0))
    one_right = still() + torch.tensor([2.0 / SIZE[1], 0.0])
    resting, carried = moved(latents, torch.stack([still(), one_right])[None, None].expand(2, 1, -1, -1, -1, -1), fold)
    torch.testing.assert_close(resting, latents, rtol=0, atol=1e-5)
    before, after = (torch.nn.functional.pixel_shuffle(x[:, :, 0], fold) for x in (latents, carried))
    torch.testing.assert_close(after[..., :-1], before[..., 1:], rtol=0, atol=1e-5)


def test_a_layer_is_seen_where_its_weight_is_and_in_all_its_colours():
    """Latents of 2 x 2 places in 3 colours: the carried layer is chosen at one place of one latent."""
    new, *layers = (torch.full((1, 12, 1, 2, 2), float(value)) for value in range(4))
    logits = torch.zeros(1, 3, 4, 1, 2, 2)
    logits[:, 0] = 40.0  # what is known, all over
    logits[0, 2, 1, 0, 1, 0] = 80.0  # carried: second place of the third latent
    picture = torch.nn.functional.pixel_shuffle(composite(torch.cat([new, logits.flatten(1, 2)], dim=1), layers)[:, :, 0], 2)[0]
    expected = torch.ones(3, 4, 4)
    expected[:, 2, 1] = 3.0
    torch.testing.assert_close(picture, expected, rtol=0, atol=1e-4)


def test_an_output_of_zero_is_nearly_what_is_known():
    known, resting, carried = (torch.full((1, 12, 1, 2, 2), value) for value in (1.0, 0.5, -0.5))
    seen = composite(torch.zeros(1, 24, 1, 2, 2), (known, resting, carried))
    assert ((seen > 0.85) & (seen < 1.0)).all()

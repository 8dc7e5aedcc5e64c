"""Episodes in which hands carry things are told from others, and drawn more often."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from h2w_ros.generator.presets import preset
from h2w_ros.training.carried import drawing_shares, moments_of, num_carried_frames

MODEL = preset("tiny")
NUM_FRAMES, DEPTH_M = 6, 0.5
HEIGHT, WIDTH = MODEL.small_size
PLACES_A_FRAME = 2


def patch_at(column: int) -> torch.Tensor:
    """A small picture, grey but for a bright square, as latents."""
    picture = torch.zeros(3, HEIGHT, WIDTH)
    bright = torch.rand(3, HEIGHT // 2, WIDTH // 4, generator=torch.Generator().manual_seed(0))
    picture[:, HEIGHT // 4 : 3 * HEIGHT // 4, column : column + WIDTH // 4] = 3.0 * bright
    return F.pixel_unshuffle(picture[None], MODEL.rollout.fold)[0]


def num_carried(places_a_frame: int, hand_places_a_frame: int, share: float = 1.0) -> int:
    """A patch and a hand that move to the right, so many places a frame, before a camera that stands still."""
    image = torch.stack([patch_at(places_a_frame * i) for i in range(NUM_FRAMES)])
    grips = np.full((NUM_FRAMES, 2, 4, 4), np.nan, np.float32)
    grips[:, 1] = np.eye(4)
    grips[:, 1, 2, 3] = DEPTH_M
    grips[:, 1, 0, 3] = hand_places_a_frame * np.arange(NUM_FRAMES) * DEPTH_M / WIDTH
    moments = moments_of(np.tile(np.eye(4), (NUM_FRAMES, 1, 1)), grips, np.array([1.0, 1.0, 0.5, 0.5]), np.nan)
    shares = torch.ones(NUM_FRAMES, *image.shape[2:])
    return num_carried_frames(image, 0.0 * shares, share * shares, moments, MODEL)


def test_what_moves_as_the_hand_does_is_carried() -> None:
    assert num_carried(PLACES_A_FRAME, PLACES_A_FRAME) == NUM_FRAMES - 1


@pytest.mark.parametrize(("patch", "hand"), [(0, 0), (0, PLACES_A_FRAME), (PLACES_A_FRAME, 0), (PLACES_A_FRAME, -PLACES_A_FRAME)])
def test_what_rests_or_moves_another_way_is_not(patch: int, hand: int) -> None:
    assert num_carried(patch, hand) == 0


def test_frames_that_show_no_object_tell_nothing() -> None:
    assert num_carried(PLACES_A_FRAME, PLACES_A_FRAME, share=0.0) == 0


def test_episodes_with_carried_things_get_their_share_of_the_draws() -> None:
    shares = drawing_shares(np.array([0, 0, 4, 40, 1]), carried_share=0.5)
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(shares - 0.1, [0.0, 0.0, 0.5 / 3, 1.0 / 3, 0.0], atol=1e-12)


def test_where_nothing_is_carried_every_episode_is_drawn_alike() -> None:
    np.testing.assert_allclose(drawing_shares(np.zeros(4, int), carried_share=0.5), 0.25)

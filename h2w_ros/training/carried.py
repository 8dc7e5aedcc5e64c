"""How much of an episode shows things that go along with a hand: rare, and what a generator learns last."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.motion import Moment, moved, places_before

LEAST_ERROR = 0.05
"""Mean squared difference of latents to a scene at rest from which something counts as moving."""
CLEARLY_LESS = 0.7
MOST_HAND, LEAST_OBJECT = 0.1, 0.3
"""Latents that show this much of a moving object, and no more of a hand, tell how things moved."""
LEAST_PLACES = 4
FEW_FRAMES, MANY_FRAMES = 3, 8
"""Episodes with fewer such frames may have them by chance; more than many count as many."""


def num_carried_frames(
    image: Float[Tensor, "T Z h w"], hand_share: Float[Tensor, "T h w"], object_share: Float[Tensor, "T h w"], moments: Moment, model: GeneratorConfig
) -> int:
    """Frames whose moving objects are told clearly better by the last frame as carried than by the last frame as resting."""
    if model.rollout.prediction != "layers":
        return 0
    before, now = moments.part(slice(-1)), moments.part(slice(1, None))
    places = places_before(now, before, model.small_size)[:, None]
    ways = moved(image[:-1, :, None].float(), places, model.rollout.fold)[:, :, :, 0]
    told = ((object_share[1:] > LEAST_OBJECT) & (hand_share[1:] < MOST_HAND)).float()
    num_places = told.sum((1, 2))
    apart = (ways - image[1:].float()).square().mean(2)
    resting, carried = (apart * told).sum((2, 3)) / num_places.clamp(min=1.0)
    return int(((num_places >= LEAST_PLACES) & (resting > LEAST_ERROR) & (carried < CLEARLY_LESS * resting)).sum())


def drawing_shares(num_carried: np.ndarray, carried_share: float) -> Float[ndarray, "N"]:  # a shape
    """How often each of N episodes is drawn: that share of the draws goes to those with carried things in them."""
    even = np.full(len(num_carried), 1.0 / len(num_carried))
    weight = np.where(num_carried >= FEW_FRAMES, np.minimum(num_carried, MANY_FRAMES), 0.0)
    return even if weight.sum() == 0.0 else (1.0 - carried_share) * even + carried_share * weight / weight.sum()


def moments_of(T_world_camera: np.ndarray, T_world_grips: np.ndarray, intrinsics: np.ndarray, table_height_m: float) -> Moment:
    """The moments of one episode's T frames, whose camera stays what it is."""
    num_frames = len(T_world_camera)
    arrays = np.tile(intrinsics, (num_frames, 1)), T_world_camera, T_world_grips, np.full(num_frames, table_height_m)
    return Moment(*(torch.from_numpy(np.asarray(array)).float() for array in arrays))

"""Conditions as the network sees them: pictures and rays at the generator's size, before anything is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from h2w_ros.camera import pack_plucker
from h2w_ros.condition import Image
from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.generator.motion import Moment, places_since
from h2w_ros.generator.rays import FrameRays


@dataclass(frozen=True, eq=False)
class DrawnCondition:
    """One condition at the generator's size: the hand render, the picture of hands that the network is shown, which may have forearms
    too, the rays, where everything is, the static scene, and for a network that asks, the hands in their colours."""

    hands: Image
    control: Image
    rays: FrameRays
    moment: Moment
    static: Image | None = None
    dressed: Image | None = None


def packed_rays(block: Sequence[DrawnCondition], before: DrawnCondition | None, temporal_stride: int) -> Tensor:
    """A block's rays as the camera adapter takes them, (1, c, n, H, W); all but a stream's first are packed behind the frame `before`."""
    history = [] if before is None else [before]
    packed = pack_plucker(np.stack([drawn.rays.plucker for drawn in (*history, *block)]), temporal_stride)[:, len(history) :]
    return torch.from_numpy(packed)[None]


def moved_places(
    config: GeneratorConfig, now: Sequence[DrawnCondition], before: Sequence[DrawnCondition], first: Sequence[DrawnCondition]
) -> Tensor | None:
    """For streams at their next frame, where everything stood before, (B, 1, N, H, W, 2); None for networks that don't ask. `places_since`."""
    if config.rollout.prediction != "layers":
        return None
    now_all, before_all, first_all = (Moment.together([drawn.moment for drawn in frames]) for frames in (now, before, first))
    return places_since(now_all, before_all, first_all, config.small_size)[:, None]


def static_scenes(block: Sequence[DrawnCondition]) -> list[Image] | None:
    """The static scene of every moment, or None where it is unknown for one of them."""
    return _of_all([drawn.static for drawn in block])


def dressed_hands(block: Sequence[DrawnCondition]) -> list[Image] | None:
    """The hands in their colours at every moment; None for a network that does not ask."""
    return _of_all([drawn.dressed for drawn in block])


def _of_all(pictures: Sequence[Image | None]) -> list[Image] | None:
    known = [picture for picture in pictures if picture is not None]
    return known if len(known) == len(pictures) else None

"""Simulated episodes with the static scene that a depth camera would have given, in place of the true one.

What is fused is what a scan before the action shows: everything as it is in the first frame, and of the later ones what never
moves. Hands are left out of all of them.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from h2w_ros.evaluation.episodes import HeldOutEpisode, picture_of
from h2w_ros.scene.along import along
from h2w_ros.scene.fusion import Fusion, FusionConfig
from h2w_ros.scene.points import Points

EVERY = 4
"""One frame in so many is fused: four a second, as the scene node does."""
MARGIN_PX = 2


def with_fused_scene(episode: HeldOutEpisode) -> HeldOutEpisode:
    """The episode with renders of a fused scene, holes marked; ValueError where its depth or masks are unknown."""
    return replace(episode, conditions=list(along(episode.conditions, fused_scene(episode))))


def fused_scene(episode: HeldOutEpisode) -> Points:
    """The scene as its depth images tell it."""
    if episode.truth is None or episode.hand_masks is None or episode.object_masks is None:
        raise ValueError("a fused scene needs depth and masks, which only simulated episodes have; leave it out of --also")
    fusion = Fusion(FusionConfig(forgets=False))
    for index in range(0, len(episode.conditions), EVERY):
        condition, depth_m = episode.conditions[index], episode.truth.depth_m[index]
        hidden = episode.hand_masks[index] if index == 0 else episode.hand_masks[index] | episode.object_masks[index]
        measured = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
        fusion.add_depth(picture_of(condition), measured, condition.camera, condition.T_world_camera, _grown(hidden))
    scene = fusion.scene()
    if scene is None:
        raise ValueError("a fused scene needs surfaces within reach of the depth camera, and this episode shows none")
    return scene


def _grown(mask: Bool[ndarray, "H W"]) -> Bool[ndarray, "H W"]:
    """With a margin: at an outline colors are mixed."""
    size = 2 * MARGIN_PX + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8))) > 0

"""More appearances from the same episode: mirrored worlds and other colours, exact in geometry.

What a small generator fits too closely is how few episodes look, not how they move; these cost a twentieth of a new episode.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
POSES = ("T_world_camera", "T_world_grips")
CAMERA_PICTURES = ("image", "static")
LUMA = np.array([0.299, 0.587, 0.114])


def augmented(pixels: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The episode (arrays of `cache.episode_pixels`) in other colours and, half of the time, seen in a mirror."""
    arrays = mirrored(pixels) if rng.uniform() < 0.5 else dict(pixels)
    matrix, gamma = colour_matrix(rng), float(np.exp(rng.uniform(-0.25, 0.25)))
    return arrays | {name: recoloured(arrays[name], matrix, gamma) for name in CAMERA_PICTURES if name in arrays}


def mirrored(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The episode in a world whose x points the other way: left hands become right ones, poses and camera follow."""
    width_px, height_px, fx, fy, cx, cy = pixels["camera"]
    flipped = {name: array[:, :, ::-1] for name, array in pixels.items() if array.ndim >= 3 and name not in POSES}
    hand = flipped["hand"][..., ::-1]  # red is right, blue is left
    camera = np.array([width_px, height_px, fx, fy, width_px - cx, cy])
    poses = {name: MIRROR @ pixels[name] @ MIRROR for name in POSES}
    grips = poses["T_world_grips"][:, ::-1].astype(np.float32)  # left and right
    return {**flipped, **poses, "hand": hand, "camera": camera, "T_world_grips": grips}


def colour_matrix(rng: np.random.Generator) -> Float[ndarray, "3 3"]:
    """A random change of RGB: saturation, hue (a turn about grey), light of another colour and strength."""
    saturation, angle, gain = rng.uniform(0.5, 1.4), rng.normal(0, 0.3), np.exp(rng.normal(0, 0.1, 3) + rng.normal(0, 0.12))
    x, y, z = np.full(3, np.sin(angle) / np.sqrt(3))
    turn = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) / 3 + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    grey = np.tile(LUMA, (3, 1))
    return np.diag(gain) @ (grey + saturation * (turn - grey))


def recoloured(pictures: np.ndarray, matrix: Float[ndarray, "3 3"], gamma: float) -> np.ndarray:
    """uint8 pictures (..., 3) with the matrix applied to their RGB, then the gamma."""
    linear = np.clip(pictures.astype(np.float32) / 255.0 @ matrix.T.astype(np.float32), 0.0, 1.0)
    return (linear**gamma * 255.0 + 0.5).astype(np.uint8)

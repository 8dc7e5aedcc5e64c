"""A slot for regressors of the kind of HaMeR and WiLoR, exported to ONNX by the user; MediaPipe, or another detector, says where to look.

The network: one input, float32 pictures (n, 3, S, S), RGB normalised as ImageNet's, of right hands (left ones are mirrored for it). Two
outputs: `keypoints_3d` (n, 21, 3) [m] and `keypoints_2d` (n, 21, 2) as shares of the crop about its middle (-0.5 .. 0.5), OpenPose's order.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.annotate.clip import Clip
from h2w_ros.annotate.mediapipe_hands import MediaPipeHands
from h2w_ros.annotate.saved_points import DEPTH_NOISE_M, MIRROR, POINT_NOISE
from h2w_ros.annotate.sighting import HandDetector, HandSighting, Sightings
from h2w_ros.condition import Camera, Image
from h2w_ros.hands.trackers.conventions import CONVENTIONS, in_our_order

MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# The crop's side, in sides of the box around the hand's points.
CROP = 2.0
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(frozen=True)
class OnnxHands:
    """The detector: boxes of `boxes`, hands of the network in `path`."""

    name: str
    path: str
    mano: Path | None = None
    boxes: HandDetector = field(default_factory=MediaPipeHands)

    @cached_property
    def network(self) -> Network:
        """The loaded network."""
        return Network(Path(self.path))

    def sightings(self, clip: Clip, camera: Camera) -> Iterator[Sightings]:
        """The hands of every frame in which the other detector sees some."""
        for picture, boxes in zip(clip.pictures(), self.boxes.sightings(clip, camera), strict=True):
            yield tuple(self.network.refined(picture, sighting) for sighting in boxes)


class Network:
    """A loaded ONNX file, on the GPU where onnxruntime has one. ImportError, FileNotFoundError or ValueError say what is missing."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"No network at {path}")
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise ImportError("networks in ONNX need onnxruntime: pip install onnxruntime, or onnxruntime-gpu") from error
        there = runtime.get_available_providers()
        self._session = runtime.InferenceSession(str(path), providers=[provider for provider in PROVIDERS if provider in there])
        (self._input,) = self._session.get_inputs()
        names = {output.name for output in self._session.get_outputs()}
        if not {"keypoints_3d", "keypoints_2d"} <= names:
            raise ValueError(f"{path} must have the outputs keypoints_3d and keypoints_2d, it has {sorted(names)}")
        if len(self._input.shape) != 4 or not isinstance(self._input.shape[2], int):
            raise ValueError(f"{path} must take pictures (n, 3, S, S) of a known size S, its input is {self._input.shape}")

    def refined(self, picture: Image, seen: HandSighting) -> HandSighting:
        """The hand in the box of a sighting as the network sees it."""
        corner, side_px = _box(seen)
        crop = _crop(picture, corner, side_px, self._input.shape[2], seen.side == "left")
        shape, places = self._points(crop)
        if seen.side == "left":
            shape, places = shape * MIRROR, places * MIRROR[:2]
        order = CONVENTIONS["points21"]
        return HandSighting(
            side=seen.side,
            points_px=in_our_order(order, corner + (places + 0.5) * side_px),
            points_hand_m=in_our_order(order, shape),
            confidence=seen.confidence,
            side_confidence=seen.side_confidence,
            point_noise=POINT_NOISE,
            depth_noise_m=DEPTH_NOISE_M,
        )

    def _points(self, crop: Float[ndarray, "S S 3"]) -> tuple[Float[ndarray, "21 3"], Float[ndarray, "21 2"]]:
        inputs: dict[str, Any] = {self._input.name: crop.transpose(2, 0, 1)[None].astype(np.float32)}
        shape, places = self._session.run(["keypoints_3d", "keypoints_2d"], inputs)
        return shape.reshape(21, 3).astype(np.float64), places.reshape(21, 2).astype(np.float64)


def _box(seen: HandSighting) -> tuple[Float[ndarray, "2"], float]:
    """Top left corner and side of the square crop [px]."""
    low, high = np.nanmin(seen.points_px, axis=0), np.nanmax(seen.points_px, axis=0)
    side_px = CROP * max(float((high - low).max()), 1.0)
    return 0.5 * (low + high) - 0.5 * side_px, side_px


def _crop(picture: Image, corner: Float[ndarray, "2"], side_px: float, size: int, is_mirrored: bool) -> Float[ndarray, "S S 3"]:
    scale = size / side_px
    # Corner origin to pixel centres on both sides.
    warp = np.array([[scale, 0.0, 0.5 * scale - 0.5 - scale * corner[0]], [0.0, scale, 0.5 * scale - 0.5 - scale * corner[1]]])
    crop = cv2.warpAffine(picture, warp, (size, size), flags=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
    straight = crop[:, ::-1] if is_mirrored else crop
    return np.asarray((straight / 255.0 - MEAN) / SPREAD)

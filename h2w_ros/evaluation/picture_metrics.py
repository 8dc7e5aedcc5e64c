"""How two pictures, or two motions, differ at every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from h2w_ros.condition import Image

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

PixelMap = Float32[ndarray, "H W"]
Flow = Float32[ndarray, "H W 2"]


def squared_error(predicted: Image, truth: Image) -> PixelMap:
    """Mean over the three channels, in grey levels squared."""
    return np.square(predicted.astype(np.float32) - truth).mean(axis=-1)


def ssim_map(predicted: Image, truth: Image) -> PixelMap:
    """Structural similarity around every pixel, mean over the channels: 1 where nothing differs.

    Wang et al. 2004, with their Gaussian window of 11 px and their constants.
    """
    x, y = predicted.astype(np.float32), truth.astype(np.float32)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    return (luminance * structure).mean(axis=-1)


def flows(pictures: Sequence[Image]) -> list[Flow]:
    """Dense optical flow [px] from every picture to the next (OpenCV's DIS), on the earlier one's pixels."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    return [flow_between(method, before, after) for before, after in pairwise(grey)]


def flow_between(method: cv2.DenseOpticalFlow, before: ndarray, after: ndarray) -> Flow:
    """Flow [px] from one grey picture to another."""
    return np.asarray(method.calc(before, after, np.zeros((*before.shape, 2), np.float32)), np.float32)


def end_point_error(predicted: Flow, truth: Flow) -> PixelMap:
    """How far apart two flows end [px]."""
    return np.linalg.norm(predicted - truth, axis=-1)


def _blurred(picture: ndarray) -> ndarray:
    return cv2.GaussianBlur(picture, (SSIM_WINDOW_PX, SSIM_WINDOW_PX), SSIM_SIGMA_PX)

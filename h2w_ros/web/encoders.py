"""Pictures on their way to a browser: H.264 where it decodes that, JPEG anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import cv2

from h2w_ros.condition import Image
from h2w_ros.video_stream import H264Stream

Codec = Literal["jpeg", "h264"]

SMALL_PX = 320
"""Narrower pictures are enlarged before they are encoded: colour has half the resolution in either codec."""
ENLARGED = 3
H264_PROFILE = "avc1.42c01f"
"""Constrained baseline, level 3.1: what x264's baseline profile writes, and every decoder knows."""


@dataclass(frozen=True)
class Quality:
    """How much a picture may cost: its size as a share, JPEG's quality and x264's crf."""

    scale: float
    jpeg_quality: int
    crf: int


LADDER = (Quality(1.0, 90, 20), Quality(1.0, 75, 26), Quality(0.5, 65, 28), Quality(0.25, 50, 32))
"""From the best down to what a slow line bears."""


@dataclass(frozen=True)
class Encoded:
    """A picture as bytes; one that is no key needs all before it since the last key."""

    data: bytes
    codec: Codec
    is_key: bool


@runtime_checkable
class Encoder(Protocol):
    """Pictures of one stream to bytes, in order."""

    def encode(self, picture: Image) -> Encoded:
        """The picture at the encoder's quality."""


class JpegEncoder:
    """Every picture by itself."""

    def __init__(self, quality: Quality) -> None:
        self._quality = quality

    def encode(self, picture: Image) -> Encoded:
        """The picture as a JPEG file."""
        sized = at_scale(picture, self._quality.scale)
        is_encoded, data = cv2.imencode(".jpg", cv2.cvtColor(sized, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, self._quality.jpeg_quality])
        if not is_encoded:
            raise ValueError(f"a picture of shape {picture.shape} cannot be encoded as JPEG")
        return Encoded(data.tobytes(), "jpeg", True)


class H264Encoder:
    """A stream without delay: every picture in gives its bytes at once (Annex B). Another size begins a new stream."""

    def __init__(self, quality: Quality) -> None:
        self._quality, self._stream = quality, H264Stream(quality.crf)

    def encode(self, picture: Image) -> Encoded:
        """The picture as one access unit."""
        unit = self._stream.encode(at_scale(picture, self._quality.scale))
        return Encoded(unit.data, "h264", unit.is_key)


ENCODERS: dict[Codec, type[JpegEncoder] | type[H264Encoder]] = {"jpeg": JpegEncoder, "h264": H264Encoder}


def at_scale(picture: Image, scale: float) -> Image:
    """The picture at a share of its size, small ones enlarged first."""
    factor = scale * (ENLARGED if picture.shape[1] < SMALL_PX else 1)
    if factor == 1.0:
        return picture
    size = max(2, round(picture.shape[1] * factor)), max(2, round(picture.shape[0] * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if factor > 1.0 else cv2.INTER_AREA)

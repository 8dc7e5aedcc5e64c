"""H.264 without delay: every picture in gives its access unit at once, for browsers and for viewers of ROS topics."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from h2w_ros.condition import Image


@dataclass(frozen=True)
class AccessUnit:
    """One picture in Annex B; one that is no key needs all before it since the last key. Keys bring their parameter sets."""

    data: bytes
    is_key: bool


class H264Stream:
    """Constrained baseline without B-frames, BT.709. Another size begins anew, with a key.

    `crf`: x264's constant quality, 1 (best; this profile has no lossless 0) to 51. `keyframe_interval`: most pictures from one key to the next.
    """

    def __init__(self, crf: int, keyframe_interval: int = 64) -> None:
        self.crf, self.keyframe_interval = crf, keyframe_interval
        self._context: VideoCodecContext | None = None
        self._count = 0

    def encode(self, picture: Image, is_key: bool = False) -> AccessUnit:
        """The picture, without its last row or column where 4:2:0 cannot hold it; a key where one is asked for."""
        height_px, width_px = (length // 2 * 2 for length in picture.shape[:2])
        if self._context is None or (self._context.width, self._context.height) != (width_px, height_px):
            self._context = _context(width_px, height_px, self.crf, self.keyframe_interval)
        frame = VideoFrame.from_ndarray(picture[:height_px, :width_px].copy(), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, self._count = self._count, self._count + 1
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        packets = self._context.encode(frame)
        return AccessUnit(b"".join(bytes(packet) for packet in packets), any(packet.is_keyframe for packet in packets))


def _context(width_px: int, height_px: int, crf: int, keyframe_interval: int) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    if not isinstance(context, VideoCodecContext):
        raise TypeError(f"libx264 is a video codec, got {type(context).__name__}")
    context.width, context.height, context.pix_fmt = width_px, height_px, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 16), Fraction(16, 1)
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.thread_count = 1
    # Without forced-idr a key that is asked for would be an intra picture at which no decoder may begin.
    options = {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1"}
    context.options = {**options, "crf": str(crf), "g": str(keyframe_interval)}
    return context

"""Video files: H.264 that any browser plays, exact frame ranges, and never half a file under the final name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream
from jaxtyping import UInt8
from numpy import ndarray

from h2w_ros.condition import Image

SIZE_TAG = "h2w_size="

# FFmpeg's default conversion to RGB darkens pictures by one level; these flags make it unbiased at the same speed. PyAV 17, the last for
# Python 3.10, has no names for them.
SWS_FULL_CHR_H_INT, SWS_ACCURATE_RND = 0x2000, 0x40000
_TO_RGB = int(Interpolation.BILINEAR) | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND


@dataclass(frozen=True)
class Encoding:
    """How a video is compressed.

    `crf`: x264's constant quality, 0 (best) to 51. `keyframe_interval`: frames from one keyframe to the next; a reader
    decodes at most this many frames that it does not want. `lossless`: RGB kept bit for bit; browsers do not play it.
    """

    crf: int = 18
    keyframe_interval: int = 16
    lossless: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf must be in 0 (best) .. 51, got {self.crf}")
        if self.keyframe_interval < 1:
            raise ValueError(f"keyframe_interval must be at least 1 frame, got {self.keyframe_interval}")

    @property
    def codec(self) -> str:
        """The encoder's name in FFmpeg."""
        return "libx264rgb" if self.lossless else "libx264"

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the stored pixel layout."""
        return "rgb24" if self.lossless else "yuv420p"

    @property
    def options(self) -> dict[str, str]:
        """x264's settings; no B-frames, so that frames leave the encoder in the order of their stamps."""
        quality = {"qp": "0"} if self.lossless else {"crf": str(self.crf)}
        return {**quality, "preset": "fast", "bf": "0", "g": str(self.keyframe_interval), "keyint_min": "1"}


TO_WATCH = Encoding()
TO_TRAIN = Encoding(crf=10, keyframe_interval=8)
LOSSLESS = Encoding(keyframe_interval=8, lossless=True)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    width_px: int
    height_px: int
    num_frames: int
    rate_hz: float


@dataclass(frozen=True)
class VideoTiming:
    """When every frame is shown [ns], by the file's own stamps, which need not be regular; stored size; what the file says about itself.

    `rotation_deg`: how far the stored pictures are to be turned counter-clockwise to stand upright.
    """

    stamps_ns: list[int]
    width_px: int
    height_px: int
    rotation_deg: float
    metadata: dict[str, str]


class VideoWriter:
    """Writes a video frame by frame; the file appears under its name, whole, when the writer is closed.

    As a context manager it keeps what was written when the body ends or is interrupted by Ctrl-C, and leaves nothing
    behind when the body fails. Sizes that 4:2:0 cannot hold (odd ones) are padded by repeating the last row or column;
    `read_video` takes the padding off again. `pixel_aspect` tells players how much wider than high pixels are to be shown.
    """

    def __init__(self, path: Path | str, rate_hz: float, encoding: Encoding = TO_WATCH, pixel_aspect: Fraction = Fraction(1)) -> None:
        self.path = Path(path)
        self.encoding, self.pixel_aspect = encoding, pixel_aspect
        self.num_frames = 0
        self._shape: tuple[int, ...] | None = None
        self._rate = Fraction(rate_hz).limit_denominator(1001)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream: VideoStream | None = None

    def write(self, picture: Image) -> None:
        """Appends one RGB picture; all pictures of a video have the first one's size."""
        stream = self._stream or self._open_stream(picture)
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(
                f"every frame of {self.path.name} must be uint8 {self._shape}, frame {self.num_frames} is {picture.dtype} {picture.shape}"
            )
        frame = VideoFrame.from_ndarray(_padded(picture, self.encoding), format="rgb24")
        if not self.encoding.lossless:
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = self.num_frames, 1 / self._rate
        self._container.mux(stream.encode(frame))
        self.num_frames += 1

    def _open_stream(self, picture: Image) -> VideoStream:
        self._shape = (*picture.shape[:2], 3)
        height_px, width_px = picture.shape[:2]
        padded_height_px, padded_width_px = _padded_size(height_px, width_px, self.encoding)
        stream = cast(VideoStream, self._container.add_stream(self.encoding.codec, rate=self._rate, options=self.encoding.options))
        stream.width, stream.height, stream.pix_fmt = padded_width_px, padded_height_px, self.encoding.pixel_format
        stream.codec_context.thread_count, stream.codec_context.sample_aspect_ratio = 1, self.pixel_aspect
        if not self.encoding.lossless:
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        self._container.metadata["comment"] = f"{SIZE_TAG}{width_px}x{height_px}"
        self._stream = stream
        return stream

    def close(self) -> None:
        """Finishes the file and gives it its name; a video without frames leaves no file."""
        if self._stream is None:
            self.discard()
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Drops everything written so far."""
        self._container.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()


def write_video(
    path: Path | str, frames: Iterable[Image], rate_hz: float, encoding: Encoding = TO_WATCH, pixel_aspect: Fraction = Fraction(1)
) -> int:
    """Writes RGB pictures (each (H, W, 3) uint8) as one video; returns how many there were."""
    with VideoWriter(path, rate_hz, encoding, pixel_aspect) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.num_frames


def video_info(path: Path | str) -> VideoInfo:
    """Size, frame count and rate of a video. ValueError when it is truncated or no video at all."""
    with _opened(Path(path)) as (container, stream):
        height_px, width_px = _true_size(container, stream)
        return VideoInfo(width_px, height_px, len(_frame_stamps(container, stream, Path(path))), float(stream.average_rate or 0))


def video_timing(path: Path | str) -> VideoTiming:
    """Stamps, size, rotation and metadata of a video. ValueError when it is truncated or no video at all."""
    path = Path(path)
    with _opened(path) as (container, stream):
        height_px, width_px = _true_size(container, stream)
        stamps, unit_ns = _frame_stamps(container, stream, path), (stream.time_base or Fraction(1)) * 1_000_000_000
        first = next(iter(_decoded_from(container, stream, stamps[0], path)))
        metadata = {**container.metadata, **stream.metadata}
        return VideoTiming([round(stamp * unit_ns) for stamp in stamps], width_px, height_px, float(first.rotation), metadata)


def read_video(path: Path | str, start: int = 0, stop: int | None = None) -> UInt8[ndarray, "T H W 3"]:
    """Frames start .. stop - 1 (stop None: to the end) as RGB. ValueError when the file does not hold all of them."""
    return np.stack(list(iterate_video(path, start, stop)))


def iterate_video(path: Path | str, start: int = 0, stop: int | None = None) -> Iterator[Image]:
    """Like `read_video`, one frame at a time; decoding begins at the keyframe before `start`."""
    path = Path(path)
    with _opened(path) as (container, stream):
        stamps = _frame_stamps(container, stream, path)
        stop = len(stamps) if stop is None else stop
        if not 0 <= start < stop <= len(stamps):
            raise ValueError(f"{path} holds frames 0..{len(stamps) - 1}, cannot read {start}..{stop - 1}")
        wanted = stamps[start:stop]
        size = _true_size(container, stream)
        num_read = 0
        for frame in _decoded_from(container, stream, wanted[0], path):
            if num_read < len(wanted) and frame.pts == wanted[num_read]:
                yield _rgb(frame, size)
                num_read += 1
            if num_read == len(wanted):
                return
    raise ValueError(f"{path} is damaged: frame {start + num_read} of {len(stamps)} does not decode")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; failures of the file become errors that name it."""
    if not path.is_file():
        raise FileNotFoundError(f"No video at {path}")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError(f"{path} is not a readable video: its codec is unknown")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        raise ValueError(f"{path} is not a readable video (truncated or of another format): {error.strerror}") from error


def _frame_stamps(container: InputContainer, stream: VideoStream, path: Path) -> list[int]:
    """Presentation stamps of all frames in order; reads packet headers, decodes nothing."""
    stamps = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None and packet.size)
    if not stamps or len(stamps) < stream.frames:
        raise ValueError(f"{path} is truncated: its header announces {stream.frames} frames, {len(stamps)} are there")
    return stamps


def _decoded_from(container: InputContainer, stream: VideoStream, stamp: int, path: Path) -> Iterator[VideoFrame]:
    """Decoded frames from the keyframe at or before this stamp on."""
    container.seek(stamp, stream=stream, backward=True)
    first = next(container.decode(stream), None)
    if first is None or first.pts is None:
        raise ValueError(f"{path} is damaged: nothing decodes around stamp {stamp}")
    # Some demuxers land one keyframe late when decoding order differs from display order.
    if first.pts > stamp:
        container.seek(0, stream=stream, backward=True)
    else:
        yield first
    yield from container.decode(stream)


def _true_size(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    """Height and width before padding; foreign files have none."""
    size = re.fullmatch(rf"{SIZE_TAG}(\d+)x(\d+)", container.metadata.get("comment", ""))
    return (stream.height, stream.width) if size is None else (int(size[2]), int(size[1]))


def _rgb(frame: VideoFrame, size: tuple[int, int]) -> Image:
    return np.ascontiguousarray(frame.reformat(format="rgb24", interpolation=_TO_RGB).to_ndarray()[: size[0], : size[1]])


def _padded_size(height_px: int, width_px: int, encoding: Encoding) -> tuple[int, int]:
    multiple = 1 if encoding.lossless else 2
    return -(-height_px // multiple) * multiple, -(-width_px // multiple) * multiple


def _padded(picture: Image, encoding: Encoding) -> UInt8[ndarray, "H_even W_even 3"]:
    height_px, width_px = picture.shape[:2]
    padded_height_px, padded_width_px = _padded_size(height_px, width_px, encoding)
    if (height_px, width_px) == (padded_height_px, padded_width_px):
        return np.ascontiguousarray(picture)
    return np.pad(picture, ((0, padded_height_px - height_px), (0, padded_width_px - width_px), (0, 0)), mode="edge")

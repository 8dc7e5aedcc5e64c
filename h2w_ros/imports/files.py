"""Files as datasets keep them: pictures, JSON, and NumPy arrays with pickles inside, read without running anything."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import cv2
import numpy as np

from h2w_ros.condition import Image
from h2w_ros.hands.mano_pickle import read_plain_pickle
from h2w_ros.picture_header import JPEG_BEGIN, claimed_size_px
from h2w_ros.ros_messages import MAX_SIDE_PX
from h2w_ros.video import iterate_video

JPEG_END = b"\xff\xd9"
# What NumPy lets through when a header is wrong; it is Python source text.
NPY_DAMAGE = (ValueError, EOFError, OSError, MemoryError, OverflowError, SyntaxError, TokenError, TypeError, AttributeError, KeyError, IndexError)


def read_picture(path: Path) -> Image:
    """A JPEG or PNG file as RGB."""
    return decoded_picture(path.read_bytes(), str(path))


def decoded_picture(data: bytes, name: str) -> Image:
    """A JPEG's or PNG's pixels as RGB, grey ones in three equal channels; ValueError that names the picture when it is damaged."""
    try:
        is_sane = max(claimed_size_px(data)) <= MAX_SIDE_PX
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    # OpenCV fills up what a cut-off JPEG lacks with grey, and says so on the terminal only.
    is_whole = not data.startswith(JPEG_BEGIN) or data.rstrip(b"\0").endswith(JPEG_END)
    is_decodable = is_sane and is_whole
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if is_decodable else None
    if decoded is None:
        raise ValueError(f"{name} must be a whole JPEG or PNG of at most {MAX_SIDE_PX} px a side")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def picked_pictures(video: Path, frames: Sequence[int]) -> Iterator[Image]:
    """These frames of a video, which are in order, read in one go; ValueError when it does not hold them."""
    if not frames:
        return
    wanted = set(frames)
    for frame, picture in enumerate(iterate_video(video, frames[0], frames[-1] + 1), frames[0]):
        if frame in wanted:
            yield picture


def read_json(path: Path) -> Any:
    """A JSON file; ValueError that names it when it is damaged."""
    return parsed_json(path.read_bytes(), str(path))


def read_words(path: Path) -> list[list[str]]:
    """The words of every line of a text file that has any; ValueError that names it when it is no text, or empty."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines


def parsed_json(data: bytes, name: str) -> Any:
    """JSON text; ValueError that names its file when it is damaged."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def read_npy(path: Path) -> Any:
    """A .npy file: an array, or the Python data that an object array of no dimensions stands for.

    Object arrays are pickles; they go through the reader that knows arrays and plain data only. ValueError that names the
    file when it is damaged, or asks for anything else.
    """
    with path.open("rb") as stream:
        try:
            return _object_or_array(stream)
        except NPY_DAMAGE as error:
            raise ValueError(f"{path} is no .npy file of numbers and plain data: {error}") from error


def read_pickle(path: Path) -> Any:
    """A pickle of arrays and plain data; ValueError that names the file otherwise."""
    with path.open("rb") as stream:
        try:
            return read_plain_pickle(stream)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class TarFile:
    """The members of an uncompressed tar file by name, each read when asked for; nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self._places = {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
        except tarfile.TarError as error:
            raise ValueError(f"{path} is no whole tar file: {error}") from error
        self.names = list(self._places)

    def read(self, name: str) -> bytes:
        """A member's bytes; ValueError when it is not there, or cut off."""
        if name not in self._places:
            raise ValueError(f"{self.path} lacks {name}")
        offset, size = self._places[name]
        with self.path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(size)
        if len(data) < size:
            raise ValueError(f"{self.path} is cut off: {name} should have {size} bytes, {len(data)} are there")
        return data

    def read_json(self, name: str) -> Any:
        """A JSON member."""
        return parsed_json(self.read(name), f"{self.path}: {name}")


def _object_or_array(stream: BinaryIO) -> Any:
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read_header(stream)
    if not dtype.hasobject:
        stream.seek(0)
        return np.load(stream, allow_pickle=False)
    content = read_plain_pickle(stream)
    return content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content

"""What a compressed picture claims to be is known before it is decoded."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2w_ros.picture_header import PNG_BEGIN, claimed_size_px
from h2w_ros.ros_messages import image_from_compressed


def encoded(kind: str, width_px: int, height_px: int, options: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(kind, np.zeros((height_px, width_px, 3), np.uint8), options)[1].tobytes()


@pytest.mark.parametrize(("kind", "options"), [(".png", ()), (".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1))])
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (7, 300)])
def test_the_size_of_real_files_is_read(kind: str, options: tuple[int, ...], size: tuple[int, int]) -> None:
    assert claimed_size_px(encoded(kind, *size, options)) == size


def test_a_file_that_asks_for_gigabytes_is_refused_before_it_is_decoded() -> None:
    bomb = PNG_BEGIN + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000) + b"\x08\x02\x00\x00\x00"
    with pytest.raises(ValueError, match="got 60000x60000"):
        image_from_compressed(SimpleNamespace(data=bomb, format="png"))


def size_or_none(data: bytes) -> tuple[int, int] | None:
    try:
        return claimed_size_px(data)
    except ValueError:
        return None


@given(data=st.binary(max_size=60), begin=st.sampled_from([b"", b"\xff\xd8", PNG_BEGIN, encoded(".jpg", 9, 9)[:150]]))
def test_any_bytes_are_a_size_or_a_refusal(data: bytes, begin: bytes) -> None:
    if (size := size_or_none(begin + data)) is not None:
        assert min(size) >= 0

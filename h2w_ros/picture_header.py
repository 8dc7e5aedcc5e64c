"""The size that a JPEG or PNG claims, read before anything is decoded: a few bytes may ask for gigabytes."""

from __future__ import annotations

import struct

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
JPEG_BEGIN = b"\xff\xd8"
# Start-of-frame markers, which hold the size; C4, C8 and CC in their midst mean other things.
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}


def claimed_size_px(data: bytes) -> tuple[int, int]:
    """Width and height. ValueError when the data begins as neither JPEG nor PNG, or ends before it says its size."""
    size = None
    if data.startswith(PNG_BEGIN) and len(data) >= 24:
        size = struct.unpack_from(">II", data, 16)
    elif data.startswith(JPEG_BEGIN):
        size = _jpeg_size(data)
    if size is None:
        raise ValueError(f"a compressed picture must be a JPEG or PNG file that says its size, got {len(data)} bytes that begin with {data[:8]!r}")
    return int(size[0]), int(size[1])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks over the segments before the first frame."""
    place = len(JPEG_BEGIN)
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in JPEG_FRAMES:
            height_px, width_px = struct.unpack_from(">HH", data, place + 5)
            return width_px, height_px
        if marker == 0xFF:  # padding
            place += 1
        else:
            place += 2 if marker in JPEG_WITHOUT_LENGTH else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None

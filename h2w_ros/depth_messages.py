"""What ROS messages say about depth and points: Image, compressedDepth and PointCloud2, read by their field names alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from h2w_ros.picture_header import claimed_size_px
from h2w_ros.ros_messages import check_sides, pixel_rows

DepthMap = Float32[ndarray, "H W"]

MM = 1e-3
DEPTHS: dict[str, tuple[np.dtype, float]] = {
    "16UC1": (np.dtype(np.uint16), MM),
    "mono16": (np.dtype(np.uint16), MM),
    "32FC1": (np.dtype(np.float32), 1.0),
}
"""Encodings of depth (REP 118), and what one step is [m]."""
COMPRESSED_HEADER = struct.Struct("<iff")
MAX_POINTS = 5_000_000
FLOAT32, FLOAT64, UINT8, UINT32 = 7, 8, 2, 6
NUMBERS = {FLOAT32: "f4", FLOAT64: "f8", UINT8: "u1", UINT32: "u4"}


@dataclass(frozen=True, eq=False)
class Cloud:
    """n finite points [m] of a PointCloud2 in its own frame; radii where it has a field of that name."""

    points: Float32[ndarray, "n 3"]
    colors: UInt8[ndarray, "n 3"]
    radii_m: Float32[ndarray, "n"] | None = None


def depth_from_msg(msg: Any) -> DepthMap:
    """Depth of a sensor_msgs/Image [m], 0 where nothing was measured; ValueError when encoding, size or data do not fit together."""
    if msg.encoding not in DEPTHS:
        raise ValueError(f"depth encoding must be one of {sorted(DEPTHS)}, got {msg.encoding!r}: publish depth in millimetres or metres")
    dtype, unit_m = DEPTHS[msg.encoding]
    rows = pixel_rows(msg, dtype.itemsize)
    steps = np.ascontiguousarray(rows).view(dtype.newbyteorder(">" if msg.is_bigendian else "<"))
    return _metres(steps.astype(np.float32), unit_m)


def depth_from_compressed(msg: Any) -> DepthMap:
    """Depth of a compressedDepth message [m], 0 where nothing was measured: a header, then a PNG of depths or of quantized 1/depth."""
    encoding = msg.format.split(";")[0].strip()
    data = bytes(msg.data)
    if encoding not in DEPTHS or "rvl" in msg.format:
        raise ValueError(f"compressed depth must be 16UC1 or 32FC1 as PNG, got {msg.format!r}: set compressedDepth.format to png, or send raw depth")
    png = data[COMPRESSED_HEADER.size :]
    check_sides("compressed depth", *claimed_size_px(png))
    steps = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if steps is None or steps.ndim != 2 or steps.dtype != np.uint16:
        raise ValueError(f"compressed depth ({msg.format!r}, {len(data)} bytes) must be a whole PNG of 16 bits")
    if DEPTHS[encoding][1] == MM:
        return _metres(steps.astype(np.float32), MM)
    _, slope, offset = COMPRESSED_HEADER.unpack_from(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _metres(np.where(steps > 0, slope / (steps - np.float32(offset)), np.float32(0.0)).astype(np.float32), 1.0)


def cloud_from_msg(msg: Any) -> Cloud:
    """The coloured points of a sensor_msgs/PointCloud2; ValueError when it lacks colors, or its sizes and data do not fit together."""
    count = int(msg.width) * int(msg.height)
    if count > MAX_POINTS:
        raise ValueError(f"a cloud must hold at most {MAX_POINTS} points, got {msg.width} x {msg.height}")
    if len(msg.data) < msg.row_step * (msg.height - 1) + msg.width * msg.point_step or msg.row_step < msg.width * msg.point_step:
        raise ValueError(f"cloud data must hold {msg.height} rows of {msg.width} points of {msg.point_step} bytes, got {len(msg.data)} bytes")
    raw = np.frombuffer(msg.data, np.uint8)
    shape, strides = (msg.height, msg.width, msg.point_step), (msg.row_step, msg.point_step, 1)
    table = np.lib.stride_tricks.as_strided(raw, shape, strides, writeable=False).reshape(count, msg.point_step)
    fields = {field.name: field for field in msg.fields}
    points = np.stack([_column(table, fields, axis, msg) for axis in "xyz"], axis=1).astype(np.float32)
    radii = _column(table, fields, "radius", msg).astype(np.float32) if "radius" in fields else None
    finite = np.isfinite(points).all(axis=1)
    if radii is not None:
        finite &= np.isfinite(radii) & (radii > 0)
    return Cloud(points[finite], _colors(table, fields, msg)[finite], None if radii is None else radii[finite])


def _metres(steps: Float32[ndarray, "H W"], unit_m: float) -> DepthMap:
    """Holes come as zero, as NaN, or as infinity where something is too near or too far."""
    return np.where(np.isfinite(steps) & (steps > 0), steps * np.float32(unit_m), np.float32(0.0)).astype(np.float32)


def _column(table: UInt8[ndarray, "n s"], fields: dict[str, Any], name: str, msg: Any) -> ndarray:
    """The numbers of a field."""
    field = fields.get(name)
    if field is None or field.datatype not in NUMBERS:
        raise ValueError(f"a cloud needs the field {name!r} as numbers, got the fields {sorted(fields)}")
    dtype = np.dtype(NUMBERS[field.datatype]).newbyteorder(">" if msg.is_bigendian else "<")
    if field.offset + dtype.itemsize > msg.point_step:
        raise ValueError(f"field {name!r} must lie within the {msg.point_step} bytes of a point, got offset {field.offset}")
    return np.ascontiguousarray(table[:, field.offset : field.offset + dtype.itemsize]).view(dtype)[:, 0]


def _colors(table: UInt8[ndarray, "n s"], fields: dict[str, Any], msg: Any) -> UInt8[ndarray, "n 3"]:
    """Red, green and blue: fields of their own, or packed into four bytes as PCL does, whatever number these claim to be."""
    packed = next((name for name in ("rgb", "rgba") if name in fields), None)
    if packed is None:
        if not {"r", "g", "b"} <= set(fields):
            raise ValueError(f"a cloud needs colors (field rgb), got the fields {sorted(fields)}: use depth_image_proc's point_cloud_xyzrgb")
        return np.stack([_column(table, fields, name, msg) for name in "rgb"], axis=1).astype(np.uint8)
    offset = fields[packed].offset
    if offset + 4 > msg.point_step:
        raise ValueError(f"field {packed!r} must lie within the {msg.point_step} bytes of a point, got offset {offset}")
    places = (offset + 1, offset + 2, offset + 3) if msg.is_bigendian else (offset + 2, offset + 1, offset)
    return np.ascontiguousarray(table[:, places])

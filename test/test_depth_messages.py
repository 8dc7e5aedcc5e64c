"""Depth and clouds as messages: every encoding gives metres, holes stay holes, and nonsense is refused with the rule."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from h2w_ros.depth_messages import FLOAT32, FLOAT64, UINT8, UINT32, cloud_from_msg, depth_from_compressed, depth_from_msg

DEPTH_M = np.array([[0.5, 1.0, 0.0], [2.345, 0.25, 4.0]], np.float32)


def image(data: np.ndarray, encoding: str, **fields: Any) -> SimpleNamespace:
    height, width = data.shape[:2]
    raw = np.ascontiguousarray(data).tobytes()
    return SimpleNamespace(
        **{"encoding": encoding, "width": width, "height": height, "step": len(raw) // height, "is_bigendian": 0, "data": raw, **fields}
    )


def compressed(steps: np.ndarray, encoding: str, slope: float = 0.0, offset: float = 0.0) -> SimpleNamespace:
    png = cv2.imencode(".png", steps)[1].tobytes()
    return SimpleNamespace(format=f"{encoding}; compressedDepth png", data=struct.pack("<iff", 0, slope, offset) + png)


def test_millimetres_and_metres_in_any_byte_order_give_metres_and_zero_for_holes() -> None:
    millimetres = (DEPTH_M * 1000).round().astype(np.uint16)
    metres = np.where(DEPTH_M > 0, DEPTH_M, np.nan).astype(np.float32)
    metres[1, 2] = np.inf
    without_far = np.where(DEPTH_M == 4.0, 0.0, DEPTH_M)
    assert depth_from_msg(image(millimetres, "16UC1")) == pytest.approx(DEPTH_M)
    assert depth_from_msg(image(millimetres.astype(">u2"), "mono16", is_bigendian=1)) == pytest.approx(DEPTH_M)
    assert depth_from_msg(image(metres, "32FC1")) == pytest.approx(without_far)


def test_padding_at_the_ends_of_rows_is_left_out() -> None:
    padded = np.zeros((2, 5), np.uint16)
    padded[:, :3] = (DEPTH_M * 1000).round()
    assert depth_from_msg(image(padded, "16UC1", width=3)) == pytest.approx(DEPTH_M)


def test_compressed_depth_comes_back_whether_it_was_millimetres_or_inverse_metres() -> None:
    assert depth_from_compressed(compressed((DEPTH_M * 1000).round().astype(np.uint16), "16UC1")) == pytest.approx(DEPTH_M)
    slope, offset = 1000.0, 5.0
    steps = np.where(DEPTH_M > 0, slope / np.maximum(DEPTH_M, 1e-3) + offset, 0).round().astype(np.uint16)
    assert depth_from_compressed(compressed(steps, "32FC1", slope, offset)) == pytest.approx(DEPTH_M, rel=3e-3)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"encoding": "rgb8"}, "depth encoding must be one of"),
        ({"step": 2}, "step must be at least 6 bytes"),
        ({"data": b"12"}, "must hold 2 rows"),
        ({"width": 4_000_000_000}, "sides must be 1..8192"),
        ({"height": 0}, "sides must be 1..8192"),
    ],
)
def test_depth_that_does_not_fit_together_is_refused(fields: dict, text: str) -> None:
    msg = image((DEPTH_M * 1000).astype(np.uint16), "16UC1")
    with pytest.raises(ValueError, match=text):
        depth_from_msg(SimpleNamespace(**{**vars(msg), **fields}))


@pytest.mark.parametrize(
    ("form", "data", "text"),
    [
        ("16UC1; compressedDepth rvl", b"", "set compressedDepth.format to png"),
        ("rgb8; jpeg", b"", "must be 16UC1 or 32FC1"),
        ("16UC1; compressedDepth png", b"", "compressed"),
        ("16UC1; compressedDepth png", bytes(12) + cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes(), "PNG of 16 bits"),
        ("16UC1; compressedDepth png", bytes(12) + cv2.imencode(".png", np.ones((9, 9), np.uint16))[1].tobytes()[:40], "PNG of 16 bits"),
    ],
)
def test_compressed_depth_that_is_none_is_refused(form: str, data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        depth_from_compressed(SimpleNamespace(format=form, data=data))


RECORD = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("pad", "u4"), ("rgb", "u4")])


def cloud(table: np.ndarray, kinds: dict[str, int], **fields: Any) -> SimpleNamespace:
    named = [SimpleNamespace(name=name, offset=table.dtype.fields[name][1], datatype=kind) for name, kind in kinds.items()]
    size = {"width": table.size, "height": 1, "point_step": table.itemsize, "row_step": table.nbytes}
    return SimpleNamespace(**{**size, "fields": named, "is_bigendian": False, "data": table.tobytes(), **fields})


def packed_cloud(**fields: Any) -> SimpleNamespace:
    table = np.zeros(3, RECORD)
    table["x"], table["z"], table["rgb"] = [1, 2, np.nan], [4, 5, 6], 0x00FF8001
    return cloud(table, {"x": FLOAT32, "y": FLOAT32, "z": FLOAT32, "rgb": FLOAT32}, **fields)


def test_a_cloud_gives_its_finite_points_and_the_colors_packed_into_floats() -> None:
    read = cloud_from_msg(packed_cloud())
    assert read.points.tolist() == [[1, 0, 4], [2, 0, 5]]
    assert read.colors.tolist() == [[255, 128, 1]] * 2
    assert read.radii_m is None


def test_a_cloud_with_other_fields_orders_and_radii_is_read_too() -> None:
    record = np.dtype([("b", "u1"), ("g", "u1"), ("r", "u1"), ("radius", ">f4"), ("z", ">f8"), ("y", ">f8"), ("x", ">f8")])
    table = np.zeros(2, record)
    table["x"], table["y"], table["z"], table["radius"], table["r"], table["b"] = 1, 2, 3, [0.01, 0], 200, 7
    kinds = {"x": FLOAT64, "y": FLOAT64, "z": FLOAT64, "r": UINT8, "g": UINT8, "b": UINT8, "radius": FLOAT32}
    read = cloud_from_msg(cloud(table, kinds, is_bigendian=True))
    assert read.points.tolist() == [[1, 2, 3]], "a point without a size is none"
    assert read.colors.tolist() == [[200, 0, 7]]
    assert read.radii_m == pytest.approx([0.01])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"data": b"123"}, "cloud data must hold 1 rows of 3 points"),
        ({"row_step": 3}, "cloud data must hold"),
        ({"width": 4_000_000_000}, "at most 5000000 points"),
        ({"fields": []}, "needs the field 'x'"),
        ({"fields": packed_cloud().fields[:3]}, "needs colors"),
        ({"fields": [*packed_cloud().fields[:3], SimpleNamespace(name="rgb", offset=4000, datatype=UINT32)]}, "must lie within the 20 bytes"),
        ({"fields": [SimpleNamespace(name="x", offset=18, datatype=FLOAT32), *packed_cloud().fields[1:]]}, "must lie within the 20 bytes"),
    ],
)
def test_a_cloud_that_does_not_fit_together_is_refused(fields: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        cloud_from_msg(packed_cloud(**fields))

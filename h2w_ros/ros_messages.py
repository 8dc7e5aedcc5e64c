"""What ROS messages say, in the core's nouns.

Messages are read by their field names alone, so rclpy's classes and those of a bag reader both do, and nothing of ROS
needs to be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from h2w_ros import geometry
from h2w_ros.condition import HandPose, Image, Side
from h2w_ros.picture_header import claimed_size_px
from h2w_ros.rectify import Lens

NS_PER_S = 1_000_000_000
MAX_SIDE_PX = 8192
# Beyond these a number is no measurement, and single precision overflows in drawing: earth-fixed coordinates end at 1e7 m,
# joint rotations at pi, shapes of people at a few standard deviations.
MAX_POSITION_M = 1e8
MAX_JOINT_ANGLE_RAD = 4 * np.pi
MAX_BETA = 100.0
LEFT, RIGHT = 1, 2
SIDES: dict[int, Side] = {LEFT: "left", RIGHT: "right"}


@dataclass(frozen=True)
class Encoding:
    """How many bytes a pixel of this encoding has, and how they become RGB."""

    num_channels: int
    to_rgb: Callable[[ndarray], Image]


ENCODINGS = {
    "rgb8": Encoding(3, np.ascontiguousarray),
    "bgr8": Encoding(3, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)),
    "rgba8": Encoding(4, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)),
    "bgra8": Encoding(4, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)),
    "mono8": Encoding(1, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)),
    "8UC3": Encoding(3, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)),
    "8UC1": Encoding(1, lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)),
}


@dataclass(frozen=True)
class HandsReading:
    """The usable hands of a message, and what was wrong with the others (reason, text)."""

    hands: tuple[HandPose, ...]
    faults: tuple[tuple[str, str], ...] = field(default=())


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def image_from_msg(msg: Any) -> Image:
    """The picture of a sensor_msgs/Image as RGB; ValueError when encoding, size or data do not fit together."""
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise ValueError(f"image encoding must be one of {sorted(ENCODINGS)}, got {msg.encoding!r}: convert it with image_proc")
    return encoding.to_rgb(pixel_rows(msg, encoding.num_channels).reshape(msg.height, msg.width, encoding.num_channels))


def known_from_msg(msg: Any) -> Bool[ndarray, "_ _"] | None:
    """Where a sensor_msgs/Image with an alpha channel is opaque; None for other encodings, which are opaque everywhere."""
    if msg.encoding not in ("rgba8", "bgra8"):
        return None
    return pixel_rows(msg, 4)[:, 3::4] >= 128


def partial_from_msg(msg: Any) -> tuple[Image, Bool[ndarray, "_ _"] | None]:
    """The picture of a sensor_msgs/Image, and where it is opaque; None: everywhere."""
    return image_from_msg(msg), known_from_msg(msg)


def pixel_rows(msg: Any, pixel_bytes: int) -> UInt8[ndarray, "_ _"]:
    """The rows of a sensor_msgs/Image without their padding, as bytes; ValueError when size and data do not fit together."""
    check_sides("image", msg.width, msg.height)
    row_bytes = msg.width * pixel_bytes
    if msg.step < row_bytes:
        raise ValueError(f"image step must be at least {row_bytes} bytes for {msg.width} px of {msg.encoding}, got {msg.step}")
    # The last row may come without its padding.
    if len(msg.data) < msg.step * (msg.height - 1) + row_bytes:
        raise ValueError(f"image data must hold {msg.height} rows of {msg.step} bytes, got {len(msg.data)} bytes")
    raw = np.frombuffer(msg.data, np.uint8)
    return np.lib.stride_tricks.as_strided(raw, (msg.height, row_bytes), (msg.step, 1), writeable=False)


def image_from_compressed(msg: Any) -> Image:
    """The picture of a sensor_msgs/CompressedImage (JPEG or PNG) as RGB; ValueError when it does not decode."""
    check_sides("compressed image", *claimed_size_px(bytes(msg.data)))
    decoded = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"compressed image ({msg.format!r}, {len(msg.data)} bytes) must be a whole JPEG or PNG file")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def check_sides(name: str, width_px: int, height_px: int) -> None:
    """ValueError when a picture claims to have no pixels, or more than any camera."""
    if not 0 < height_px <= MAX_SIDE_PX or not 0 < width_px <= MAX_SIDE_PX:
        raise ValueError(f"{name} sides must be 1..{MAX_SIDE_PX} px, got {width_px}x{height_px}")


def _check_size(name: str, numbers: ndarray, limit: float, unit: str) -> None:
    largest = np.max(np.abs(numbers))
    if not largest <= limit:
        raise ValueError(f"{name} must be finite numbers within {limit:g} {unit}, got {largest:g}")


def pose_from_msg(pose: Any) -> geometry.Transform:
    """T_a_b of a geometry_msgs/Pose of b in a; ValueError when it is not finite or the quaternion not of unit length."""
    return rigid(pose.position, pose.orientation, "pose")


def transform_from_msg(msg: Any) -> geometry.Transform:
    """T_parent_child of a geometry_msgs/Transform."""
    return rigid(msg.translation, msg.rotation, "transform")


def rigid(position: Any, orientation: Any, name: str) -> geometry.Transform:
    """The 4x4 motion of a position [m] and a quaternion; ValueError names what is wrong."""
    seven = (position.x, position.y, position.z, orientation.x, orientation.y, orientation.z, orientation.w)
    return transform_from_seven(seven, name)


def transform_from_seven(numbers: Sequence[float], name: str) -> geometry.Transform:
    """T of x y z [m] and a quaternion x y z w, as parameters give it."""
    if len(numbers) != 7:
        raise ValueError(f"{name} must be 7 numbers, x y z [m] and quaternion x y z w, got {len(numbers)}")
    _check_size(f"{name}'s position", np.array(numbers[:3]), MAX_POSITION_M, "m")
    R = geometry.rotation_from_quaternion(np.array(numbers[3:], dtype=np.float64))
    return geometry.check_transform(geometry.transform(R, np.array(numbers[:3], dtype=np.float64)), name)


def lens_from_msg(msg: Any, is_rectified: bool = False) -> Lens:
    """The lens that a sensor_msgs/CameraInfo describes; for pictures that are rectified already, the pinhole of its P."""
    if msg.k[0] == 0.0:
        raise ValueError("camera_info is uncalibrated (k[0] == 0): calibrate the camera, or set its calibration file in the driver")
    check_sides("camera_info", msg.width, msg.height)
    K = (float(msg.k[0]), float(msg.k[4]), float(msg.k[2]), float(msg.k[5]))
    P = (float(msg.p[0]), float(msg.p[5]), float(msg.p[2]), float(msg.p[6])) if msg.p[0] > 0.0 else None
    if is_rectified:
        lens = Lens(msg.width, msg.height, P or K)
    else:
        lens = Lens(msg.width, msg.height, K, msg.distortion_model or "plumb_bob", tuple(map(float, msg.d)), P)
    return _cut_as_read_out(lens, msg)


def _cut_as_read_out(lens: Lens, msg: Any) -> Lens:
    roi = msg.roi
    width_px, height_px = roi.width or msg.width, roi.height or msg.height
    return lens.cut(roi.x_offset, roi.y_offset, width_px, height_px, max(1, msg.binning_x), max(1, msg.binning_y))


def hand_from_msg(msg: Any) -> HandPose:
    """The hand of an h2w_msgs/HandPose; ValueError when a number is out of its range."""
    if msg.side not in SIDES:
        raise ValueError(f"hand side must be {LEFT} (left) or {RIGHT} (right), got {msg.side}")
    _check_size("joint_angles_rad", np.array(msg.joint_angles_rad), MAX_JOINT_ANGLE_RAD, "rad")
    _check_size("betas", np.array(msg.betas), MAX_BETA, "standard deviations")
    return HandPose(SIDES[msg.side], pose_from_msg(msg.wrist), np.array(msg.joint_angles_rad), np.array(msg.betas), float(msg.confidence))


def hands_from_msgs(msgs: Sequence[Any]) -> HandsReading:
    """Every hand that is whole; of two hands of one side the first."""
    hands: dict[Side, HandPose] = {}
    faults: list[tuple[str, str]] = []
    for msg in msgs:
        try:
            hand = hand_from_msg(msg)
        except ValueError as error:
            faults.append(("hand_invalid", str(error)))
            continue
        if hand.side in hands:
            faults.append(("hand_side_twice", f"a message holds at most one {hand.side} hand"))
        else:
            hands[hand.side] = hand
    return HandsReading(tuple(hands.values()), tuple(faults))

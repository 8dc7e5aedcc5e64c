"""Pictures as sensor_msgs, without rclpy's check of every element; `ros_messages` is the way back."""

from __future__ import annotations

import sys
from array import array

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from jaxtyping import Bool, Float32
from numpy import ndarray
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from h2w_ros.condition import Image
from h2w_ros.ros_messages import NS_PER_S


def stamp_from_ns(stamp_ns: int) -> Time:
    """A message's time of these nanoseconds."""
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def header(stamp_ns: int, frame_id: str) -> Header:
    """A header with this stamp and frame."""
    return Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)


def bytes_field(buffer: ndarray) -> array:
    """Bytes as the one type that rclpy takes without looking at every element."""
    field = array("B")
    field.frombytes(buffer.data.cast("B"))
    return field


def image_to_msg(picture: Image, stamp_ns: int, frame_id: str) -> ImageMsg:
    """An rgb8 message of the picture."""
    height_px, width_px, _ = picture.shape
    msg = ImageMsg(header=header(stamp_ns, frame_id), height=height_px, width=width_px, encoding="rgb8", step=3 * width_px)
    msg.data = bytes_field(np.ascontiguousarray(picture))
    return msg


def partial_image_to_msg(picture: Image, known: Bool[ndarray, "H W"], stamp_ns: int, frame_id: str) -> ImageMsg:
    """An rgba8 message of a picture that shows something in some places only: elsewhere it is transparent."""
    height_px, width_px, _ = picture.shape
    msg = ImageMsg(header=header(stamp_ns, frame_id), height=height_px, width=width_px, encoding="rgba8", step=4 * width_px)
    msg.data = bytes_field(np.dstack([picture, np.where(known, np.uint8(255), np.uint8(0))]))
    return msg


def rays_to_msg(rays: Float32[ndarray, "H W 6"], stamp_ns: int, frame_id: str) -> ImageMsg:
    """Plücker rays as a 32FC6 message: moment [m], then unit direction."""
    height_px, width_px, _ = rays.shape
    msg = ImageMsg(header=header(stamp_ns, frame_id), height=height_px, width=width_px, encoding="32FC6", step=24 * width_px)
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.data = bytes_field(np.ascontiguousarray(rays, dtype=np.float32))
    return msg


def picture_of_rays(rays: Float32[ndarray, "H W 6"]) -> Image:
    """Where rays go, as colours for viewers: x, y, z of the unit direction from -1 to 1 are red, green, blue from 0 to 255."""
    return np.rint(127.5 * (1.0 + rays[..., 3:])).astype(np.uint8)


def image_to_compressed(picture: Image, stamp_ns: int, frame_id: str, quality: int = 90) -> CompressedImage:
    """A JPEG message of the picture; quality 1..100."""
    is_encoded, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_encoded:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded as JPEG")
    msg = CompressedImage(header=header(stamp_ns, frame_id), format="rgb8; jpeg compressed bgr8")
    msg.data = bytes_field(encoded)
    return msg

"""Scenes of points as PointCloud2, as viewers and mapping systems know them; `depth_messages` is the way back."""

from __future__ import annotations

import sys

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from h2w_ros.nodes.images import bytes_field, header
from h2w_ros.scene.points import Points

NAMES = ("x", "y", "z", "rgb", "radius")
RECORD = np.dtype([(name, "u4" if name == "rgb" else "f4") for name in NAMES])
# PCL and RViz call the four bytes of a color a float.
FIELDS = [PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1) for place, name in enumerate(NAMES)]


def points_to_msg(points: Points | None, stamp_ns: int, frame_id: str) -> PointCloud2:
    """A cloud with the fields x, y, z [m], rgb, and radius [m]: how large a piece of surface each point stands for. None is an empty cloud."""
    if points is None:
        return PointCloud2(header=header(stamp_ns, frame_id), height=1, fields=FIELDS, point_step=RECORD.itemsize, is_dense=True)
    table = np.empty(len(points), RECORD)
    for axis, name in enumerate("xyz"):
        table[name] = points.points_world[:, axis]
    red, green, blue = points.colors.astype(np.uint32).T
    table["rgb"], table["radius"] = red << 16 | green << 8 | blue, points.radii_m
    msg = PointCloud2(header=header(stamp_ns, frame_id), height=1, width=len(points), fields=FIELDS, is_dense=True)
    msg.point_step, msg.row_step, msg.is_bigendian = RECORD.itemsize, RECORD.itemsize * len(points), sys.byteorder == "big"
    msg.data = bytes_field(table.view(np.uint8))
    return msg

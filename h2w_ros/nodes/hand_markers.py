"""Hands for RViz: the fitted bones and joints in the side's colour, the tracker's own joints in grey beside them."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import Point, Vector3
from jaxtyping import Float
from numpy import ndarray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from h2w_ros.condition import HandPose, Side
from h2w_ros.hands.anatomy import FIRST_JOINTS, TIP_POINTS
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.hands.styles import FLAT_COLOURS
from h2w_ros.nodes.images import header

# A hand that is not sent again disappears after so long [s].
LIFETIME_NS = 300_000_000
BONE_WIDTH_M, JOINT_SIZE_M, TRACKED_SIZE_M = 0.004, 0.009, 0.006
GREY = ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0)
BONES = [(0, first) for first in FIRST_JOINTS.tolist()]
BONES += [(first + k, first + k + 1) for first in FIRST_JOINTS.tolist() for k in range(2)]
BONES += [(first + 2, tip) for first, tip in zip(FIRST_JOINTS.tolist(), TIP_POINTS.tolist(), strict=True)]


def hand_markers(hands: Iterable[HandPose], stamp_ns: int, frame: str, mano: str | None = None) -> MarkerArray:
    """Bones and joints of fitted hands, with the model that they were fitted with."""
    msg = MarkerArray()
    for hand in hands:
        points = hand_joints_and_tips_world(load_hand_model(hand.side, mano), hand)
        ends = [points[end] for bone in BONES for end in bone]
        colour = _colour(hand.side)
        msg.markers.append(marker(f"{hand.side}/bones", Marker.LINE_LIST, ends, BONE_WIDTH_M, colour, stamp_ns, frame))
        msg.markers.append(marker(f"{hand.side}/joints", Marker.SPHERE_LIST, points, JOINT_SIZE_M, colour, stamp_ns, frame))
    return msg


def skeleton_marker(skeleton: HandSkeleton, stamp_ns: int, frame: str) -> Marker:
    """The joints that the tracker saw."""
    seen = skeleton.points_world[skeleton.is_seen]
    return marker(f"{skeleton.side}/tracked", Marker.SPHERE_LIST, seen, TRACKED_SIZE_M, GREY, stamp_ns, frame)


def marker(name: str, kind: int, points: Iterable[Float[ndarray, "3"]], size_m: float, colour: ColorRGBA, stamp_ns: int, frame: str) -> Marker:
    """One marker of points; it disappears by itself when it is not sent again."""
    marker = Marker(header=header(stamp_ns, frame), ns=name, type=kind, action=Marker.ADD, color=colour)
    marker.scale = Vector3(x=size_m, y=size_m, z=size_m)
    marker.pose.orientation.w = 1.0
    marker.lifetime.nanosec = LIFETIME_NS
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return marker


def _colour(side: Side) -> ColorRGBA:
    red, green, blue = (value / 255.0 for value in FLAT_COLOURS[side])
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)

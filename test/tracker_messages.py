"""Messages of trackers, made by hand from a known hand, in each source's own order, names, axes and units."""

from types import SimpleNamespace as Msg

import numpy as np

from h2w_ros.geometry import quaternion_from_rotation
from h2w_ros.hands.trackers.conventions import CONVENTIONS
from h2w_ros.hands.trackers.names import OPENXR_NAMES

STAMP = Msg(sec=5, nanosec=250_000_000)
STAMP_NS = 5_250_000_000

# hands.md's maps, written out: ours -> MediaPipe's 21; OpenXR's 26 and Vision Pro's 25 -> MediaPipe's 21; ours -> Aria's first 20.
MANO_TO_21 = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
OPENXR_TO_21 = [1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25]
WRIST25_TO_21 = [0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24]
MANO_TO_ARIA = [16, 17, 18, 19, 20, 0, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]

FOREIGN = 77.0  # [m] where joints stand that hand models have not: they must not matter


def listed(convention, points):
    """Our points in a convention's order; what we have not stands far away."""
    values = np.full((len(CONVENTIONS[convention].joint_names), 3), FOREIGN)
    if convention == "mano21":
        return points.copy()
    if convention == "points21":
        return points[MANO_TO_21]
    if convention == "aria21":
        values[:20] = points[MANO_TO_ARIA]
        return values
    values[OPENXR_TO_21 if convention == "openxr26" else WRIST25_TO_21] = points[MANO_TO_21]
    return values


def header(frame="tracker"):
    return Msg(stamp=STAMP, frame_id=frame)


def xyz(point):
    return Msg(x=float(point[0]), y=float(point[1]), z=float(point[2]))


def quaternion(R=None):
    x, y, z, w = (0.0, 0.0, 0.0, 1.0) if R is None else map(float, quaternion_from_rotation(R))
    return Msg(x=x, y=y, z=z, w=w)


def pose(point, R=None):
    return Msg(position=xyz(point), orientation=quaternion(R))


def pose_array(points, Rs=None, frame="tracker"):
    return Msg(header=header(frame), poses=[pose(point, None if Rs is None else Rs[place]) for place, point in enumerate(points)])


def hand_skeleton(convention, points, side=2, **changes):
    fields = {"joint_names": [], "orientations": [], "valid": [], "confidence": 1.0, **changes}
    return Msg(header=header(), side=side, convention=convention, positions=[xyz(point) for point in points], **fields)


def manus_glove(points, side="Right"):
    """25 nodes in a shuffled order; MCP is the metacarpal bone, thumbs have no IP."""
    bones = {"metacarpal": "MCP", "proximal": "PIP", "intermediate": "IP", "distal": "DIP", "tip": "TIP"}
    nodes = []
    for number, (name, point) in enumerate(zip(OPENXR_NAMES[1:], listed("wrist25", points), strict=True)):
        finger, _, bone = name.partition("_")
        chain, joint = ("Hand", "Invalid") if name == "wrist" else (finger.replace("little", "pinky").title(), bones[bone])
        nodes.append(Msg(node_id=number, parent_node_id=0, chain_type=chain, joint_type=joint, pose=pose(point)))
    return Msg(glove_id=1, side=side, raw_node_count=25, raw_nodes=[nodes[place] for place in np.random.default_rng(0).permutation(25)])


def named_poses(hands):
    """Isaac Teleop's message: 25 left, then 25 right; a missing hand is zeros and false."""
    msg = Msg(header=header(), name=[], pose=[], is_valid=[])
    for side in ("left", "right"):
        points = hands.get(side)
        for place, name in enumerate(OPENXR_NAMES[1:]):
            msg.name.append(f"{side}_{name.upper()}")
            msg.pose.append(pose((0, 0, 0)) if points is None else pose(listed("wrist25", points)[place]))
            msg.is_valid.append(points is not None)
    return msg


def hololens(points_openxr_axes, side="Right"):
    """MRTK's joint names: the proximal joint is a knuckle, the intermediate one a middle joint."""
    words = {"proximal": "Knuckle", "intermediate": "MiddleJoint", "distal": "DistalJoint", "metacarpal": "Metacarpal", "tip": "Tip"}
    thumb = {"metacarpal": "MetacarpalJoint", "proximal": "ProximalJoint", "distal": "DistalJoint", "tip": "Tip"}
    joints = []
    for name, point in zip(OPENXR_NAMES, listed("openxr26", points_openxr_axes), strict=True):
        finger, _, bone = name.partition("_")
        spelled = finger.replace("little", "pinky").title() + ((thumb if finger == "thumb" else words)[bone] if bone else "")
        joints.append(Msg(joint=spelled, pose=pose(point)))
    return Msg(header=header(), hand=side, joints=joints)


def pose_stamped(T, frame="tracker"):
    return Msg(header=header(frame), pose=pose(T[:3, 3], T[:3, :3]))


def edge(parent, child, point, R=None):
    return Msg(header=Msg(stamp=STAMP, frame_id=parent), child_frame_id=child, transform=Msg(translation=xyz(point), rotation=quaternion(R)))

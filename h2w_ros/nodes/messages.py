"""The core's nouns as messages, and conditions back; `ros_messages` reads the messages that others send."""

from __future__ import annotations

from dataclasses import dataclass

from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import HandPose as HandPoseMsg
from h2w_msgs.msg import Hands as HandsMsg
from h2w_msgs.msg import PinholeCamera
from h2w_ros import geometry
from h2w_ros.camera import from_pixel_centres
from h2w_ros.condition import Camera, Condition, HandPose, Image
from h2w_ros.nodes.images import header, image_to_msg, partial_image_to_msg, stamp_from_ns
from h2w_ros.ros_messages import LEFT, RIGHT, hand_from_msg, image_from_msg, known_from_msg, pose_from_msg, stamp_to_ns

SMALLEST_SHARE, LARGEST_SHARE = 1e-3, 1e3
"""Focal lengths and principal points, of the picture's size: others vanish or run over when the picture is resized."""
SIDE_NUMBERS = {"left": LEFT, "right": RIGHT}


@dataclass(frozen=True)
class Moment:
    """A condition on its way between nodes: the names of its frames, and when its last input arrived.

    `received_ns` is on this machine's wall clock; 0 where it is not known.
    """

    condition: Condition
    world_frame: str = "odom"
    camera_frame: str = "camera_optical_frame"
    received_ns: int = 0


def pose_to_msg(T_a_b: geometry.Transform) -> Pose:
    """The pose of frame b in frame a."""
    x, y, z, w = (float(value) for value in geometry.quaternion_from_rotation(T_a_b[:3, :3]))
    position = Point(**dict(zip("xyz", map(float, T_a_b[:3, 3]), strict=True)))
    return Pose(position=position, orientation=Quaternion(x=x, y=y, z=z, w=w))


def camera_info(camera: Camera, stamp_ns: int, frame_id: str) -> CameraInfo:
    """A CameraInfo of a pinhole camera without distortion."""
    msg = CameraInfo(header=header(stamp_ns, frame_id), width=camera.width_px, height=camera.height_px, distortion_model="plumb_bob")
    cx, cy = camera.cx - 0.5, camera.cy - 0.5
    msg.d = [0.0] * 5
    msg.k = [camera.fx, 0.0, cx, 0.0, camera.fy, cy, 0.0, 0.0, 1.0]
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.p = [camera.fx, 0.0, cx, 0.0, 0.0, camera.fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return msg


def pinhole_to_msg(camera: Camera) -> PinholeCamera:
    """The camera with its principal point from the first pixel's centre."""
    return PinholeCamera(width=camera.width_px, height=camera.height_px, fx=camera.fx, fy=camera.fy, cx=camera.cx - 0.5, cy=camera.cy - 0.5)


def pinhole_from_msg(msg: PinholeCamera) -> Camera:
    """The camera with its principal point from the picture's corner; ValueError for one that no resized picture could have."""
    numbers = {
        "fx": msg.fx / max(msg.width, 1),
        "fy": msg.fy / max(msg.height, 1),
        "cx": msg.cx / max(msg.width, 1),
        "cy": msg.cy / max(msg.height, 1),
    }
    for name, share in numbers.items():
        least = SMALLEST_SHARE if name in ("fx", "fy") else 0.0
        if not least <= abs(share) <= LARGEST_SHARE:  # NaN, too
            raise ValueError(f"{name} must be {least:g} to {LARGEST_SHARE:g} times the picture's size, got {share:g}; is the camera calibrated?")
    return from_pixel_centres(msg.width, msg.height, msg.fx, msg.fy, msg.cx, msg.cy)


def odometry_to_msg(T_world_child: geometry.Transform, stamp_ns: int, world_frame: str, child_frame: str) -> Odometry:
    """An odometry message without velocity."""
    msg = Odometry(header=header(stamp_ns, world_frame), child_frame_id=child_frame)
    msg.pose.pose = pose_to_msg(T_world_child)
    return msg


def hand_to_msg(hand: HandPose) -> HandPoseMsg:
    """One hand as a message."""
    msg = HandPoseMsg(side=SIDE_NUMBERS[hand.side], wrist=pose_to_msg(hand.T_world_wrist), confidence=float(hand.confidence))
    msg.joint_angles_rad = hand.joint_angles_rad
    msg.betas = hand.betas
    return msg


def hands_to_msg(hands: tuple[HandPose, ...], stamp_ns: int, world_frame: str) -> HandsMsg:
    """All hands of one moment as a message."""
    return HandsMsg(header=header(stamp_ns, world_frame), hands=[hand_to_msg(hand) for hand in hands])


def condition_to_msg(moment: Moment) -> ConditionMsg:
    """A condition and its pictures as one message."""
    condition = moment.condition
    msg = ConditionMsg(
        header=header(condition.stamp_ns, moment.world_frame),
        received=stamp_from_ns(moment.received_ns),
        camera=pinhole_to_msg(condition.camera),
        camera_pose=pose_to_msg(condition.T_world_camera),
        hands=[hand_to_msg(hand) for hand in condition.hands],
    )
    for name in ("hand_render", "image"):
        setattr(msg, name, _optional_picture(getattr(condition, name), condition.stamp_ns, moment.camera_frame))
    msg.static_render = static_render_to_msg(condition, moment.camera_frame)
    return msg


def static_render_to_msg(condition: Condition, frame_id: str) -> ImageMsg:
    """The static scene, transparent where it is not known; without data when there is none."""
    picture, known = condition.static_render, condition.static_known
    if picture is None or known is None or known.all():
        return _optional_picture(picture, condition.stamp_ns, frame_id)
    return partial_image_to_msg(picture, known, condition.stamp_ns, frame_id)


def condition_from_msg(msg: ConditionMsg) -> Moment:
    """The condition of a message; ValueError when anything in it is out of range."""
    condition = Condition(
        stamp_to_ns(msg.header.stamp),
        pinhole_from_msg(msg.camera),
        pose_from_msg(msg.camera_pose),
        tuple(hand_from_msg(hand) for hand in msg.hands),
        hand_render=_picture_or_none(msg.hand_render),
        static_render=_picture_or_none(msg.static_render),
        image=_picture_or_none(msg.image),
        static_known=known_from_msg(msg.static_render) if msg.static_render.data else None,
    )
    return Moment(condition, msg.header.frame_id, msg.image.header.frame_id, stamp_to_ns(msg.received))


def _optional_picture(picture: Image | None, stamp_ns: int, frame_id: str) -> ImageMsg:
    return ImageMsg(header=header(stamp_ns, frame_id)) if picture is None else image_to_msg(picture, stamp_ns, frame_id)


def _picture_or_none(msg: ImageMsg) -> Image | None:
    return image_from_msg(msg) if msg.data else None

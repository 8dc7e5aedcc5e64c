"""Depth, pictures and odometry in; the static scene out, as a cloud of coloured points in odometry's world.

A node of its own, because fusing and looking have different clocks: this one takes a depth image a few times a second and
may take its time, while the conditioner, which draws the scene into every condition, must not be late. And so whatever else
maps a robot's surroundings can take its place: the conditioner draws any coloured cloud on `scene_points`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from h2w_msgs.msg import Hands as HandsMsg
from h2w_ros.condition import HandPose, Image
from h2w_ros.depth_messages import cloud_from_msg, depth_from_compressed, depth_from_msg
from h2w_ros.hands.model import mano_folder
from h2w_ros.hands.near import near_hands
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.clouds import points_to_msg
from h2w_ros.nodes.depth_pairing import DepthPairing, Measurement
from h2w_ros.nodes.diagnostics import Diagnostics, Health, health_with_losses
from h2w_ros.nodes.hearing import Hearing
from h2w_ros.nodes.params import check_choices, read, setting
from h2w_ros.rectify import Rectifier
from h2w_ros.ros_messages import (
    hands_from_msgs,
    image_from_compressed,
    image_from_msg,
    lens_from_msg,
    pose_from_msg,
    stamp_to_ns,
    transform_from_msg,
    transform_from_seven,
)
from h2w_ros.scene.depth import check_depth, points_of
from h2w_ros.scene.files import save_scene
from h2w_ros.scene.fusion import Fusion, FusionConfig
from h2w_ros.scene.points import Points, radii_of_view

NO_SCENE = "no scene, and none in the conditions"
HANDS_AGE_NS = 250_000_000
PICTURE_TOPICS = (topics.IMAGE, topics.IMAGE_COMPRESSED, topics.CAMERA_INFO)


class UnusableError(ValueError):
    """A measurement that can't be fused; `reason` is the one it is counted by."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@contextmanager
def unusable(reason: str) -> Iterator[None]:
    """What goes wrong with the values of messages is counted by this reason."""
    try:
        yield
    except ValueError as error:
        raise UnusableError(reason, str(error)) from error


@dataclass(frozen=True)
class Transport:
    """One way in which depth comes: its name, its messages, and what reads them."""

    name: str
    kind: type
    decode: Callable[[Any], Any]


TRANSPORTS = {
    topics.DEPTH: Transport("raw", ImageMsg, depth_from_msg),
    topics.DEPTH_COMPRESSED: Transport("compressed", CompressedImage, depth_from_compressed),
    topics.DEPTH_POINTS: Transport("points", PointCloud2, cloud_from_msg),
}


@dataclass(frozen=True)
class SceneConfig:
    """What the scene is made of, how often, and where it goes."""

    depth_transport: str = setting(
        "auto", "depth as Image, as compressedDepth, as PointCloud2, or whichever comes first", choices=("auto", "raw", "compressed", "points")
    )
    image_is_rectified: bool = setting(False, "pictures and depth are rectified already: camera_info's P holds, no distortion")
    T_child_optical: tuple[float, ...] = setting(
        (), "optical frame in odometry's child frame: x y z [m], quaternion x y z w; empty takes it from /tf_static"
    )
    fusing: bool = setting(True, "depth is fused as it comes; false keeps the scene as it is: set it so once you have looked around", live=True)
    fuse_every_s: float = setting(0.3, "depth images are fused at most this often [s]", 0.0, 60.0, live=True)
    publish_every_s: float = setting(1.0, "scene_points goes out at most this often [s]", 0.1, 60.0)
    path: str = setting("scene.npz", "where save_scene writes the scene (.npz)", live=True)
    mano_dir: str = setting("", "folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl, to leave hands out; empty: the shipped stand-in")

    def __post_init__(self) -> None:
        check_choices(self)
        if Path(self.path).suffix != ".npz":
            raise ValueError(f"path must end with .npz, got {self.path!r}")
        if self.T_child_optical:
            transform_from_seven(self.T_child_optical, "T_child_optical")


class Scene(lifecycle.ManagedNode):
    """Fuses what a depth camera measures where no hand is, and gives the scene to whoever draws it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("scene", (SceneConfig, FusionConfig), **kwargs)
        self._points = self.create_lifecycle_publisher(PointCloud2, topics.SCENE_POINTS, topics.SCENE, qos_overriding_options=topics.overridable())
        self._save_service = self.create_service(Trigger, topics.SAVE_SCENE, self._on_save)
        self._clear_service = self.create_service(Trigger, topics.CLEAR_SCENE, self._on_clear)
        self._inputs: dict[str, Any] = {}
        self._timer: Any = None
        self._scene = Fusion()
        self._config = SceneConfig()
        self._diagnostics = Diagnostics(self, self._health)

    def set_up(self) -> None:
        """Subscribes; nothing is fused before activation."""
        self._config = read(self, SceneConfig)
        self._scene = Fusion(read(self, FusionConfig))
        self._hand_models = mano_folder(self._config.mano_dir)
        self._hands: deque[tuple[int, str, tuple[HandPose, ...]]] = deque(maxlen=100)
        self._pairing = DepthPairing(self._config.fuse_every_s, self._drop)
        if self._config.T_child_optical:
            self._pairing.mount = transform_from_seven(self._config.T_child_optical, "T_child_optical")
        self._dropped: Counter[str] = Counter()
        self._rectifier: Rectifier | None = None
        self._stamp_ns, self._num_published = 0, 0
        self._hearing = Hearing(read(self, lifecycle.NodeConfig).stale_after_s)
        self._subscribe_all()
        self._timer = self.create_timer(self._config.publish_every_s, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def tear_down(self) -> None:
        """Forgets the scene: whoever wants to keep it saves it before."""
        for topic in list(self._inputs):
            self._leave(topic)
        self.destroy_timer(self._timer)
        self._scene = Fusion()

    def take_changes(self) -> None:
        """Rates and places hold from now on."""
        self._config = read(self, SceneConfig)
        self._pairing.every_s = self._config.fuse_every_s
        self._hearing.stale_after_s = read(self, lifecycle.NodeConfig).stale_after_s

    def _subscribe_all(self) -> None:
        for topic, transport in TRANSPORTS.items():
            if self._config.depth_transport in ("auto", transport.name):
                self._subscribe(transport.kind, topic, partial(self._on_depth, topic, transport.decode), NO_SCENE)
        if self._config.depth_transport != "points":
            self._subscribe(ImageMsg, topics.IMAGE, partial(self._on_picture, topics.IMAGE_COMPRESSED, image_from_msg), NO_SCENE)
            self._subscribe(CompressedImage, topics.IMAGE_COMPRESSED, partial(self._on_picture, topics.IMAGE, image_from_compressed), NO_SCENE)
            self._subscribe(CameraInfo, topics.CAMERA_INFO, self._on_camera_info, NO_SCENE)
        self._subscribe(Odometry, topics.ODOMETRY, self._on_odometry, f"{NO_SCENE}: the camera's pose is unknown")
        self._subscribe(HandsMsg, topics.HANDS, self._on_hands)
        self._inputs[topics.TF_STATIC] = self.create_subscription(TFMessage, topics.TF_STATIC, self._on_tf_static, topics.LATCHED)

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], consequence: str = "") -> None:
        """An input; one whose silence has a consequence is missed."""

        def heard(msg: Any) -> None:
            self._hearing.heard(name)
            if self.is_active:
                callback(msg)
                self._fuse_ready()

        qos = topics.NUMBERS_IN if kind in (Odometry, HandsMsg) else topics.SENSOR_IN
        self._inputs[topic] = subscription = self.create_subscription(kind, topic, heard, qos, qos_overriding_options=topics.overridable())
        name = subscription.topic_name
        if consequence:
            self._hearing.expect(name, consequence)

    def _leave(self, topic: str) -> None:
        subscription = self._inputs.pop(topic, None)
        if subscription is not None:
            self._hearing.forget(subscription.topic_name)
            self.destroy_subscription(subscription)

    # Inputs: each callback converts and hands on.

    def _on_depth(self, topic: str, decode: Callable[[Any], Any], msg: Any) -> None:
        is_cloud = topic == topics.DEPTH_POINTS
        for other in (*TRANSPORTS, *(PICTURE_TOPICS if is_cloud else ())):  # clouds bring their own colors and places
            if other != topic:
                self._leave(other)
        if self._config.fusing:
            self._pairing.add_depth(stamp_to_ns(msg.header.stamp), msg.header.frame_id, partial(decode, msg), needs_picture=not is_cloud)

    def _on_picture(self, other_topic: str, decode: Callable[[Any], Image], msg: Any) -> None:
        self._leave(other_topic)
        self._pairing.add_picture(stamp_to_ns(msg.header.stamp), msg.header.frame_id, partial(decode, msg))

    def _on_camera_info(self, msg: CameraInfo) -> None:
        try:
            lens = lens_from_msg(msg, self._config.image_is_rectified)
            if self._rectifier is None or self._rectifier.lens != lens:
                self._rectifier = Rectifier(lens)
        except ValueError as error:
            self._drop("camera_info_unusable", f"{self._topic(topics.CAMERA_INFO)}: {error}; nothing is fused until then")

    def _on_odometry(self, msg: Odometry) -> None:
        try:
            self._pairing.add_pose(stamp_to_ns(msg.header.stamp), msg.header.frame_id, msg.child_frame_id, pose_from_msg(msg.pose.pose))
        except ValueError as error:
            self._drop("pose_invalid", f"{self._topic(topics.ODOMETRY)}: {error}")

    def _on_hands(self, msg: HandsMsg) -> None:
        reading = hands_from_msgs(msg.hands)
        for reason, text in reading.faults:
            self._drop(reason, f"{self._topic(topics.HANDS)}: {text}")
        self._pairing.hands_until_ns = stamp_to_ns(msg.header.stamp)
        self._hands.append((self._pairing.hands_until_ns, msg.header.frame_id, reading.hands))

    def _on_tf_static(self, msg: TFMessage) -> None:
        for edge in msg.transforms:
            self._add_frame(edge)

    def _add_frame(self, edge: TransformStamped) -> None:
        try:
            self._pairing.frames.add_static(edge.header.frame_id, edge.child_frame_id, transform_from_msg(edge.transform))
        except ValueError as error:
            self._drop("tf_static_invalid", f"/tf_static, {edge.header.frame_id} to {edge.child_frame_id}: {error}")

    # Fusing.

    def _fuse_ready(self) -> None:
        for measurement in self._pairing.ready():
            self._fuse(measurement)

    def _fuse(self, measurement: Measurement) -> None:
        try:
            self._fuse_cloud(measurement) if measurement.picture is None else self._fuse_depth(measurement, measurement.picture)
        except UnusableError as error:
            self._drop(error.reason, f"a depth measurement is left out: {error}")
            return
        self._stamp_ns = measurement.stamp_ns

    def _fuse_depth(self, measurement: Measurement, take_picture: Callable[[], Image]) -> None:
        if self._rectifier is None:
            rule = f"depth needs a usable {self._topic(topics.CAMERA_INFO)}, without which its intrinsics are unknown"
            raise UnusableError("depth_without_camera_info", rule)
        with unusable("depth_unreadable"):
            depth_m = self._rectifier.nearest(measurement.depth())
        with unusable("image_unreadable"):
            image, camera = self._rectifier(take_picture()), self._rectifier.camera
        hands = self._hands_at(measurement.stamp_ns)
        points = points_of(depth_m, camera, measurement.T_world_camera)
        hidden = near_hands(points.reshape(-1, 3), hands, self._hand_models).reshape(depth_m.shape) if hands else None
        with unusable("depth_implausible"):
            self._scene.add_depth(image, depth_m, camera, measurement.T_world_camera, hidden)

    def _fuse_cloud(self, measurement: Measurement) -> None:
        with unusable("depth_unreadable"):
            cloud = measurement.depth()
        distance_m, limits = np.linalg.norm(cloud.points, axis=1).astype(np.float32), self._scene.config
        with unusable("depth_implausible"):
            check_depth(distance_m)
            kept = (distance_m >= limits.min_depth_m) & (distance_m <= limits.max_depth_m)
            points = Points(cloud.points[kept], cloud.colors[kept], radii_of_view(cloud.points[kept])).moved(measurement.T_world_camera)
        away = ~near_hands(points.points_world, self._hands_at(measurement.stamp_ns), self._hand_models)
        if away.any():
            self._scene.add_points(points.part(away))

    def _hands_at(self, stamp_ns: int) -> tuple[HandPose, ...]:
        """The hands of about this time, in the world."""
        nearest = min(self._hands, key=lambda heard: abs(heard[0] - stamp_ns), default=None)
        if nearest is None or abs(nearest[0] - stamp_ns) > HANDS_AGE_NS or not nearest[2]:
            return ()
        world = self._pairing.world_frame
        T_world_frame = self._pairing.frames.find(world, nearest[1], stamp_ns)
        if T_world_frame is None:
            rule = f"hands must come in a frame that /tf_static connects to {world!r}, or what they hide is unknown; got {nearest[1]!r}"
            raise UnusableError("hands_in_other_frame", rule)
        return tuple(replace(hand, T_world_wrist=T_world_frame @ hand.T_world_wrist) for hand in nearest[2])

    # Outputs.

    def _publish(self) -> None:
        """The scene, when it has changed."""
        if not self.is_active or self._scene.num_fused == self._num_published:
            return
        self._num_published = self._scene.num_fused
        self._points.publish(points_to_msg(self._scene.scene(), self._stamp_ns, self._pairing.world_frame))

    def _on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        points = self._scene.scene()
        if points is None:
            response.success, response.message = False, "there is no scene yet: nothing has been fused"
            return response
        try:
            save_scene(self._config.path, points)
        except OSError as error:
            response.success, response.message = False, f"the scene could not be saved: {error}"
            return response
        response.success, response.message = True, f"{len(points)} points in {Path(self._config.path).resolve()}"
        return response

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, f"{len(self._scene)} points are forgotten"
        self._scene, self._num_published = Fusion(read(self, FusionConfig)), 0
        if self.is_active:
            self._points.publish(points_to_msg(None, self._stamp_ns, self._pairing.world_frame))
        return response

    # Faults and health.

    def _topic(self, name: str) -> str:
        return self.resolve_topic_name(name)

    def _drop(self, reason: str, text: str) -> None:
        self._dropped[reason] += 1
        self.warn(reason, text)

    def _health(self) -> Health:
        values = {"points": len(self._scene), "fused": self._scene.num_fused, "fusing": self._config.fusing}
        return health_with_losses(self, self._hearing.stale(), values, self._dropped)


def main(args: list[str] | None = None) -> int:
    """Executable `scene`."""
    return lifecycle.main(lambda: [Scene()], args)

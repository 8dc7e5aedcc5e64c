"""Camera, odometry and hands in; conditions on the generator's clock out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Hands as HandsMsg
from h2w_ros.camera import plucker_rays, relative_to
from h2w_ros.condition import Image
from h2w_ros.frames import StaticFrames
from h2w_ros.geometry import Transform
from h2w_ros.hands.model import mano_folder
from h2w_ros.hands.styles import STYLES
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.condition_markers import ConditionMarkers
from h2w_ros.nodes.diagnostics import Diagnostics, Health, health_with_losses
from h2w_ros.nodes.hearing import Hearing
from h2w_ros.nodes.images import image_to_msg, picture_of_rays, rays_to_msg
from h2w_ros.nodes.messages import Moment, condition_to_msg, static_render_to_msg
from h2w_ros.nodes.params import check_choices, read, setting
from h2w_ros.nodes.scene_input import SceneInput, SceneInputConfig
from h2w_ros.rectify import Lens, Rectifier
from h2w_ros.ros_messages import (
    hands_from_msgs,
    image_from_compressed,
    image_from_msg,
    lens_from_msg,
    partial_from_msg,
    pose_from_msg,
    stamp_to_ns,
    transform_from_msg,
    transform_from_seven,
)
from h2w_ros.timeline import Timeline, TimelineConfig

if TYPE_CHECKING:
    from h2w_ros.hands.render import HandRenderer

PICTURES = (ImageMsg, CompressedImage)
USABLE_HANDS = "usable hands"
Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class ConditionerConfig:
    """What the conditioner listens to and how it reads it."""

    image_transport: str = setting(
        "auto", "camera pictures as sensor_msgs/Image, as CompressedImage, or whichever comes first", choices=("auto", "raw", "compressed")
    )
    image_is_rectified: bool = setting(False, "pictures are rectified already: camera_info's P holds, no distortion")
    T_child_optical: tuple[float, ...] = setting(
        (), "optical frame in odometry's child frame: x y z [m], quaternion x y z w; empty takes it from /tf_static"
    )
    min_hand_confidence: float = setting(0.3, "hands of which the tracker is less sure are left out", 0.0, 1.0, live=True)
    hand_style: str = setting("silhouette_wireframe", "how hand_render is drawn", choices=tuple(STYLES), live=True)
    mano_dir: str = setting("", "folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl, for hand_render; empty: the shipped stand-in")

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def mount(self) -> Transform | None:
        """T_child_optical, or None when /tf_static has it."""
        return transform_from_seven(self.T_child_optical, "T_child_optical") if self.T_child_optical else None


class Conditioner(lifecycle.ManagedNode):
    """Aligns its inputs and gives out `Condition`s, as messages to whoever subscribes and as objects to `on_moment`."""

    def __init__(self, on_moment: Callable[[Moment], None] | None = None, **kwargs: Any) -> None:
        super().__init__("conditioner", (ConditionerConfig, TimelineConfig, SceneInputConfig), **kwargs)
        self._on_moment = on_moment
        out = {"qos_profile": topics.RESULT_OUT, "qos_overriding_options": topics.overridable()}
        self._conditions = self.create_lifecycle_publisher(ConditionMsg, topics.CONDITION, **out)
        self._renders = self.create_lifecycle_publisher(ImageMsg, topics.HAND_RENDER, **out)
        self._static_renders = self.create_lifecycle_publisher(ImageMsg, topics.STATIC_RENDER, **out)
        self._rays = self.create_lifecycle_publisher(ImageMsg, topics.PLUCKER_RAYS, **out)
        self._rays_pictures = self.create_lifecycle_publisher(ImageMsg, topics.RAYS_PICTURE, **out)
        self._marker_sets = self.create_lifecycle_publisher(MarkerArray, topics.CONDITION_MARKERS, **out)
        self._inputs: dict[str, Any] = {}
        self._diagnostics = Diagnostics(self, self._health)

    def set_up(self) -> None:
        """Subscribes; nothing is used before activation."""
        self._config = read(self, ConditionerConfig)
        self._mount = self._config.mount
        self._hand_models = mano_folder(self._config.mano_dir)
        self._markers = ConditionMarkers(self._config.mano_dir or None)
        self._frames = StaticFrames()
        self._timeline = Timeline(read(self, TimelineConfig), now_s=time.monotonic)
        self._dropped: Counter[str] = Counter()
        self._scene = SceneInput(read(self, SceneInputConfig), self._frames, self._drop)
        self._num_conditions = 0
        self._num_resets_seen = 0
        self._lens: Lens | None = None
        self._rectifier: Rectifier | None = None
        self._T_world_anchor: Transform | None = None
        self._world_frame, self._child_frame, self._camera_frame = "", "", ""
        self._hearing = Hearing(read(self, lifecycle.NodeConfig).stale_after_s)
        self._hearing.expect(USABLE_HANDS, "conditions without hands")
        self._had_listeners = False
        self._subscribe_all()

    def tear_down(self) -> None:
        """Forgets everything."""
        for topic in list(self._inputs):
            self._leave(topic)

    def take_changes(self) -> None:
        """Limits and styles hold from the next message on."""
        self._config, self._timeline.config = read(self, ConditionerConfig), read(self, TimelineConfig)
        self._scene.config = read(self, SceneInputConfig)
        self._hearing.stale_after_s = read(self, lifecycle.NodeConfig).stale_after_s
        self.__dict__.pop("_renderer", None)

    def _subscribe_all(self) -> None:
        transport, silence = self._config.image_transport, "no picture to begin from, and none in the conditions"
        if transport in ("auto", "raw"):
            self._subscribe(ImageMsg, topics.IMAGE, self._on_image, silence)
        if transport in ("auto", "compressed"):
            self._subscribe(CompressedImage, topics.IMAGE_COMPRESSED, self._on_compressed, silence)
        self._subscribe(CameraInfo, topics.CAMERA_INFO, self._on_camera_info, "no conditions")
        self._subscribe(Odometry, topics.ODOMETRY, self._on_odometry, "no conditions: the camera's pose is unknown")
        if self._timeline.config.ready_made_hands:
            self._subscribe(ImageMsg, topics.READY_MADE_HANDS, self._on_hand_render, "no conditions: the hands are unknown")
        else:
            self._subscribe(HandsMsg, topics.HANDS, self._on_hands, "conditions without hands")
        self._inputs[topics.TF_STATIC] = self.create_subscription(TFMessage, topics.TF_STATIC, self._on_tf_static, topics.LATCHED)
        # Pictures of the scene may come or not; a cloud of it is published once in a while, and kept for those who come later. Neither falls silent.
        self._inputs[topics.READY_MADE_SCENE] = self.create_subscription(
            ImageMsg, topics.READY_MADE_SCENE, self._on_static_render, topics.SENSOR_IN, qos_overriding_options=topics.overridable()
        )
        self._inputs[topics.SCENE_POINTS] = self.create_subscription(
            PointCloud2, topics.SCENE_POINTS, self._scene.take, topics.SCENE, qos_overriding_options=topics.overridable()
        )

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], consequence: str) -> None:
        """An input whose silence has a consequence that can be said."""

        def heard(msg: Any) -> None:
            self._hearing.heard(name)
            if self.is_active:
                received_ns = time.time_ns()
                callback(msg)
                self._advance(received_ns)

        qos = topics.SENSOR_IN if kind in PICTURES else topics.NUMBERS_IN
        subscription = self.create_subscription(kind, topic, heard, qos, qos_overriding_options=topics.overridable())
        name = subscription.topic_name
        self._hearing.expect(name, consequence)
        self._inputs[topic] = subscription

    # Inputs: each callback converts and hands on.

    def _on_image(self, msg: ImageMsg) -> None:
        self._leave(topics.IMAGE_COMPRESSED)
        self._take_picture(msg, partial(self._rectified, topics.IMAGE, partial(image_from_msg, msg)))

    def _on_compressed(self, msg: CompressedImage) -> None:
        self._leave(topics.IMAGE)
        self._take_picture(msg, partial(self._rectified, topics.IMAGE_COMPRESSED, partial(image_from_compressed, msg)))

    def _take_picture(self, msg: ImageMsg | CompressedImage, decode: Callable[[], Image]) -> None:
        self._camera_frame = msg.header.frame_id or self._camera_frame
        self._timeline.add_image(stamp_to_ns(msg.header.stamp), decode)

    def _leave(self, topic: str) -> None:
        """Ends a subscription, once."""
        subscription = self._inputs.pop(topic, None)
        if subscription is not None:
            self._hearing.forget(subscription.topic_name)
            self.destroy_subscription(subscription)

    def _on_hand_render(self, msg: ImageMsg) -> None:
        decode = partial(self._decoded, topics.READY_MADE_HANDS, partial(image_from_msg, msg))
        self._timeline.add_hand_render(stamp_to_ns(msg.header.stamp), decode)

    def _on_static_render(self, msg: ImageMsg) -> None:
        if self.is_active:
            decode = partial(self._decoded, topics.READY_MADE_SCENE, partial(partial_from_msg, msg))
            self._timeline.add_static_render(stamp_to_ns(msg.header.stamp), decode)

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._camera_frame = msg.header.frame_id or self._camera_frame
        try:
            lens = lens_from_msg(msg, self._config.image_is_rectified)
            if lens == self._lens:
                return
            rectifier = Rectifier(lens)
            self._timeline.set_camera(rectifier.camera)
        except ValueError as error:
            self._drop("camera_info_unusable", f"{self._topic(topics.CAMERA_INFO)}: {error}; no conditions until then")
            return
        self._lens, self._rectifier = lens, rectifier

    def _on_odometry(self, msg: Odometry) -> None:
        self._world_frame, self._child_frame = msg.header.frame_id, msg.child_frame_id
        T_child_optical = self._mount_of(msg.child_frame_id)
        if T_child_optical is None:
            return
        try:
            T_world_child = pose_from_msg(msg.pose.pose)
        except ValueError as error:
            self._drop("pose_invalid", f"{self._topic(topics.ODOMETRY)}: {error}")
            return
        self._timeline.add_pose(stamp_to_ns(msg.header.stamp), T_world_child @ T_child_optical)

    def _on_hands(self, msg: HandsMsg) -> None:
        T_world_frame = self._frames.find(self._world_frame, msg.header.frame_id) if self._world_frame else None
        if T_world_frame is None:
            self._drop_hands_of_other_frame(msg.header.frame_id)
            return
        reading = hands_from_msgs(msg.hands)
        for reason, text in reading.faults:
            self._drop(reason, f"{self._topic(topics.HANDS)}: {text}")
        sure = [hand for hand in reading.hands if hand.confidence >= self._config.min_hand_confidence]
        self._dropped["hand_unsure"] += len(reading.hands) - len(sure)
        hands = tuple(replace(hand, T_world_wrist=T_world_frame @ hand.T_world_wrist) for hand in sure)
        self._timeline.add_hands(stamp_to_ns(msg.header.stamp), hands)

    def _on_tf_static(self, msg: TFMessage) -> None:
        for edge in msg.transforms:
            self._add_frame(edge)

    def _add_frame(self, edge: TransformStamped) -> None:
        try:
            self._frames.add(edge.header.frame_id, edge.child_frame_id, transform_from_msg(edge.transform))
        except ValueError as error:
            self._drop("tf_static_invalid", f"/tf_static, {edge.header.frame_id} to {edge.child_frame_id}: {error}")

    def _drop_hands_of_other_frame(self, frame: str) -> None:
        if not self._world_frame:
            self._dropped["hands_before_odometry"] += 1
            return
        text = f"hands come in frame {frame!r}, which /tf_static does not connect to odometry's world {self._world_frame!r}: conditions without hands"
        self._drop("hands_in_other_frame", f"{self._topic(topics.HANDS)}: {text}")

    def _mount_of(self, child_frame: str) -> Transform | None:
        """T_child_optical; None, and counted, while it is unknown."""
        if self._mount is not None:
            return self._mount
        T_child_optical = self._frames.find(child_frame, self._camera_frame) if self._camera_frame else None
        if T_child_optical is None and self._camera_frame:
            text = f"/tf_static does not connect {child_frame!r} to {self._camera_frame!r}: no conditions; publish it or set T_child_optical"
            self._drop("pose_without_mount", text)
        return T_child_optical

    def _decoded(self, topic: str, decode: Callable[[], Decoded]) -> Decoded:
        """A picture; ValueError, after a warning that names its topic, when it can't be read."""
        try:
            return decode()
        except ValueError as error:
            self.warn(topic, f"{self._topic(topic)}: a picture is left out: {error}")
            raise

    def _rectified(self, topic: str, decode: Callable[[], Image]) -> Image:
        """A picture of the pinhole camera."""
        rectify = self._rectifier
        return self._decoded(topic, decode if rectify is None else lambda: rectify(decode()))

    # Outputs.

    def _advance(self, received_ns: int) -> None:
        for condition in self._timeline.advance():
            if self._timeline.num_resets != self._num_resets_seen:
                self._num_resets_seen, self._T_world_anchor = self._timeline.num_resets, None
                self._markers.begin()
                self.get_logger().warning("the stamps, the camera or its size jumped: the clock starts anew, and so does the prediction")
            self._num_conditions += 1
            if condition.hands or condition.hand_render is not None:
                self._hearing.heard(USABLE_HANDS)
            whole = condition if condition.static_render is not None else self._scene.into(condition, self._world_frame)
            self._give_out(Moment(whole, self._world_frame, self._camera_frame, received_ns))

    def _give_out(self, moment: Moment) -> None:
        if self._on_moment is not None:
            self._on_moment(moment)
        if self._conditions.get_subscription_count():
            self._conditions.publish(condition_to_msg(moment))
        if self._renders.get_subscription_count():
            self._renders.publish(image_to_msg(self._hand_picture(moment), moment.condition.stamp_ns, moment.camera_frame))
        if moment.condition.static_render is not None and self._static_renders.get_subscription_count():
            self._static_renders.publish(static_render_to_msg(moment.condition, moment.camera_frame))
        self._markers.follow(moment.condition.T_world_camera)
        if self._marker_sets.get_subscription_count():
            self._marker_sets.publish(self._markers.message(moment))
        self._publish_rays(moment)

    @cached_property
    def _renderer(self) -> HandRenderer:
        """Made when somebody first looks: the hand model takes a moment to load."""
        from h2w_ros.hands.render import HandRenderer

        return HandRenderer(style=self._config.hand_style, hand_models=self._hand_models)

    def _hand_picture(self, moment: Moment) -> Image:
        condition = moment.condition
        if condition.hand_render is not None:
            return condition.hand_render
        return self._renderer.render(condition.hands, condition.camera, condition.T_world_camera)

    def _publish_rays(self, moment: Moment) -> None:
        condition = moment.condition
        if self._T_world_anchor is None:
            self._T_world_anchor = condition.T_world_camera
        listeners = self._rays.get_subscription_count(), self._rays_pictures.get_subscription_count()
        if not any(listeners):
            return
        rays = plucker_rays(condition.camera, relative_to(self._T_world_anchor, condition.T_world_camera))
        if listeners[0]:
            self._rays.publish(rays_to_msg(rays, condition.stamp_ns, moment.camera_frame))
        if listeners[1]:
            self._rays_pictures.publish(image_to_msg(picture_of_rays(rays), condition.stamp_ns, moment.camera_frame))

    # Faults and health.

    def _topic(self, name: str) -> str:
        return self.resolve_topic_name(name)

    def _drop(self, reason: str, text: str) -> None:
        self._dropped[reason] += 1
        self.warn(reason, text)

    def _health(self) -> Health:
        values: dict[str, object] = {"conditions": self._num_conditions, "clock_restarts": self._timeline.num_resets}
        values.update({f"stood_in.{what}": count for what, count in sorted(self._timeline.stood_in.items())})
        return health_with_losses(self, self._hearing.stale() | self._lost_listeners(), values, self._dropped + self._timeline.dropped)

    def _lost_listeners(self) -> dict[str, str]:
        """Conditions that somebody used to hear, and nobody hears now."""
        has_listeners = self._on_moment is not None or self._conditions.get_subscription_count() > 0
        self._had_listeners |= has_listeners
        topic = self._topic(topics.CONDITION)
        return {} if has_listeners or not self._had_listeners else {topic: f"nobody hears {topic} any more: the generator has ended"}


def main(args: list[str] | None = None) -> int:
    """Executable `conditioner`."""
    return lifecycle.main(lambda: [Conditioner()], args)

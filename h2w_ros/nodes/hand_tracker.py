"""A camera's pictures in; `h2w_msgs/Hands` out: hand tracking for whoever has a webcam and no tracker."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Hands as HandsMsg
from h2w_ros.annotate.intrinsics import centred
from h2w_ros.annotate.live import LiveHands
from h2w_ros.annotate.mediapipe_hands import MediaPipeConfig, MediaPipeProcess
from h2w_ros.annotate.sighting import Sightings
from h2w_ros.condition import Camera, HandPose, Image
from h2w_ros.geometry import Transform
from h2w_ros.hands.model import mano_folder
from h2w_ros.hands.trackers.tf_tree import TfTree
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.diagnostics import Diagnostics, Health, health_with_losses
from h2w_ros.nodes.hand_markers import hand_markers
from h2w_ros.nodes.hearing import Hearing
from h2w_ros.nodes.messages import hands_to_msg
from h2w_ros.nodes.params import check_choices, read, setting
from h2w_ros.rectify import Rectifier
from h2w_ros.ros_messages import image_from_compressed, image_from_msg, lens_from_msg, stamp_to_ns, transform_from_msg

MARKERS = "hand_markers"
# Of pictures that come faster than hands are found only the newest counts.
NEWEST = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

# MediaPipe takes seconds to start; one that dies at once must not take all of the node's time.
RESTART_S = 5.0


@runtime_checkable
class Detector(Protocol):
    """What the node needs of `MediaPipeProcess`."""

    def find(self, picture: Image) -> Sightings:
        """The hands in a picture; OSError when there will be no more answers."""

    def close(self) -> None:
        """Ends it."""


@dataclass(frozen=True)
class HandTrackerConfig:
    """Which pictures are looked at, and where hands are wanted."""

    image_transport: str = setting("raw", "which pictures are used", choices=("raw", "compressed"))
    image_is_rectified: bool = setting(False, "pictures are rectified already; camera_info's P is their camera")
    view_deg: float = setting(0.0, "what the camera sees across its width [deg], for cameras without camera_info; 0 waits for that", 0.0, 170.0)
    world_frame: str = setting("", "frame of the hands that go out, to which /tf leads from the pictures'; empty: the pictures' own")
    is_mirrored: bool = setting(False, "pictures are mirrored, as many webcams show their user")
    farthest_m: float = setting(1.2, "hands further from the camera are left out [m]", 0.1, 10.0)
    min_confidence: float = setting(0.5, "hands of which MediaPipe is less sure are left out", 0.0, 1.0)
    mano_dir: str = setting("", "folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl; empty: the shipped stand-in")

    def __post_init__(self) -> None:
        check_choices(self)


class HandTracker(lifecycle.ManagedNode):
    """Shows pictures to MediaPipe, which runs in a process and an environment of its own, fits hands, gives them out."""

    def __init__(self, open_detector: Callable[[MediaPipeConfig], Detector] = MediaPipeProcess, **kwargs: Any) -> None:
        super().__init__("hand_tracker", (HandTrackerConfig,), **kwargs)
        self._open_detector = open_detector
        out = {"qos_profile": topics.RESULT_OUT, "qos_overriding_options": topics.overridable()}
        self._hands = self.create_lifecycle_publisher(HandsMsg, topics.HANDS, **out)
        self._markers = self.create_lifecycle_publisher(MarkerArray, MARKERS, **out)
        self._inputs: list[Any] = []
        self._diagnostics = Diagnostics(self, self._health)

    @property
    def knows_camera(self) -> bool:
        """Whether pictures can be used: the lens was told, or seen in camera_info."""
        return self._config.view_deg > 0.0 or self._rectifier is not None

    def set_up(self) -> None:
        """Starts MediaPipe, whose environment is set up where it is missing, and subscribes."""
        self._config = read(self, HandTrackerConfig)
        self._live = LiveHands(mano_folder(self._config.mano_dir), self._config.farthest_m)
        self._detector: Detector | None = self._started()
        self._ended, self._ended_s = "", 0.0
        self._frames = TfTree()
        self._rectifier: Rectifier | None = None
        self._dropped: Counter[str] = Counter()
        self._num_pictures, self._num_hands, self._took_ms = 0, 0, 0.0
        self._hearing = Hearing(read(self, lifecycle.NodeConfig).stale_after_s)
        kind, topic, decode = (
            (ImageMsg, topics.IMAGE, image_from_msg)
            if self._config.image_transport == "raw"
            else (CompressedImage, topics.IMAGE_COMPRESSED, image_from_compressed)
        )
        self._listen(kind, topic, partial(self._on_picture, decode), NEWEST, "hands are unknown")
        if not self._config.view_deg:
            self._listen(CameraInfo, topics.CAMERA_INFO, self._on_camera_info, topics.SENSOR_IN, "hands are unknown: set view_deg without it")
        self._inputs.append(self.create_subscription(TFMessage, "/tf", partial(self._on_tf, False), topics.NUMBERS_IN))
        self._inputs.append(self.create_subscription(TFMessage, topics.TF_STATIC, partial(self._on_tf, True), topics.LATCHED))

    def tear_down(self) -> None:
        """Ends the subscriptions and MediaPipe."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        if self._detector is not None:
            self._detector.close()
            self._detector = None

    def _started(self) -> Detector:
        confidence = self._config.min_confidence
        return self._open_detector(MediaPipeConfig(min_detection_confidence=confidence, min_tracking_confidence=confidence))

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile, silence: str) -> None:
        def heard(msg: Any) -> None:
            self._hearing.heard(name)
            if self.is_active:
                callback(msg)

        subscription = self.create_subscription(kind, topic, heard, qos, qos_overriding_options=topics.overridable())
        name = str(subscription.topic_name)
        self._hearing.expect(name, silence)
        self._inputs.append(subscription)

    # Inputs.

    def _on_tf(self, is_static: bool, msg: TFMessage) -> None:
        for edge in msg.transforms:
            parent, child = edge.header.frame_id, edge.child_frame_id
            try:
                T_parent_child = transform_from_msg(edge.transform)
            except ValueError as error:
                self._drop("tf_invalid", f"{parent} to {child}: {error}")
                continue
            if is_static:
                self._frames.add_static(parent, child, T_parent_child)
            else:
                self._frames.add(parent, child, stamp_to_ns(edge.header.stamp), T_parent_child)

    def _on_camera_info(self, msg: CameraInfo) -> None:
        try:
            lens = lens_from_msg(msg, self._config.image_is_rectified)
            if self._rectifier is None or self._rectifier.lens != lens:
                self._rectifier = Rectifier(lens)
        except ValueError as error:
            self._drop("camera_info_unusable", f"camera_info: {error}; no hands until then")

    def _on_picture(self, decode: Callable[[Any], Image], msg: Any) -> None:
        began_s = time.perf_counter()
        try:
            picture = decode(msg)
            camera = self._camera_of(picture)
            if camera is None:
                self._drop("no_camera_info", "pictures without camera_info are left out: publish it, or set view_deg")
                return
            hands = self._found(picture, camera, stamp_to_ns(msg.header.stamp))
        except ValueError as error:
            self._drop("picture_unusable", str(error))
            return
        self._num_pictures += 1
        self._took_ms = 1e3 * (time.perf_counter() - began_s)
        self._give_out(hands, msg.header.frame_id, stamp_to_ns(msg.header.stamp))

    def _camera_of(self, picture: Image) -> Camera | None:
        """The pinhole of the picture once it is rectified; None while that is unknown."""
        height, width, _ = picture.shape
        if self._config.view_deg:
            return _camera_of_view(width, height, self._config.view_deg)
        return None if self._rectifier is None else self._rectifier.camera

    def _found(self, picture: Image, camera: Camera, stamp_ns: int) -> tuple[HandPose, ...]:
        """Hands in the camera's frame; of a mirrored picture as they really are."""
        straight = picture if self._rectifier is None else self._rectifier(picture)
        upright = straight[:, ::-1] if self._config.is_mirrored else straight
        seen_by = replace(camera, cx=camera.width_px - camera.cx) if self._config.is_mirrored else camera
        return self._live.fit(self._sightings(upright), seen_by, stamp_ns)

    def _sightings(self, picture: Image) -> Sightings:
        """What MediaPipe sees; ValueError while its process is gone, which is started again after a while."""
        if self._detector is None and time.monotonic() - self._ended_s > RESTART_S:
            self._detector, self._ended = self._started(), ""
        if self._detector is None:
            raise ValueError(self._ended)
        try:
            return self._detector.find(picture)
        except OSError as error:
            self._detector.close()
            self._detector, self._ended, self._ended_s = None, f"{error}; it is started again after {RESTART_S:g} s", time.monotonic()
            raise ValueError(self._ended) from error

    # Outputs.

    def _give_out(self, hands: tuple[HandPose, ...], picture_frame: str, stamp_ns: int) -> None:
        frame = self._config.world_frame or picture_frame
        T_world_camera = self._frames.find(frame, picture_frame, stamp_ns)
        if T_world_camera is None:
            self._drop("picture_in_other_frame", f"/tf does not connect the pictures' frame {picture_frame!r} to {frame!r} at their moment")
            return
        placed = tuple(_moved(hand, T_world_camera) for hand in hands)
        self._num_hands += len(placed)
        self._hands.publish(hands_to_msg(placed, stamp_ns, frame))
        if self._markers.get_subscription_count():
            self._markers.publish(hand_markers(placed, stamp_ns, frame, self._config.mano_dir or None))

    def _drop(self, reason: str, text: str) -> None:
        self._dropped[reason] += 1
        self.warn(reason, text)

    def _health(self) -> Health:
        values = {"pictures": self._num_pictures, "hands": self._num_hands, "took_ms": self._took_ms}
        problems = self._hearing.stale() | ({"mediapipe": self._ended} if self._ended else {})
        return health_with_losses(self, problems, values, self._dropped + self._live.dropped)


def _camera_of_view(width_px: int, height_px: int, view_deg: float) -> Camera:
    return centred(width_px, height_px, 0.5 * width_px / math.tan(math.radians(view_deg) / 2.0))


def _moved(hand: HandPose, T_world_camera: Transform) -> HandPose:
    return replace(hand, T_world_wrist=T_world_camera @ hand.T_world_wrist)


def main(args: list[str] | None = None) -> int:
    """Executable `hand_tracker`."""
    return lifecycle.main(lambda: [HandTracker()], args)

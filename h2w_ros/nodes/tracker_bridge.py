"""Any tracker's hands in; `h2w_msgs/Hands` in the world's frame out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from geometry_msgs.msg import TransformStamped
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Hands as HandsMsg
from h2w_ros.condition import SIDES
from h2w_ros.hands.model import mano_folder
from h2w_ros.hands.pairing import HandPairing, HandsMoment
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.trackers.axes import AXES
from h2w_ros.hands.trackers.conventions import CONVENTIONS
from h2w_ros.hands.trackers.reading import Reading, TrackerConfig, moved, one_a_side
from h2w_ros.hands.trackers.sources import SOURCES, Input, source
from h2w_ros.hands.trackers.tf_tree import TfTree
from h2w_ros.hands.tracking import HandTracking, TrackingConfig
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.diagnostics import Diagnostics, Health, health_with_losses
from h2w_ros.nodes.hand_markers import hand_markers, skeleton_marker
from h2w_ros.nodes.hearing import Hearing
from h2w_ros.nodes.messages import hands_to_msg
from h2w_ros.nodes.params import check_choices, read, setting
from h2w_ros.nodes.types import message_class
from h2w_ros.ros_messages import stamp_to_ns, transform_from_msg

MARKERS = "hand_markers"
CALIBRATE = "calibrate"
TF = "/tf"
# A stamp further ahead of this machine's clock is another clock's.
MOST_AHEAD_NS = 50_000_000


@dataclass(frozen=True)
class TrackerBridgeConfig:
    """Which tracker is heard, how its messages are read, and where its hands are wanted."""

    tracker: str = setting("skeleton", "where hands come from", choices=tuple(sorted(SOURCES)))
    convention: str = setting("", "order of the joints; empty: the tracker's own", choices=("", *sorted(CONVENTIONS)))
    axes: str = setting("", "axes of the tracker's positions; empty: the tracker's own", choices=("", *sorted(AXES)))
    metres_per_unit: float = setting(1.0, "length of the tracker's unit [m]; 0.001 for millimetres", 1e-6, 1e3)
    swap_sides: bool = setting(False, "the tracker names the hands of a mirrored picture")
    frame_id: str = setting("", "frame of hands whose messages name none, such as glove_{side}; for tf the frame in which they are found")
    frame_pattern: str = setting("{side}_{joint}", "names of joints' frames, for tf")
    robot: str = setting("", "a robot hand of models/robots, or the path of your own table; for the tracker robot")
    world_frame: str = setting("odom", "frame of the hands that go out; /tf and /tf_static lead to it")
    mano_dir: str = setting("", "folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl; empty: the shipped stand-in")
    calibrate_after_s: float = setting(3.0, "a hand's shape is measured once it was seen for so long [s]; 0: only by the service", 0.0, 10.0)
    pair_ms: float = setting(60.0, "a hand waits so long for the other one's next message [ms]", 0.0, 1000.0)
    stamp_on_arrival: bool = setting(False, "ignore the tracker's stamps: its clock is not this robot's")

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.world_frame:
            raise ValueError("world_frame must name the frame of the hands, such as odom")

    @property
    def reading(self) -> TrackerConfig:
        """What the adapters need to know."""
        return TrackerConfig(**{spec.name: getattr(self, spec.name) for spec in fields(TrackerConfig)})


class TrackerBridge(lifecycle.ManagedNode):
    """Hears one tracker, fits hand models to its joints, gives out both hands together."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("tracker_bridge", (TrackerBridgeConfig,), **kwargs)
        out = {"qos_profile": topics.RESULT_OUT, "qos_overriding_options": topics.overridable()}
        self._hands = self.create_lifecycle_publisher(HandsMsg, topics.HANDS, **out)
        self._markers = self.create_lifecycle_publisher(MarkerArray, MARKERS, **out)
        self._service = self.create_service(Trigger, CALIBRATE, self._on_calibrate)
        self._inputs: list[Any] = []
        self._diagnostics = Diagnostics(self, self._health)

    def set_up(self) -> None:
        """Loads the hand models, subscribes to the tracker's topics."""
        self._config = read(self, TrackerBridgeConfig)
        row = source(self._config.tracker)
        self._reader = row.make(self._config.reading)
        tracking = TrackingConfig(calibrate_after_s=self._config.calibrate_after_s)
        self._tracking = HandTracking(mano_folder(self._config.mano_dir), tracking, row.is_metric)
        self._pairing = HandPairing(round(self._config.pair_ms * 1e6))
        self._frames = TfTree()
        self._dropped: Counter[str] = Counter()
        self._num_moments, self._fit_ms, self._errors_mm = 0, 0.0, dict.fromkeys(SIDES, 0.0)
        self._hearing = Hearing(read(self, lifecycle.NodeConfig).stale_after_s)
        for spec in row.inputs:
            self._subscribe(spec)
        self._listen(TFMessage, TF, self._on_tf, topics.NUMBERS_IN)
        self._listen(TFMessage, topics.TF_STATIC, self._on_tf_static, topics.LATCHED)

    def tear_down(self) -> None:
        """Ends the subscriptions."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()

    def _subscribe(self, spec: Input) -> None:
        def heard(msg: Any) -> None:
            self._hearing.heard(name)
            if self.is_active:
                self._take(self._reader.read(spec.tag, msg))

        name = self._listen(message_class(spec.kind), spec.topic, heard, topics.NUMBERS_IN)
        self._hearing.expect(name, "its hands are unknown")

    def _listen(self, kind: type, topic: str, callback: Any, qos: Any) -> str:
        """Subscribes; the topic's name as remapped."""
        subscription = self.create_subscription(kind, topic, callback, qos, qos_overriding_options=topics.overridable())
        self._inputs.append(subscription)
        return str(subscription.topic_name)

    # Inputs.

    def _on_tf(self, msg: TFMessage) -> None:
        for edge in msg.transforms:
            self._add_frame(edge, partial(self._frames.add, stamp_ns=stamp_to_ns(edge.header.stamp)))

    def _on_tf_static(self, msg: TFMessage) -> None:
        for edge in msg.transforms:
            self._add_frame(edge, self._frames.add_static)

    def _add_frame(self, edge: TransformStamped, add: Callable[..., None]) -> None:
        parent, child = edge.header.frame_id, edge.child_frame_id
        try:
            add(parent, child, T_parent_child=transform_from_msg(edge.transform))
        except ValueError as error:
            self._drop("tf_invalid", f"{parent} to {child}: {error}")

    def _take(self, reading: Reading) -> None:
        """Counts what a message could not bring, gives out what it could."""
        skeletons, faults = one_a_side(reading.skeletons, reading.faults)
        for fault in faults:
            self._drop(fault.reason, fault.text)
        stamp_ns = self._stamp_ns(reading) if skeletons or reading.hands or reading.absent else None
        if stamp_ns is None:
            return
        for side in reading.absent:
            self._give_out(self._pairing.lost(stamp_ns, side))
        if skeletons or reading.hands:
            self._place(reading, skeletons, stamp_ns)

    def _place(self, reading: Reading, skeletons: Sequence[HandSkeleton], stamp_ns: int) -> None:
        """Brings hands into the world, fits them, gives them out."""
        T_world_frame = self._frames.find(self._config.world_frame, reading.frame_id, stamp_ns)
        if T_world_frame is None:
            self._drop_of_other_frame(reading.frame_id)
            return
        for skeleton in skeletons:
            self._fit(moved(skeleton, T_world_frame), stamp_ns)
        for hand in reading.hands:
            self._give_out(self._pairing.add(stamp_ns, replace(hand, T_world_wrist=T_world_frame @ hand.T_world_wrist)))

    def _stamp_ns(self, reading: Reading) -> int | None:
        """When the hands were there; None, counted, where nobody can know."""
        now_ns = self.get_clock().now().nanoseconds
        stamp_ns = 0 if self._config.stamp_on_arrival else reading.stamp_ns or 0
        if now_ns and stamp_ns > now_ns + MOST_AHEAD_NS:
            ahead_s = (stamp_ns - now_ns) / 1e9
            self._drop("stamp_ahead", f"the tracker's clock is {ahead_s:.2f} s ahead: its hands are stamped on arrival; synchronise the clocks")
            stamp_ns = 0
        if stamp_ns or now_ns:
            return stamp_ns or now_ns
        self._drop("no_clock", "hands without a stamp came before /clock: they are left out")
        return None

    def _fit(self, skeleton: HandSkeleton, stamp_ns: int) -> None:
        began = time.perf_counter()
        try:
            fitted = self._tracking.fit(skeleton, stamp_ns)
        except ValueError as error:
            self._drop("no_hand", f"a {skeleton.side} hand is left out: {error}")
            return
        self._fit_ms, self._errors_mm[skeleton.side] = 1e3 * (time.perf_counter() - began), 1e3 * fitted.error_m
        if self._markers.get_subscription_count():
            self._markers.publish(MarkerArray(markers=[skeleton_marker(skeleton, stamp_ns, self._config.world_frame)]))
        self._give_out(self._pairing.add(stamp_ns, fitted.hand))
        self._calibrate_when_due(skeleton)

    def _calibrate_when_due(self, skeleton: HandSkeleton) -> None:
        try:
            found = self._tracking.calibrate_when_due(skeleton.side)
        except ValueError as error:
            self._drop("calibration_failed", f"the {skeleton.side} hand is not calibrated yet: {error}")
            return
        if found is not None:
            self.get_logger().info(f"{skeleton.side} hand calibrated: bones differ by {1e3 * found.error_m:.1f} mm over {found.num_frames} frames")

    # Outputs.

    def _give_out(self, moment: HandsMoment | None) -> None:
        if moment is None:
            return
        self._num_moments += 1
        self._hands.publish(hands_to_msg(moment.hands, moment.stamp_ns, self._config.world_frame))
        if self._markers.get_subscription_count():
            self._markers.publish(hand_markers(moment.hands, moment.stamp_ns, self._config.world_frame, self._config.mano_dir or None))

    def _on_calibrate(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        try:
            if not self.is_active:
                raise ValueError("the node is not active: activate it, hold an open hand in full view, then calibrate again")
            found = self._tracking.calibrate()
        except ValueError as error:
            response.success, response.message = False, str(error)
            return response
        parts = [f"{side}: bones differ by {1e3 * one.error_m:.1f} mm over {one.num_frames} frames" for side, one in found.items()]
        response.success, response.message = True, "; ".join(parts)
        return response

    # Faults and health.

    def _drop_of_other_frame(self, frame: str) -> None:
        if frame:
            text = f"hands come in frame {frame!r}, which /tf and /tf_static do not connect to {self._config.world_frame!r} at their moment"
        else:
            text = "hands come without a frame: set frame_id to the one that their tracker is in"
        self._drop("hands_in_other_frame", f"{text}: they are left out")

    def _drop(self, reason: str, text: str) -> None:
        self._dropped[reason] += 1
        self.warn(reason, text)

    def _health(self) -> Health:
        values: dict[str, object] = {"moments": self._num_moments, "fit_ms": self._fit_ms}
        for side in SIDES:
            values[f"{side}.error_mm"] = self._errors_mm[side]
            values[f"{side}.noise_mm"] = 1e3 * self._tracking.noise_m(side)
            values[f"{side}.is_calibrated"] = self._tracking.is_calibrated(side)
        return health_with_losses(self, self._hearing.stale(), values, self._dropped)


def main(args: list[str] | None = None) -> int:
    """Executable `tracker_bridge`."""
    return lifecycle.main(lambda: [TrackerBridge()], args)

"""A tracker's real messages through the real node."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseArray, TransformStamped
from hand_motion import moving_hand
from mano_files import RunsACommand
from robot_fixture import values_of
from ros_fixture import START_NS, Ros, ros_graph, wait_until
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tracker_messages import listed
from visualization_msgs.msg import MarkerArray

from h2w_msgs.msg import Hands, HandSkeleton
from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import header
from h2w_ros.nodes.messages import pose_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.tracker_bridge import TrackerBridge, TrackerBridgeConfig
from h2w_ros.ros_messages import LEFT, RIGHT, hands_from_msgs, stamp_to_ns

PERIOD_NS = 50_000_000
FRAME = "headset"


@pytest.fixture
def ros():
    with ros_graph() as graph:
        yield graph


def bridge(ros: Ros, **parameters: object) -> TrackerBridge:
    quality = {f"qos_overrides./{topic}.subscription.reliability": "reliable" for topic in ("hand_skeletons", "left_hand", "right_hand")}
    return ros.add(TrackerBridge(context=ros.context, parameter_overrides=overrides(**quality, **parameters)))


def points_of(hand) -> np.ndarray:
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def skeleton_msg(hand, stamp_ns: int, frame: str = "odom", **changes) -> HandSkeleton:
    points = changes.pop("points", points_of(hand))
    positions = [Point(x=x, y=y, z=z) for x, y, z in listed("openxr26", points).tolist()]
    side = {"left": LEFT, "right": RIGHT}[hand.side]
    return HandSkeleton(header=header(stamp_ns, frame), side=side, convention="openxr26", positions=positions, **changes)


def error_m(msg: Hands, hands) -> float:
    found = hands_from_msgs(msg.hands).hands
    return float(np.mean([np.linalg.norm(points_of(a) - points_of(b), axis=1).mean() for a, b in zip(found, hands, strict=True)]))


def dropped_by(diagnostics: list[DiagnosticArray]) -> dict[str, str]:
    return {key[8:]: value for key, value in values_of(diagnostics, "tracker_bridge").items() if key.startswith("dropped.")}


def play(publisher, msgs) -> None:
    assert wait_until(publisher.get_subscription_count)
    for msg in msgs:
        publisher.publish(msg)


def test_skeletons_of_both_hands_become_hands_of_common_moments(ros: Ros) -> None:
    heard, markers = ros.collect(Hands, topics.HANDS), ros.collect(MarkerArray, "hand_markers")
    bridge(ros)
    left, right = (moving_hand(1, 6, 20.0, side, np.zeros(10)) for side in ("left", "right"))
    stamps = [START_NS + index * PERIOD_NS for index in range(6)]
    play(
        ros.publisher(HandSkeleton, "hand_skeletons"),
        [skeleton_msg(hand, stamp) for pair in zip(left, right, stamps, strict=True) for hand, stamp in zip(pair[:2], [pair[2]] * 2, strict=True)],
    )
    assert wait_until(lambda: sum(len(msg.hands) == 2 for msg in heard) >= 5)
    msg = heard[-1]
    assert (stamp_to_ns(msg.header.stamp), msg.header.frame_id) == (stamps[-1], "odom")
    assert error_m(msg, (left[-1], right[-1])) < 1e-3
    assert wait_until(lambda: {marker.ns for msg in markers for marker in msg.markers} >= {"left/bones", "right/joints", "right/tracked"})
    bones = [marker for msg in markers for marker in msg.markers if marker.ns == "right/bones"][-1]
    assert len(bones.points) == 40
    assert bones.lifetime.nanosec > 0


def test_hands_are_brought_into_the_world_by_tf(ros: Ros) -> None:
    heard = ros.collect(Hands, topics.HANDS)
    bridge(ros)
    T_odom_headset = transform(rotation_from_axis_angle(np.array([0.2, -0.4, 1.0])), np.array([1.0, 2.0, 3.0]))
    edge, pose = TransformStamped(header=header(START_NS, "odom"), child_frame_id=FRAME), pose_to_msg(T_odom_headset)
    edge.transform.rotation = pose.orientation
    edge.transform.translation.x, edge.transform.translation.y, edge.transform.translation.z = pose.position.x, pose.position.y, pose.position.z
    play(ros.publisher(TFMessage, topics.TF_STATIC, topics.LATCHED), [TFMessage(transforms=[edge])])
    hand = moving_hand(2, 1, 20.0, betas=np.zeros(10))[0]
    inside = apply(invert(T_odom_headset), points_of(hand))
    skeletons = ros.publisher(HandSkeleton, "hand_skeletons")
    assert wait_until(skeletons.get_subscription_count)

    def arrives() -> bool:
        skeletons.publish(skeleton_msg(hand, START_NS + len(heard), FRAME, points=inside))
        return len(heard) > 0

    assert wait_until(arrives)
    assert heard[0].header.frame_id == "odom"
    assert error_m(heard[0], (hand,)) < 1e-3


def test_pose_arrays_of_a_convention_come_on_a_topic_a_side(ros: Ros) -> None:
    heard = ros.collect(Hands, topics.HANDS)
    bridge(ros, tracker="pose_array", convention="wrist25")
    hand = moving_hand(3, 1, 20.0, "left", np.zeros(10))[0]
    poses = [Pose(position=Point(x=x, y=y, z=z)) for x, y, z in listed("wrist25", points_of(hand)).tolist()]
    play(ros.publisher(PoseArray, "left_hand"), [PoseArray(header=header(START_NS, "odom"), poses=poses)])
    assert wait_until(lambda: heard)
    assert error_m(heard[0], (hand,)) < 1e-3


def test_calibration_comes_by_itself_and_by_the_service(ros: Ros) -> None:
    heard, diagnostics = ros.collect(Hands, topics.HANDS), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    bridge(ros, calibrate_after_s=1.0)
    client = ros.node.create_client(Trigger, "calibrate")
    assert client.wait_for_service(5.0)

    def calibrate() -> Trigger.Response:
        future = client.call_async(Trigger.Request())
        assert wait_until(future.done)
        return future.result()

    assert not calibrate().success
    betas = np.array([1.5, 1.0, 0.3, -1.5, 0.5, 0.0, 0.0, 0.5, -1.0, 0.5])
    hands = moving_hand(4, 36, 20.0, betas=betas)
    publisher = ros.publisher(HandSkeleton, "hand_skeletons")
    for index, hand in enumerate(hands):
        play(publisher, [skeleton_msg(hand, START_NS + index * PERIOD_NS)])
        assert wait_until(lambda sent=index: len(heard) > sent)
    assert error_m(heard[-1], hands[-1:]) < 1.5e-3 < error_m(heard[0], hands[:1])
    assert wait_until(lambda: values_of(diagnostics, "tracker_bridge").get("right.is_calibrated") == "True")
    response = calibrate()
    assert response.success
    assert response.message.startswith("right: bones differ by")


def test_what_is_no_hand_is_dropped_and_counted_by_reason(ros: Ros) -> None:
    heard, diagnostics = ros.collect(Hands, topics.HANDS), ros.collect(DiagnosticArray, topics.DIAGNOSTICS)
    bridge(ros)
    hand = moving_hand(5, 1, 20.0, betas=np.zeros(10))[0]
    good = points_of(hand)
    play(
        ros.publisher(HandSkeleton, "hand_skeletons"),
        [
            skeleton_msg(hand, START_NS, points=1000.0 * good),
            skeleton_msg(hand, START_NS, points=np.zeros((21, 3))),
            skeleton_msg(hand, START_NS, points=np.full((21, 3), np.nan)),
            skeleton_msg(hand, START_NS, "nowhere"),
            skeleton_msg(hand, START_NS, ""),
            skeleton_msg(hand, START_NS, confidence=-1.0),
            skeleton_msg(hand, START_NS, valid=[True]),
            skeleton_msg(hand, 2_000_000_000_000_000_000),
            skeleton_msg(hand, 0),
        ],
    )
    expected = {"no_hand": "3", "hands_in_other_frame": "2", "hand_invalid": "1", "stamp_ahead": "1"}
    assert wait_until(lambda: expected == dropped_by(diagnostics), 10.0), dropped_by(diagnostics)
    assert wait_until(lambda: [len(msg.hands) for msg in heard] == [0, 1, 1])
    assert all(stamp_to_ns(msg.header.stamp) < 1_950_000_000_000_000_000 for msg in heard), "hands of another clock are stamped on arrival"


def test_a_gripper_becomes_a_hand_where_tf_has_it(ros: Ros) -> None:
    heard = ros.collect(Hands, topics.HANDS)
    bridge(ros, tracker="robot", robot="parallel_gripper", frame_id="odom")
    play(ros.publisher(JointState, "joint_states"), [JointState(header=header(START_NS, ""), name=["elbow", "finger_joint"], position=[1.0, 0.02])])
    assert wait_until(lambda: heard)
    points = points_of(hands_from_msgs(heard[0].hands).hands[0])
    assert np.linalg.norm(points[16] - points[17]) == pytest.approx(0.04, abs=5e-4)
    np.testing.assert_allclose(points[[16, 17]].mean(axis=0), (0.0, 0.0, 0.12), atol=5e-4)


def test_a_tracker_whose_messages_are_not_installed_is_refused_with_the_remedy(ros: Ros) -> None:
    with pytest.raises(ValueError, match="install ros-jazzy-manus-ros2-msgs"):
        bridge(ros, tracker="manus")


@pytest.mark.parametrize("node", [TrackerBridge, Conditioner])
def test_a_missing_mano_folder_is_said_at_once_by_every_node_that_needs_it(ros: Ros, tmp_path, node) -> None:
    with pytest.raises(ValueError, match=r"no hand model at .*MANO_LEFT.pkl"):
        ros.add(node(context=ros.context, parameter_overrides=overrides(mano_dir=str(tmp_path))))


@pytest.mark.parametrize("node", [TrackerBridge, Conditioner, Generator])
def test_a_mano_pickle_with_code_in_it_is_refused_by_every_node_and_nothing_runs(ros: Ros, tmp_path, node) -> None:
    for side in ("LEFT", "RIGHT"):
        (tmp_path / f"MANO_{side}.pkl").write_bytes(pickle.dumps({"v_template": RunsACommand(tmp_path / "witness")}, protocol=2))
    with pytest.raises(ValueError, match=r"MANO_\w+\.pkl: .*asks for posix\.system"):
        ros.add(node(context=ros.context, parameter_overrides=overrides(mano_dir=str(tmp_path))))
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("changes", [{"tracker": "leap"}, {"axes": "maya"}, {"convention": "fingers"}, {"world_frame": ""}])
def test_a_config_says_what_it_can_be(changes) -> None:
    with pytest.raises(ValueError, match="must"):
        TrackerBridgeConfig(**changes)

"""Every source's message becomes the hand that it was made from, traps included; what cannot be a hand is said."""

import numpy as np
import pytest
import tracker_messages as make
from hand_motion import curled_angles, grasping_hand, hand_of_angles

from h2w_ros.geometry import apply, invert, rotation_from_axis_angle, transform
from h2w_ros.hands.calibrate import HandShape
from h2w_ros.hands.fit import HandFitter
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.plausibility import check_bones, check_side, check_size, side_by_shape
from h2w_ros.hands.skeleton import HandSkeleton
from h2w_ros.hands.skinning import hand_joints_and_tips_world, mirrored
from h2w_ros.hands.trackers.axes import AXES, to_ros
from h2w_ros.hands.trackers.conventions import CONVENTIONS, convention
from h2w_ros.hands.trackers.names import OPENXR_NAMES, canonical_name
from h2w_ros.hands.trackers.reading import TrackerConfig, moved, one_a_side
from h2w_ros.hands.trackers.sources import SOURCES, source

HAND = grasping_hand(1)
POINTS = hand_joints_and_tips_world(load_hand_model("right"), HAND)
LEFT = hand_joints_and_tips_world(load_hand_model("left"), mirrored(HAND))
IN_METRES = dict.fromkeys(SOURCES, 1.0)


def read(name, msg, tag="", **config):
    return source(name).make(TrackerConfig(**config)).read(tag, msg)


def only_hand(reading):
    assert [skeleton.side for skeleton in reading.skeletons] == ["right"]
    assert reading.faults == ()
    return reading.skeletons[0]


def assert_same_points(skeleton, points=POINTS, missing=()):
    there = np.setdiff1d(np.arange(21), missing)
    np.testing.assert_allclose(skeleton.points_world[there], points[there], atol=1e-9)
    assert np.isnan(skeleton.points_world[list(missing)]).all()


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_every_convention_lists_our_points_in_its_order(name):
    skeleton = only_hand(read("skeleton", make.hand_skeleton(name, make.listed(name, POINTS))))
    assert_same_points(skeleton, missing=(13,) if name == "aria21" else ())


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_a_pose_array_in_a_named_convention_is_fitted_within_a_millimetre(name):
    reading = read("pose_array", make.pose_array(make.listed(name, POINTS)), "right", convention=name)
    assert (reading.stamp_ns, reading.frame_id) == (make.STAMP_NS, "tracker")
    fitted = HandFitter(load_hand_model("right"), HandShape(HAND.betas)).fit(only_hand(reading))
    assert np.linalg.norm(hand_joints_and_tips_world(load_hand_model("right"), fitted.hand) - POINTS, axis=1).mean() < 1e-3


def test_a_manus_glove_is_read_by_bone_in_any_order_and_stamped_on_arrival():
    reading = read("manus", make.manus_glove(POINTS), frame_id="glove_{side}")
    assert reading.stamp_ns is None
    assert reading.frame_id == "glove_right"
    assert_same_points(only_hand(reading))


def test_a_manus_node_that_nobody_knows_is_left_out_and_said():
    glove = make.manus_glove(POINTS)
    glove.raw_nodes[3].chain_type = "Toe"
    reading = read("manus", glove)
    assert reading.faults[0].reason == "joint_unknown"
    assert "Toe" in reading.faults[0].text
    assert len(reading.skeletons) == 1


def test_isaac_teleop_sends_both_hands_and_zeros_for_what_it_does_not_see():
    both = read("isaac_teleop", make.named_poses({"left": LEFT, "right": POINTS}))
    assert [skeleton.side for skeleton in both.skeletons] == ["left", "right"]
    assert_same_points(both.skeletons[0], LEFT)
    assert_same_points(both.skeletons[1])
    assert_same_points(only_hand(read("isaac_teleop", make.named_poses({"right": POINTS}))))
    assert read("isaac_teleop", make.named_poses({})).skeletons == ()


def test_isaac_joints_that_are_invalid_are_missing_not_zero():
    msg = make.named_poses({"right": POINTS})
    tip = msg.name.index("right_INDEX_TIP")
    msg.pose[tip], msg.is_valid[tip] = make.pose((0, 0, 0)), False
    assert_same_points(only_hand(read("isaac_teleop", msg)), missing=(17,))
    msg.is_valid.pop()
    assert read("isaac_teleop", msg).faults[0].reason == "hand_invalid"


def test_hololens_joints_come_by_mrtks_names_in_axes_with_z_backwards():
    assert_same_points(only_hand(read("hololens", make.hololens(POINTS @ AXES["openxr"]))))


@pytest.mark.parametrize(("name", "order"), [("quest", "points21"), ("vision_pro", "wrist25")])
def test_landmarks_in_the_wrists_frame_wait_for_the_wrist_of_their_moment(name, order):
    T = transform(rotation_from_axis_angle(np.array([0.4, -1.0, 2.0])), np.array([0.3, 0.2, 1.0]))
    landmarks = make.pose_array(make.listed(order, apply(invert(T), POINTS)))
    reader = source(name).make(TrackerConfig())
    old = make.pose_stamped(np.eye(4))
    old.header.stamp = make.Msg(sec=4, nanosec=0)
    assert reader.read("right wrist", old).skeletons == ()
    assert reader.read("right landmarks", landmarks).skeletons == ()
    assert reader.read("left wrist", make.pose_stamped(T)).skeletons == ()
    assert_same_points(only_hand(reader.read("right wrist", make.pose_stamped(T))))
    assert reader.read("right wrist", make.pose_stamped(T)).skeletons == (), "a hand is given out once"


def test_vision_pro_with_forearm_has_27_joints():
    reader = source("vision_pro").make(TrackerConfig(convention="wrist27"))
    reader.read("right wrist", make.pose_stamped(np.eye(4)))
    assert_same_points(only_hand(reader.read("right landmarks", make.pose_array(make.listed("wrist27", POINTS)))))


def test_mediapipe_is_in_camera_axes_and_of_its_own_size():
    msg = make.pose_array(make.listed("points21", POINTS) @ AXES["optical"])
    assert_same_points(only_hand(read("mediapipe", msg, "right")))
    assert not source("mediapipe").is_metric


def test_frames_of_tf_are_found_by_their_names_under_any_parent():
    reader = source("tf").make(TrackerConfig(frame_id="odom", frame_pattern="glove/{side}/{joint}_link"))
    palm, R = np.array([0.1, 0.2, 0.3]), rotation_from_axis_angle(np.array([0.5, -0.2, 1.4]))
    edges = [make.edge("odom", "station", palm, R)]
    for name, point in zip(OPENXR_NAMES, make.listed("openxr26", POINTS), strict=True):
        edges.append(make.edge("station", f"glove/right/{name}_link", (point - palm) @ R))
    msg = make.Msg(transforms=[*edges, make.edge("odom", "base_link", palm), make.edge("odom", "glove/right/elbow_link", palm)])
    reading = reader.read("", msg)
    assert_same_points(only_hand(reading))
    assert (reading.frame_id, reading.stamp_ns) == ("odom", make.STAMP_NS)
    part = make.Msg(transforms=edges[2:10])
    assert reader.read("", part).skeletons[0].is_seen.sum() == 7, "what a message does not update is not of its moment"


def test_frames_that_hang_nowhere_are_said():
    reader = source("tf").make(TrackerConfig(frame_id="odom"))
    reading = reader.read("", make.Msg(transforms=[make.edge("lost", "left_wrist", (0, 0, 0))]))
    assert reading.skeletons == ()
    assert reading.faults[0].reason == "tf_unconnected"
    broken = make.edge("odom", "left_wrist", (0, 0, 0))
    broken.transform.rotation.w = 0.0
    assert reader.read("", make.Msg(transforms=[broken])).faults[0].reason == "tf_invalid"


def test_orientations_count_where_they_are_openxrs_and_zeros_are_no_orientation():
    turns = np.stack([rotation_from_axis_angle(np.array([0.1 * k, 0.2, -0.3])) for k in range(26)])
    msg = make.pose_array(make.listed("openxr26", POINTS), turns)
    msg.poses[7].orientation = make.Msg(x=0.0, y=0.0, z=0.0, w=0.0)
    skeleton = only_hand(read("pose_array", msg, "right", convention="openxr26"))
    np.testing.assert_allclose(skeleton.R_world_joint[0], turns[1], atol=1e-9)
    np.testing.assert_allclose(skeleton.R_world_joint[13], turns[2], atol=1e-9)
    assert skeleton.is_turned.sum() == 15
    assert not skeleton.is_turned[1]
    other = only_hand(read("pose_array", make.pose_array(POINTS), "right", convention="mano21"))
    assert not other.is_turned.any(), "axes that are not known are not used"


@pytest.mark.parametrize("axes", sorted(AXES))
def test_axes_keep_the_side_and_turn_orientations_with_the_points(axes):
    unchanged, R = to_ros(axes, POINTS @ AXES[axes], np.eye(3)[None])
    np.testing.assert_allclose(unchanged, POINTS, atol=1e-12)
    assert np.linalg.det(R[0]) == pytest.approx(1.0)
    tip_world = AXES[axes] @ (0, 0, 1 if axes == "unity" else -1)  # both run along the bone, in their own axes
    np.testing.assert_allclose(R[0] @ (0, 0, -1), tip_world, atol=1e-12)


def test_left_handed_positions_read_as_right_handed_are_noticed():
    unity = POINTS @ AXES["unity"]
    wrong = read("pose_array", make.pose_array(unity), "right", convention="mano21").skeletons[0]
    with pytest.raises(ValueError, match="called right has the shape of a left one: set axes to 'unity'"):
        check_side(wrong)
    right = read("pose_array", make.pose_array(unity), "right", convention="mano21", axes="unity").skeletons[0]
    check_side(right)
    assert_same_points(right)


def test_names_of_hands_in_a_mirrored_picture_can_be_swapped():
    skeleton = read("mediapipe", make.pose_array(make.listed("points21", POINTS) @ AXES["optical"]), "left", swap_sides=True).skeletons[0]
    assert skeleton.side == "right"
    check_side(skeleton)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_side_is_never_mistaken(side):
    flat = [hand_of_angles(side, curled_angles(np.full(5, bend), np.zeros(5)), np.eye(4), np.zeros(10)) for bend in (-0.2, 0.0)]
    for hand in (*flat, *(grasping_hand(seed, side) for seed in range(10))):
        shown = side_by_shape(HandSkeleton(side, hand_joints_and_tips_world(load_hand_model(side), hand)))
        assert shown in (side, None)
    assert shown == side


@pytest.mark.parametrize(
    ("times", "remedy"), [(1000.0, "millimetres; set metres_per_unit to 0.001"), (100.0, "centimetres"), (7.0, "this one is 7.0")]
)
def test_other_units_are_refused_with_the_remedy(times, remedy):
    skeleton = read("pose_array", make.pose_array(times * POINTS), "right", convention="mano21").skeletons[0]
    with pytest.raises(ValueError, match=remedy):
        check_size(load_hand_model("right"), skeleton)


def test_millimetres_are_read_once_they_are_named():
    skeleton = read("pose_array", make.pose_array(1000.0 * POINTS), "right", convention="mano21", metres_per_unit=0.001).skeletons[0]
    check_size(load_hand_model("right"), skeleton)
    assert_same_points(skeleton)


def test_bones_without_length_are_refused():
    points = POINTS.copy()
    points[3] = points[2]
    with pytest.raises(ValueError, match=r"at least 3 mm long; those between the points \[\(2, 3\)\]"):
        check_bones(HandSkeleton("right", points))
    with pytest.raises(ValueError, match="bones must be at least"):
        check_bones(HandSkeleton("right", np.zeros((21, 3))))
    check_bones(HandSkeleton("right", POINTS))


def test_joints_that_are_not_numbers_are_missing():
    values = make.listed("points21", POINTS)
    values[8], values[4] = np.nan, np.inf
    assert_same_points(only_hand(read("pose_array", make.pose_array(values), "right", convention="points21")), missing=(17, 16))


def test_joints_that_our_message_calls_invalid_are_missing():
    valid = [place != 8 for place in range(21)]
    msg = make.hand_skeleton("points21", make.listed("points21", POINTS), valid=valid)
    assert_same_points(only_hand(read("skeleton", msg)), missing=(17,))


def test_names_in_our_message_replace_the_order():
    place = np.random.default_rng(3).permutation(21)
    names = [CONVENTIONS["points21"].joint_names[k] for k in place] + ["sixth_tip"]
    points = np.concatenate([make.listed("points21", POINTS)[place], [[9.0, 9.0, 9.0]]])
    reading = read("skeleton", make.hand_skeleton("", points, joint_names=names))
    assert_same_points(reading.skeletons[0])
    assert "'sixth_tip'" in reading.faults[0].text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"side": 0}, "side must be one of"),
        ({"convention": "fingers30"}, "convention must be one of .*'openxr26'.* got 'fingers30'"),
        ({"convention": "openxr26"}, r"lists 26 joints, got 21; 21 joints fit \['aria21', 'mano21', 'points21'\]"),
        ({"valid": [True]}, "as many as the 21 positions"),
    ],
)
def test_a_message_that_does_not_fit_is_a_fault_with_the_reason(changes, text):
    msg = make.hand_skeleton("points21", make.listed("points21", POINTS))
    for name, value in changes.items():
        setattr(msg, name, value)
    reading = read("skeleton", msg)
    assert reading.skeletons == ()
    assert reading.faults[0].reason == "hand_invalid"
    with pytest.raises(ValueError, match=text):
        raise ValueError(reading.faults[0].text)


def test_a_negative_confidence_no_poses_or_no_valid_joint_mean_that_there_is_no_hand():
    gone = make.hand_skeleton("points21", make.listed("points21", POINTS), confidence=-1.0)
    assert read("skeleton", gone).absent == ("right",)
    assert read("skeleton", gone, swap_sides=True).absent == ("left",)
    assert read("pose_array", make.pose_array([]), "left", convention="openxr26").absent == ("left",)
    assert read("isaac_teleop", make.named_poses({"right": POINTS})).absent == ("left",)
    assert read("isaac_teleop", make.named_poses({})).absent == ("left", "right")
    assert read("skeleton", gone).skeletons == ()


def test_of_two_left_hands_the_first_is_used_and_the_other_counted():
    first, second = HandSkeleton("left", LEFT), HandSkeleton("left", LEFT + 1.0)
    kept, faults = one_a_side([first, second])
    assert kept == (first,)
    assert [fault.reason for fault in faults] == ["hand_side_twice"]


def test_a_hand_is_moved_to_another_frame_with_its_orientations():
    T = transform(rotation_from_axis_angle(np.array([0.3, 0.1, -0.5])), np.array([1.0, 2.0, 3.0]))
    skeleton = moved(HandSkeleton("right", POINTS, R_world_joint=np.broadcast_to(np.eye(3), (16, 3, 3))), T)
    assert_same_points(skeleton, apply(T, POINTS))
    np.testing.assert_allclose(skeleton.R_world_joint[5], T[:3, :3], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("index-finger-phalanx-proximal", "index_proximal"),
        ("MiddleMiddleJoint", "middle_intermediate"),
        ("PinkyKnuckle", "little_proximal"),
        ("INDEX_FINGER_MCP", "index_proximal"),
        ("THUMB_CMC", "thumb_metacarpal"),
        ("THUMB_MCP", "thumb_proximal"),
        ("thumb_ip", "thumb_distal"),
        ("XR_HAND_JOINT_LITTLE_TIP_EXT", "little_tip"),
        ("thumb_intermediate", None),
        ("elbow", None),
        ("", None),
    ],
)
def test_joints_are_known_by_their_usual_spellings(name, canonical):
    assert canonical_name(name) == canonical


def test_what_cannot_be_read_says_what_can():
    with pytest.raises(ValueError, match=r"tracker must be one of \['hololens', .*got 'leap'"):
        source("leap")
    with pytest.raises(ValueError, match="a PoseArray does not name its joints: set convention"):
        source("pose_array").make(TrackerConfig())
    with pytest.raises(ValueError, match="need frame_id"):
        source("tf").make(TrackerConfig())
    with pytest.raises(ValueError, match="a robot hand needs the parameter robot"):
        source("robot").make(TrackerConfig())
    with pytest.raises(ValueError, match="a robot hand needs frame_id"):
        source("robot").make(TrackerConfig(robot="parallel_gripper"))
    with pytest.raises(ValueError, match="axes must be one of"):
        to_ros("maya", POINTS, np.eye(3)[None])
    with pytest.raises(ValueError, match="millimetres are"):
        TrackerConfig(metres_per_unit=0.0)
    with pytest.raises(ValueError, match=r"must contain \{side\} and \{joint\}"):
        TrackerConfig(frame_pattern="hand_{joint}")
    with pytest.raises(ValueError, match="24 joints fit none"):
        convention("openxr26", 24)


def test_a_left_arms_gripper_becomes_a_left_hand_and_other_joints_alone_are_no_hand():
    reader = source("robot").make(TrackerConfig(robot="parallel_gripper", frame_id="tool0", swap_sides=True))
    reading = reader.read("", make.Msg(header=make.header(), name=["finger_joint", "elbow"], position=[0.03, 1.0]))
    assert (reading.frame_id, [hand.side for hand in reading.hands]) == ("tool0", ["left"])
    points = hand_joints_and_tips_world(load_hand_model("left"), reading.hands[0])
    assert np.linalg.norm(points[16] - points[17]) == pytest.approx(0.06, abs=5e-4)
    reading = reader.read("", make.Msg(header=make.header(), name=["elbow"], position=[1.0]))
    assert reading.hands == ()
    assert reading.faults[0].reason == "joints_missing"


def test_every_source_names_topics_of_its_own():
    for row in SOURCES.values():
        assert row.text
        assert len({spec.topic for spec in row.inputs}) == len(row.inputs)
        assert all(len(spec.kind.split("/")) == 3 for spec in row.inputs)

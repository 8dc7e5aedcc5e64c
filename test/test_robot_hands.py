"""Robot hands stand where human hands are shown, pinch what they pinch, and can be shown the other way round."""

import numpy as np
import pytest
from hand_motion import random_T

from h2w_ros.geometry import apply, transform
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.robots.retarget import RobotPose, hand_of_robot, hands_of_trajectory, robot_of_hand
from h2w_ros.hands.robots.robot_hand import load_robot_hand
from h2w_ros.hands.robots.urdf import read_urdf
from h2w_ros.hands.skinning import hand_joints_and_tips_world, mirrored

THUMB, INDEX = 16, 17
ROBOTS = ("parallel_gripper", "five_finger_hand")


def points_of(hand):
    return hand_joints_and_tips_world(load_hand_model(hand.side), hand)


def some_positions(robot, seed):
    """Motors anywhere in the middle two thirds of their ways."""
    share = np.random.default_rng(seed).uniform(1 / 6, 5 / 6, len(robot.kinematics.motors))
    return robot.kinematics.lower + share * (robot.kinematics.upper - robot.kinematics.lower)


@pytest.mark.parametrize("width_m", [0.0, 0.01, 0.04, 0.085])
def test_a_gripper_becomes_a_hand_that_pinches_the_same_width_in_the_same_place(width_m):
    robot = load_robot_hand("parallel_gripper")
    T = random_T(np.random.default_rng(1))
    shown = hand_of_robot(robot, RobotPose(T, np.array([width_m / 2])))
    points = points_of(shown.hand)
    assert 1e3 * np.linalg.norm(points[THUMB] - points[INDEX]) == pytest.approx(1e3 * width_m, abs=0.5)
    pads = apply(T, np.array([[0.0, width_m / 2, 0.12], [0.0, -width_m / 2, 0.12]]))
    np.testing.assert_allclose(points[[THUMB, INDEX]], pads, atol=5e-4)
    assert shown.tip_errors_m.max() < 5e-4
    pointing = points[[THUMB, INDEX]].mean(axis=0) - points[0]
    assert pointing @ T[:3, 2] > 0.85 * np.linalg.norm(pointing), "the hand must reach where the gripper does"


@pytest.mark.parametrize("seed", range(6))
def test_fingertips_of_a_five_finger_hand_are_met_within_millimetres(seed):
    robot = load_robot_hand("five_finger_hand")
    positions = some_positions(robot, seed)
    T = random_T(np.random.default_rng(seed))
    shown = hand_of_robot(robot, RobotPose(T, positions))
    expected = apply(T, robot.points_base(positions)[0])
    errors = np.linalg.norm(points_of(shown.hand)[robot.points] - expected, axis=1)
    np.testing.assert_allclose(errors[robot.is_tip], shown.tip_errors_m, atol=1e-9)
    assert 1e3 * shown.tip_errors_m.mean() < 3.0
    assert errors[~robot.is_tip].max() < 0.04


@pytest.mark.parametrize("name", ROBOTS)
def test_a_hand_shown_on_the_robot_gives_the_robot_back(name):
    robot = load_robot_hand(name)
    positions, T = some_positions(robot, 7), random_T(np.random.default_rng(7))
    hand = hand_of_robot(robot, RobotPose(T, positions)).hand
    again = robot_of_hand(robot, hand)
    tips = points_of(hand)[robot.points][robot.is_tip]
    reached = apply(again.T_world_base, robot.points_base(again.positions)[0])[robot.is_tip]
    assert 1e3 * np.linalg.norm(reached - tips, axis=1).mean() < 2.0
    assert (again.positions >= robot.kinematics.lower).all()
    assert (again.positions <= robot.kinematics.upper).all()
    if name == "parallel_gripper":
        np.testing.assert_allclose(again.positions, positions, atol=5e-4)
        np.testing.assert_allclose(again.T_world_base[:3, 3], T[:3, 3], atol=0.03)


def test_a_hand_that_opens_further_than_the_gripper_leaves_it_open():
    robot = load_robot_hand("parallel_gripper")
    wide = hand_of_robot(robot, RobotPose(np.eye(4), robot.kinematics.upper)).hand
    points = points_of(wide)
    stretched = type(wide)(wide.side, wide.T_world_wrist, np.zeros(45), wide.betas)
    assert np.linalg.norm(points_of(stretched)[THUMB] - points_of(stretched)[INDEX]) > 0.09 > np.linalg.norm(points[THUMB] - points[INDEX])
    assert robot_of_hand(robot, stretched).positions == pytest.approx(robot.kinematics.upper)


def test_a_smooth_trajectory_of_the_gripper_is_a_smooth_trajectory_of_the_hand_wherever_it_begins():
    robot = load_robot_hand("parallel_gripper")
    way = [RobotPose(transform(np.eye(3), np.array([0.002 * k, 0.0, 0.0])), np.array([0.04 - 0.001 * k])) for k in range(25)]
    points = np.stack([points_of(shown.hand) for shown in hands_of_trajectory(robot, way)])
    assert np.linalg.norm(np.diff(points, axis=0), axis=-1).max() < 0.01
    alone = points_of(hand_of_robot(robot, way[-1]).hand)
    assert np.linalg.norm(points[-1] - alone, axis=-1).max() < 0.005


@pytest.mark.parametrize("name", ROBOTS)
def test_motors_move_points_as_finite_differences_say(name):
    robot = load_robot_hand(name)
    positions = some_positions(robot, 3)
    _, slopes = robot.points_base(positions)
    for motor, step in enumerate(1e-6 * np.eye(len(positions))):
        numeric = (robot.points_base(positions + step)[0] - robot.points_base(positions - step)[0]) / 2e-6
        np.testing.assert_allclose(slopes[:, :, motor], numeric, atol=1e-8)
    assert (np.abs(slopes).max(axis=(0, 1)) > 1e-3).all(), "every motor must move some point"


def test_coupled_joints_follow_their_motor():
    robot = load_robot_hand("five_finger_hand")
    assert len(robot.kinematics.motors) == 16
    assert "index_tip_curl" not in robot.kinematics.motors
    positions = np.zeros(16)
    straight = robot.points_base(positions)[0]
    positions[robot.kinematics.motors.index("index_curl")] = 1.0
    bent = robot.points_base(positions)[0]
    tip = robot.points.tolist().index(INDEX)
    expected = 0.028 * np.array([np.cos(1.0), -np.sin(1.0)]) + 0.026 * np.array([np.cos(1.7), -np.sin(1.7)]) + (0.098 + 0.046, 0.0)
    np.testing.assert_allclose(bent[tip][[0, 2]], expected, atol=1e-9)
    assert straight[tip][0] > bent[tip][0]


def test_positions_are_taken_by_joint_name_in_any_order():
    robot = load_robot_hand("parallel_gripper")
    np.testing.assert_array_equal(robot.positions_of({"elbow": 1.0, "finger_joint": 0.02}), [0.02])
    with pytest.raises(ValueError, match=r"parallel_gripper needs the positions of \['finger_joint'\], got only \['elbow'\]"):
        robot.positions_of({"elbow": 1.0})
    with pytest.raises(ValueError, match="must be finite"):
        robot.positions_of({"finger_joint": float("nan")})


def test_the_other_sides_hand_is_refused():
    robot = load_robot_hand("parallel_gripper")
    hand = hand_of_robot(robot, RobotPose(np.eye(4), np.array([0.02]))).hand
    with pytest.raises(ValueError, match="is a right hand and cannot show a left one"):
        robot_of_hand(robot, mirrored(hand))


TABLE = """
urdf: a.urdf
side: right
base_link: base
approach: [1, 0, 0]
points:
  thumb_tip: {link: base, at: [0, 0, 0]}
  %s: {link: %s, at: [0, 0, 0]}
"""


@pytest.mark.parametrize(
    ("table", "urdf", "message"),
    [
        ("side: right", "<robot/>", "must hold the keys"),
        (TABLE % ("nose_tip", "base"), "<robot/>", r"points must be among .* got \['nose_tip'\]"),
        (TABLE % ("wrist", "base"), "<robot/>", "thumb_tip and one more tip"),
        (TABLE % ("index_tip", "base"), "no xml", "must be XML"),
        (TABLE % ("index_tip", "finger"), "<robot/>", "link must hang on 'base', got 'finger'"),
        (TABLE % ("index_tip", "f"), "<robot><joint name='j' type='ball'><parent link='base'/><child link='f'/></joint></robot>", "got 'ball'"),
        (TABLE % ("index_tip", "f"), "<robot><joint name='j' type='fixed'><parent/><child link='f'/></joint></robot>", "must name its parent link"),
    ],
)
def test_a_table_or_urdf_that_does_not_fit_is_refused_with_the_reason(tmp_path, table, urdf, message):
    (tmp_path / "mine.yaml").write_text(table)
    (tmp_path / "a.urdf").write_text(urdf)
    with pytest.raises(ValueError, match=message):
        load_robot_hand(str(tmp_path / "mine.yaml"))


def test_what_is_shipped_is_named_when_something_else_is_asked_for():
    with pytest.raises(FileNotFoundError, match=r"shipped are \['five_finger_hand', 'parallel_gripper'\]"):
        load_robot_hand("tentacle")


def test_a_mimic_of_nothing_is_refused(tmp_path):
    text = "<robot><joint name='j' type='revolute'><parent link='a'/><child link='b'/><mimic joint='ghost'/></joint></robot>"
    (tmp_path / "x.urdf").write_text(text)
    with pytest.raises(ValueError, match="must mimic a joint that moves by itself, got 'ghost'"):
        read_urdf(tmp_path / "x.urdf", "a")

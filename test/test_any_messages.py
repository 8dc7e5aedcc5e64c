"""Ten thousand messages with anything in their fields: the nodes take or drop each of them, and go on."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from hand_motion import moving_hand
from rclpy.logging import LoggingSeverity
from robot_fixture import edge
from ros_fixture import CAMERA, PERIOD_NS, START_NS, EchoSession, Ros, conditions, hand, picture, wait_until
from sensor_msgs.msg import CameraInfo
from test_tracker_bridge import skeleton_msg
from tf2_msgs.msg import TFMessage

from h2w_msgs.srv import ResetSession
from h2w_ros.geometry import check_transform
from h2w_ros.nodes import topics
from h2w_ros.nodes.conditioner import Conditioner
from h2w_ros.nodes.generator import Generator
from h2w_ros.nodes.images import image_to_compressed, image_to_msg
from h2w_ros.nodes.messages import Moment, camera_info, condition_to_msg, hands_to_msg, odometry_to_msg
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.tracker_bridge import TrackerBridge

OPTICAL = "camera_optical_frame"
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.3, 1e-300, 5e-324, 1e10, 1e300, -1e300, np.nan, np.inf, -np.inf)
SMALL_NUMBERS = tuple(np.float32(number) for number in (0.0, 1.0, -1.0, 0.5, 1e-45, 3e38, np.nan, np.inf, -np.inf))
PLACES = ("", "odom", OPTICAL, "nowhere", "\u00e9\U0001f44b")
WORDS = (*PLACES, "rgb8", "mono8", "8UC1", "bgra8", "32FC1", "plumb_bob", "equidistant", "rational_polynomial", "jpeg")
LENGTHS = (0, 1, 4, 5, 8, 12, 14, 21)
BYTES = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(100), bytes(9216))
WHOLE = {
    "uint8": (0, 1, 2, 3, 255),
    "int8": (0, -128, 127),
    "uint16": (0, 65535),
    # Sizes up to those that a camera may have; what lies beyond is refused before anything is allocated.
    "uint32": (0, 1, 3, 48, 64, 192, 9000, 2**31, 2**32 - 1),
    "int32": (0, 1, -1, 1_700_000_000, 1_700_000_001, 2**31 - 1, -(2**31)),
    "uint64": (0, 2**64 - 1),
}

Change = tuple[float, int, int]
Silence = Callable[[Any], None]


@pytest.fixture
def silence() -> Iterator[Silence]:
    """Ends a node's log: complaints take long. Loggers go by name and outlive nodes, so the next one of that name may speak again."""
    loggers: list[Any] = []

    def end_log(node: Any) -> None:
        loggers.append(node.get_logger())
        loggers[-1].set_level(LoggingSeverity.FATAL)

    yield end_log
    for logger in loggers:
        logger.set_level(LoggingSeverity.UNSET)


def base_messages() -> dict[str, tuple[str, Any]]:
    """Good messages: topic by name, and content."""
    [moment] = conditions(1)
    info = camera_info(CAMERA, START_NS, OPTICAL)
    bent = CameraInfo(header=info.header, width=64, height=48, distortion_model="plumb_bob", d=[0.1, -0.05, 0.001, 0.001, 0.0], k=info.k)
    return {
        "odometry": (topics.ODOMETRY, odometry_to_msg(moment.T_world_camera, START_NS, "odom", OPTICAL)),
        "camera_info": (topics.CAMERA_INFO, info),
        "camera_info of a lens": (topics.CAMERA_INFO, bent),
        "image": (topics.IMAGE, image_to_msg(picture(0), START_NS, OPTICAL)),
        "compressed image": (topics.IMAGE_COMPRESSED, image_to_compressed(picture(0), START_NS, OPTICAL)),
        "hands": (topics.HANDS, hands_to_msg((hand(0), hand(1, "left")), START_NS, "odom")),
        "tf_static": (topics.TF_STATIC, TFMessage(transforms=[edge("base", OPTICAL, np.eye(4))])),
    }


def leaves(msg: Any) -> Iterator[tuple[Any, str, str]]:
    """Every field that is no message itself: its message, name and type."""
    for name, kind in msg.get_fields_and_field_types().items():
        value = getattr(msg, name)
        if "/" not in kind:
            yield msg, name, kind
        elif isinstance(value, list):
            yield msg, name, "messages"
            for one in value:
                yield from leaves(one)
        else:
            yield from leaves(value)


def values_of(kind: str, old: Any) -> Callable[[int, int], Any]:
    """What a field of this type can be made into, by two numbers."""
    if kind == "messages":
        return lambda which, _: ([], old * 2, old[:1])[which % 3]
    if kind in ("sequence<uint8>",):
        return lambda which, _: np.frombuffer(BYTES[which % len(BYTES)], np.uint8)
    if kind.startswith("sequence<"):
        choose = values_of(kind[9:-1], None)
        return lambda which, length: [choose(which, 0)] * LENGTHS[length % len(LENGTHS)]
    if kind.endswith("]"):
        choose = values_of(kind[: kind.index("[")], None)
        return lambda which, place: [choose(which, 0) if index % 3 == place % 3 else value for index, value in enumerate(old)]
    if kind in ("double", "float"):
        numbers = NUMBERS if kind == "double" else SMALL_NUMBERS
        return lambda which, _: float(numbers[which % len(numbers)])
    if kind == "boolean":
        return lambda which, _: bool(which % 2)
    if kind == "string":
        return lambda which, _: WORDS[which % len(WORDS)]
    return lambda which, _: WHOLE[kind][which % len(WHOLE[kind])]


def changed(msg: Any, changes: list[Change], stamp_ns: int) -> Any:
    """A copy of the message as of this stamp, with other values in some of its fields."""
    new = copy.deepcopy(msg)
    if hasattr(new, "header"):
        new.header.stamp = type(new.header.stamp)(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    for place, which, other in changes:
        fields = list(leaves(new))
        parent, name, kind = fields[int(place * len(fields)) % len(fields)]
        setattr(parent, name, values_of(kind, getattr(parent, name))(which, other))
    return new


change_lists = st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 30), st.integers(0, 30)), max_size=3)


def many(max_examples: int) -> Any:
    """As many cases, the same in every run, however long the slowest takes."""
    return settings(max_examples=max_examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_conditioner_takes_or_drops_any_message_and_gives_out_only_what_makes_sense(ros: Ros, silence: Silence) -> None:
    moments: list[Moment] = []
    node = Conditioner(moments.append, context=ros.context, parameter_overrides=overrides(drain_ms=0.0))
    node.start()
    callbacks = {topic: subscription.callback for topic, subscription in node._inputs.items()}
    silence(node)
    bases, numbers = base_messages(), itertools.count(1)
    names = [*(name for name in bases if name not in ("image", "compressed image")), "image", "compressed image"]

    @many(1200)
    @given(chosen=st.sampled_from(names), changes=change_lists, is_good=st.sampled_from((True, *15 * (False,))))
    def feed(chosen: str, changes: list[Change], is_good: bool) -> None:
        stamp_ns = START_NS + next(numbers) * PERIOD_NS
        for name in {"camera_info", "odometry", "hands", "image", chosen} if is_good else {chosen}:
            topic, msg = bases[name]
            callbacks[topic](changed(msg, changes if name == chosen else [], stamp_ns))
        while moments:
            condition_to_msg(check(moments.pop()))

    feed()
    for _ in range(40):
        stamp_ns = START_NS + next(numbers) * PERIOD_NS
        for name in ("tf_static", "camera_info", "image", "odometry", "hands"):
            callbacks[bases[name][0]](changed(bases[name][1], [], stamp_ns))
    assert len(moments) >= 20, "afterwards it works as ever"
    node.finish()
    node.destroy_node()


def check(moment: Moment) -> Moment:
    """The moment, which holds only what a camera and hands can be."""
    check_transform(moment.condition.T_world_camera, "T_world_camera")
    assert all(np.isfinite(one.joint_angles_rad).all() and np.isfinite(one.betas).all() for one in moment.condition.hands)
    return moment


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the type checker samples on the node's own thread
def test_a_generator_takes_or_drops_any_condition_and_any_wish(ros: Ros, silence: Silence) -> None:
    session = EchoSession()
    node = ros.add(Generator(lambda config: session, context=ros.context))
    silence(node)
    base, numbers = condition_to_msg(Moment(conditions(1)[0])), itertools.count(1)
    wish = ResetSession.Request(seed=1, image=image_to_msg(picture(1), 0, ""))

    @many(1500)
    @given(changes=change_lists)
    def feed(changes: list[Change]) -> None:
        node._on_condition(changed(base, changes, START_NS + next(numbers) * PERIOD_NS))

    @many(300)
    @given(changes=change_lists)
    def ask(changes: list[Change]) -> None:
        answer = node._on_reset(changed(wish, changes, 0), ResetSession.Response())
        assert answer.accepted != bool(answer.message)

    feed()
    ask()
    assert node._on_reset(ResetSession.Request(use_camera_image=True), ResetSession.Response()).accepted
    stamp_ns = START_NS + next(numbers) * PERIOD_NS
    node._on_condition(changed(base, [], stamp_ns))
    assert wait_until(lambda: bool(session.pushed) and session.pushed[-1].stamp_ns == stamp_ns)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tracker_bridge_takes_or_drops_any_skeleton(ros: Ros, silence: Silence) -> None:
    node = ros.add(TrackerBridge(context=ros.context, parameter_overrides=overrides(calibrate_after_s=10.0)))
    silence(node)
    [skeletons] = [one for one in node._inputs if one.topic_name == "/hand_skeletons"]
    base, numbers = skeleton_msg(moving_hand(5, 1, 20.0)[0], START_NS), itertools.count(1)

    @many(150)
    @given(changes=change_lists)
    def feed(changes: list[Change]) -> None:
        skeletons.callback(changed(base, changes, START_NS + next(numbers) * PERIOD_NS))

    feed()
    num_before = node._num_moments
    for _ in range(3):
        skeletons.callback(changed(base, [], START_NS + next(numbers) * PERIOD_NS))
    assert node._num_moments > num_before
